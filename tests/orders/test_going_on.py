"""What goes on by itself after an attempt came to nothing: a challenge, a guardian's yes, an allowance."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.commands import customer as customers
from gateway.commands import guardian as guardians
from gateway.commands import merchant as merchants
from gateway.identity.model import DevicePrincipal
from gateway.kernel.ids import TimeSortedIds
from gateway.kernel.money import Money
from gateway.kernel.store.unit import UnitOfWork
from gateway.kernel.subjects import PaymentMethodId
from gateway.kernel.tasks.model import Task
from gateway.kernel.tasks.queue import claim, end
from gateway.orders import reauthorizing
from gateway.orders.purchase import known_purchase
from gateway.protocol.messages import GuardianApprove, OrderPay
from tests.support.evidence import Row
from tests.support.invariants import violations
from tests.support.stepped_gateway import DAY, SECOND, SteppedGateway, stepped_gateway
from wallets.vault.port import (
    AllowanceId,
    AllowanceReason,
    AllowanceTerms,
    Authorize,
    OperationKind,
    OperationResult,
    OperationStatus,
)

MUG = "FJORD-MUG:physical"
ALONE, ENOUGH = Money(500, "EUR"), Money(100_000, "EUR")


@pytest.fixture
async def shop(plain_seed: Path, tmp_path: Path) -> AsyncIterator[SteppedGateway]:
    async with stepped_gateway(plain_seed, tmp_path) as found:
        yield found
        assert not violations(tmp_path / "data", at_rest=False)


class Family:
    """The customer's guardian, and an allowance that names them."""

    guardian: DevicePrincipal
    allowance_id: str

    def __init__(self, shop: SteppedGateway) -> None:
        self._shop = shop

    async def begin(self, card: str = "visa", *, alone: Money = ALONE, max_uses: int = 100) -> Family:
        shop = self._shop
        guardian_id = await merchants.register(shop.context, shop.merchant, uuid.uuid4().hex)
        token = await merchants.issue_token(shop.context, shop.merchant, guardian_id, kind="phone", name="")
        self.guardian = token.device
        terms = AllowanceTerms(
            allowance_id=TimeSortedIds(shop.clock).new(AllowanceId),
            payment_method_id=PaymentMethodId(await shop.method(card)),
            customer_id=shop.who.customer_id,
            merchant_id=shop.merchant.merchant_id,
            order_id=None,
            channel=frozenset({"ar", "metaverse", "web"}),
            place_id=None,
            device_id=None,
            reason=AllowanceReason.RECURRING,
            max_amount=ENOUGH,
            max_uses=max_uses,
            expires_at_ms=shop.clock.now_ms() + 60 * DAY,
            guardian_id=guardian_id,
            guardian_above=alone,
        )
        await shop.gateway.vault.grant(terms)
        self.allowance_id = terms.allowance_id
        return self

    @property
    def choice(self) -> dict[str, str]:
        return {"kind": "allowance", "allowance_id": self.allowance_id}

    async def buys(self) -> str:
        order_id: str = (await self._shop.place(MUG, payment=self.choice))["order_id"]
        await self._shop.finish_work()
        return order_id

    async def pays(self, order_id: str) -> None:
        body = {"order_id": order_id, "payment": self.choice}
        message = {"id": "1", "type": "order.pay", "key": uuid.uuid4().hex, "body": body}
        await customers.perform(self._shop.context, self._shop.who, OrderPay.model_validate(message))

    async def agrees(self) -> None:
        body = {"approval_id": self.questions()[-1]["approval_id"]}
        message = {"id": "1", "type": "guardian.approve", "key": uuid.uuid4().hex, "body": body}
        await guardians.decide(self._shop.context, self.guardian, GuardianApprove.model_validate(message))

    def questions(self) -> list[Row]:
        return self._shop.rows("SELECT * FROM guardian_request ORDER BY approval_id")


async def held_order(shop: SteppedGateway) -> str:
    order_id: str = (await shop.place(MUG))["order_id"]
    await shop.finish_work()
    rules = shop.context.process.renewal
    await shop.store.write(lambda uow: reauthorizing.hold(known_purchase(uow, order_id), rules, "test"))
    return order_id


async def claimed(shop: SteppedGateway) -> dict[str, Task]:
    """Claim what is due, by kind."""
    kinds = shop.gateway.runner._kinds
    return {task.kind: task for task in await shop.store.write(lambda uow: claim(uow, kinds, 50))}


def paid(shop: SteppedGateway, order_id: str) -> bool:
    return bool(shop.order(order_id)["state"] == "confirmed")


def attempts(shop: SteppedGateway, order_id: str) -> list[str]:
    return [row["state"] for row in shop.operations(order_id, "authorize")]


async def test_a_soft_decline_of_a_held_order_is_followed_by_one_challenge(shop: SteppedGateway) -> None:
    order_id = await held_order(shop)
    await shop.pay(order_id, "needs_sca")
    await shop.finish_work()
    assert shop.events()[-1] == "payment.action_required"
    assert "payment.declined" not in shop.events()
    assert attempts(shop, order_id) == ["succeeded", "declined", "requires_action"]
    await shop.answer_challenge(order_id)
    await shop.wait(6 * SECOND)
    await shop.finish_work()
    assert shop.order(order_id)["pay_until_ms"] is None, "it is held no more"


