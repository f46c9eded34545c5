"""Money that people hand over is what they say it is, said once, and only where people take the money."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.catalog.model import PaymentPolicy
from gateway.commands import payments
from gateway.kernel.errors import ConflictError, NotFoundError, UnavailableError
from gateway.kernel.money import Money
from gateway.orders import placing, refunding
from gateway.orders.collecting import Collection
from gateway.payments.method_feed import record_method
from gateway.payments.refunds_model import RefundWay
from tests.support.invariants import violations
from tests.support.stepped_gateway import DAY, HOUR, SteppedGateway, stepped_gateway
from wallets.vault.port import MethodKind, PassedMethod
from wallets.vault.secret import Secret

POLICY = PaymentPolicy(
    pay_at_delivery={"EUR": Money(50_000, "EUR")},
    refund_elsewhere={"EUR": Money(50_000, "EUR")},
    payout_cooling_hours=0,
)
MUG = "FJORD-MUG:physical"


@pytest.fixture
async def stepped(
    plain_seed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SteppedGateway]:
    """A gateway whose merchant takes money at the door; every promise still holds at the end."""
    for module in (placing, refunding):
        monkeypatch.setattr(module, "payment_policy_of", lambda *_: POLICY)
    async with stepped_gateway(plain_seed, tmp_path) as found:
        yield found
    broken = violations(tmp_path / "data", at_rest=False)
    assert not broken, "\n".join(map(str, broken))


async def at_the_door(stepped: SteppedGateway) -> tuple[str, int]:
    """An order that is paid when it is delivered, and how much it is."""
    placed = await stepped.place(MUG, payment={"kind": "pay_at_delivery"})
    await stepped.deliver()
    return placed["order_id"], placed["total"]["amount_minor"]


def told(
    stepped: SteppedGateway, order_id: str, tendered: int | None, staff: str = "courier-9", **more: Any
) -> Collection:
    return Collection(stepped.merchant.merchant_id, order_id, staff, "van-3", tendered, False, **more)


async def collected(stepped: SteppedGateway) -> tuple[str, int]:
    """An order that was paid at the door."""
    order_id, total = await at_the_door(stepped)
    await payments.collect(stepped.context, told(stepped, order_id, total + 100))
    await stepped.finish_work(3)
    assert stepped.order(order_id)["state"] == "completed"
    return order_id, total


async def refund_in_cash(stepped: SteppedGateway, order_id: str, amount: int | None = None) -> str:
    """Ask for a refund and return the operation that somebody has to do."""
    await stepped.ask_refund(order_id, amount)
    await stepped.finish_work(2)
    listed = await payments.list_collections(stepped.context, stepped.merchant, order_id)
    (waiting,) = listed["collections"]
    assert waiting["kind"] == "refund"
    return str(waiting["operation_id"])


# --- Where people take no money ---------------------------------------------------------------------------


async def test_a_collection_is_not_noted_for_a_direct_debit(stepped: SteppedGateway) -> None:
    account = PassedMethod(MethodKind.SEPA_DEBIT, Secret("DE89370400440532013000"), mandate_reference="M-7")
    stored = await stepped.gateway.vault.store_method(stepped.who.customer_id, account)
    await stepped.store.write(lambda uow: record_method(uow, stored))
    quoted = await stepped.quote(MUG)
    placed = await stepped.place_quoted(quoted, method_id=stored.payment_method_id)
    order_id = placed["order_id"]
    await stepped.finish_work()
    while stepped.legs(order_id)["ship"]["state"] != "fulfilled":
        await stepped.finish_work(3)
        await stepped.ship()
        stepped.clock.advance(5_000)
    assert stepped.operations(order_id, "capture")[0]["state"] in ("created", "unknown")
    with pytest.raises(ConflictError) as refused:
        await payments.collect(stepped.context, told(stepped, order_id, placed["total"]["amount_minor"]))
    assert refused.value.code == "collection.none_due"
    assert stepped.rows("SELECT * FROM cash_collection") == []
    vault = stepped.gateway.embedded_vault
    assert vault is not None
    await stepped.wait(3 * DAY)
    await vault.acquirer.decide_debits()
    for _ in range(4):
        await stepped.wait(6 * HOUR)
        await stepped.finish_work(3)
    assert stepped.order(order_id)["state"] == "completed"
    assert stepped.balances("%cash%") == {}


async def test_a_word_that_the_vault_does_not_know_of_is_forgotten(
    stepped: SteppedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id, total = await at_the_door(stepped)

    async def unknown(*_: Any) -> Any:
        raise NotFoundError("cash.unknown", "No such collection.")

    with monkeypatch.context() as patch, pytest.raises(NotFoundError):
        patch.setattr(stepped.gateway.vault, "confirm_cash", unknown)
        await payments.collect(stepped.context, told(stepped, order_id, total))
    assert stepped.rows("SELECT * FROM cash_collection") == []
    assert (await payments.collect(stepped.context, told(stepped, order_id, total, "other")))["collected"]


# --- A word that the vault has not heard ------------------------------------------------------------------


async def unheard(stepped: SteppedGateway, patch: pytest.MonkeyPatch, said: Collection) -> None:
    """Something is said while the vault is away."""

    async def away(*_: Any) -> Any:
        raise UnavailableError("vault.unavailable", "away")

    with patch.context() as inner, pytest.raises(UnavailableError):
        inner.setattr(stepped.gateway.vault, "confirm_cash", away)
        await payments.collect(stepped.context, said)


async def test_a_colleague_brings_to_an_end_what_the_vault_has_not_heard(
    stepped: SteppedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id, total = await at_the_door(stepped)
    await unheard(stepped, monkeypatch, told(stepped, order_id, total))
    assert (await payments.collect(stepped.context, told(stepped, order_id, total, "desk-1")))["collected"]
    await stepped.finish_work(3)
    assert stepped.order(order_id)["state"] == "completed"
    assert stepped.balances("%cash%") == {("asset:cash:van-3", "EUR"): total}


async def test_the_first_word_counts_and_is_heard_when_a_colleague_says_something_else(
    stepped: SteppedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id, total = await at_the_door(stepped)
    await unheard(stepped, monkeypatch, told(stepped, order_id, total))
    with pytest.raises(ConflictError) as refused:
        await payments.collect(stepped.context, told(stepped, order_id, None, "desk-1"))
    assert refused.value.code == "collection.decided" and refused.value.data == {"staff_id": "courier-9"}
    await stepped.finish_work(3)
    assert stepped.order(order_id)["state"] == "completed"


async def test_a_first_word_that_the_vault_refuses_gives_way_to_the_next(
    stepped: SteppedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id, total = await at_the_door(stepped)
    await unheard(stepped, monkeypatch, told(stepped, order_id, total - 1))
    assert (await payments.collect(stepped.context, told(stepped, order_id, total, "desk-1")))["collected"]
    await stepped.finish_work(3)
    assert stepped.order(order_id)["state"] == "completed"


# --- Cash that goes back ----------------------------------------------------------------------------------


async def test_cash_that_was_given_back_leaves_its_drawer(stepped: SteppedGateway) -> None:
    order_id, total = await collected(stepped)
    operation_id = await refund_in_cash(stepped, order_id, 1_000)
    given = await payments.collect(stepped.context, told(stepped, order_id, 1_000, operation_id=operation_id))
    assert given["operation_id"] == operation_id and given["collected"]
    await stepped.finish_work(3)
    assert stepped.rows("SELECT state, done_minor FROM refund_request") == [
        {"state": "done", "done_minor": 1_000}
    ]
    assert stepped.balances("%cash%") == {("asset:cash:van-3", "EUR"): total - 1_000}
    assert stepped.balances("%clearing%") == stepped.balances("%payable%refund%") == {}
    waiting = await payments.list_collections(stepped.context, stepped.merchant, order_id)
    assert waiting == {"collections": []}


async def test_cash_that_nobody_gave_back_can_be_refunded_another_way(stepped: SteppedGateway) -> None:
    order_id, total = await collected(stepped)
    operation_id = await refund_in_cash(stepped, order_id)
    await payments.collect(stepped.context, told(stepped, order_id, None, operation_id=operation_id))
    await stepped.finish_work(3)
    assert stepped.rows("SELECT state, failure FROM refund_request") == [
        {"state": "failed", "failure": "cash.not_collected"}
    ]
    card = await stepped.method("visa")
    asked = await stepped.ask_refund(order_id, None, RefundWay.METHOD, method=card)
    await stepped.decide_refund(asked["refund_id"], "olga")
    await stepped.finish_work(3)
    assert stepped.intent(order_id)["refunded_minor"] == total


async def test_a_repeated_collection_is_not_taken_for_a_refund(stepped: SteppedGateway) -> None:
    order_id, total = await collected(stepped)
    operation_id = await refund_in_cash(stepped, order_id)
    again = await payments.collect(stepped.context, told(stepped, order_id, total + 100))
    assert again["operation_id"] != operation_id
    await stepped.finish_work(3)
    assert stepped.rows("SELECT state FROM refund_request") == [{"state": "approved"}]


async def test_what_waits_is_told_to_nobody_elses_merchant(stepped: SteppedGateway) -> None:
    order_id, _ = await at_the_door(stepped)
    harbour = stepped.context.catalog.current.merchant_by_slug("harbour-and-thread")
    stranger = type(stepped.merchant)(harbour.merchant_id)
    with pytest.raises(NotFoundError):
        await payments.list_collections(stepped.context, stranger, order_id)


async def test_cash_is_no_method_to_send_money_to(stepped: SteppedGateway) -> None:
    order_id, _ = await collected(stepped)
    promise = PassedMethod(MethodKind.CASH, Secret("cash"), "cash")
    stored = await stepped.gateway.vault.store_method(stepped.who.customer_id, promise)
    await stepped.store.write(lambda uow: record_method(uow, stored))
    with pytest.raises(NotFoundError) as refused:
        await stepped.ask_refund(order_id, None, RefundWay.METHOD, method=stored.payment_method_id)
    assert refused.value.code == "payment_method.not_found"