async def test_a_soft_decline_after_a_guardians_yes_to_a_held_order_is_challenged(
    shop: SteppedGateway,
) -> None:
    order_id = await held_order(shop)
    family = await Family(shop).begin("needs_sca")
    await family.pays(order_id)
    await shop.finish_work()
    await family.agrees()
    await shop.finish_work()
    assert "payment.action_required" in shop.events()
    assert "payment.declined" not in shop.events()
    assert len(family.questions()) == 1


@pytest.mark.parametrize("times_lost", [1, 9])
async def test_a_lost_request_for_a_held_order_is_repeated_a_few_times(
    plain_seed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times_lost: int
) -> None:
    async with stepped_gateway(plain_seed, tmp_path) as shop:
        order_id = await held_order(shop)
        authorize: Callable[[Authorize], Any] = shop.gateway.vault.authorize
        lost: list[str] = []

        async def mostly_lost(request: Authorize) -> OperationResult:
            if len(lost) == times_lost:
                found: OperationResult = await authorize(request)
                return found
            lost.append(request.operation_id)
            return OperationResult(
                request.operation_id, OperationKind.AUTHORIZE, OperationStatus.FAILED, request.amount
            )

        monkeypatch.setattr(shop.gateway.vault, "authorize", mostly_lost)
        await shop.pay(order_id, "mastercard")
        await shop.finish_work()
        if times_lost == 1:
            assert attempts(shop, order_id) == ["succeeded", "failed", "succeeded"]
            assert "payment.declined" not in shop.events()
        else:
            assert attempts(shop, order_id) == ["succeeded", "failed", "failed", "failed"]
            assert shop.events().count("payment.declined") == 1


@pytest.mark.parametrize("heard", ["after the attempt", "before the attempt", "between"])
async def test_a_yes_while_the_same_allowance_is_tried_again_pays_without_another_question(
    shop: SteppedGateway, heard: str
) -> None:
    family = await Family(shop).begin()
    order_id = await family.buys()
    await family.pays(order_id)
    await family.agrees()
    tasks = await claimed(shop)
    authorize, approve = tasks["payment.authorize"], tasks["payment.guardian_approve"]
    if heard == "between":
        kind = shop.gateway.runner._kinds[authorize.kind]
        refused = await kind.perform(authorize)
        await shop._perform(approve, "none")

        def record(uow: UnitOfWork) -> None:
            end(uow, authorize)
            kind.record(uow, authorize, refused)

        await shop.store.write(record)
    else:
        first, second = (authorize, approve) if heard == "after the attempt" else (approve, authorize)
        await shop._perform(first, "none")
        await shop._perform(second, "none")
    await shop.finish_work()
    assert paid(shop, order_id)
    assert len(family.questions()) == 1
    assert "payment.declined" not in shop.events()


async def test_a_yes_while_another_card_is_under_way_pays_when_the_card_is_declined(
    shop: SteppedGateway,
) -> None:
    family = await Family(shop).begin()
    order_id = await family.buys()
    await shop.pay(order_id, "insufficient_funds")
    await family.agrees()
    tasks = await claimed(shop)
    await shop._perform(tasks["payment.guardian_approve"], "none")
    await shop._perform(tasks["payment.authorize"], "none")
    await shop.finish_work()
    assert paid(shop, order_id)


async def test_a_yes_that_was_tried_is_not_tried_again_by_itself(shop: SteppedGateway) -> None:
    family = await Family(shop).begin("insufficient_funds")
    order_id = await family.buys()
    await family.agrees()
    await shop.finish_work()
    await shop.pay(order_id, "insufficient_funds")
    await shop.finish_work()
    assert attempts(shop, order_id) == ["failed", "declined", "declined"]
    assert shop.events().count("payment.declined") == 2


@pytest.mark.parametrize("guarded", [False, True])
async def test_an_allowance_pays_again_at_once_after_a_challenge_that_nobody_answered(
    shop: SteppedGateway, guarded: bool
) -> None:
    family = await Family(shop).begin("challenge", alone=ALONE if guarded else ENOUGH, max_uses=1)
    order_id = await family.buys()
    if guarded:
        await family.agrees()
        await shop.finish_work()
    for _ in range(200):
        await shop.wait(6 * SECOND)
        await shop.work()
        if shop.intent(order_id)["state"] != "requires_action":
            break
    await family.pays(order_id)
    tasks = await claimed(shop)
    await shop._perform(tasks["payment.authorize"], "none")
    await shop._perform(tasks["payment.void"], "none")
    await shop.finish_work(2)
    await shop.wait(SECOND)
    await shop.finish_work()
    assert shop.events().count("payment.declined") == 1, "the challenge that was not answered in time"
    assert shop.intent(order_id)["state"] == "requires_action"
    assert len(family.questions()) == (1 if guarded else 0)
