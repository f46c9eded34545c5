"""Both sides are compared on every operation: what differs is named, what agrees is not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import update

from gateway.kernel.clock import ManualClock
from gateway.kernel.ids import TimeSortedIds
from gateway.kernel.money import Money
from gateway.kernel.store.sqlite import SqliteStore
from gateway.kernel.subjects import OperationId
from gateway.kernel.tasks.queue import open_tasks
from gateway.payments.operations import begin_operation, record_result
from gateway.payments.reconciler import DifferenceKind, compare_all, reconcile
from gateway.payments.tables import payment_operation
from tests.support.stores import gateway_store
from wallets.vault.embedded import EmbeddedVault, open_embedded_vault
from wallets.vault.port import (
    AllowanceId,
    AllowanceReason,
    AllowanceTerms,
    Authorize,
    CardEntry,
    OperationKind,
    OperationResult,
)
from wallets.vault.providers import test_cards

AMOUNT = Money(1290, "EUR")


@dataclass
class Sides:
    store: SqliteStore
    vault: EmbeddedVault
    clock: ManualClock
    ids: TimeSortedIds
    method: str

    async def authorize_there(self, operation_id: OperationId) -> OperationResult:
        terms = AllowanceTerms(
            allowance_id=self.ids.new(AllowanceId),
            payment_method_id=self.method,  # it is the vault's own id
            customer_id="cus_1",
            merchant_id="mer_1",
            order_id="ord_1",
            channel="ar",
            place_id=None,
            device_id=None,
            reason=AllowanceReason.ONE_TIME,
            max_amount=AMOUNT,
            max_uses=1,
            expires_at_ms=self.clock.now_ms() + 1_000_000,
        )
        result = await self.vault.authorize(
            Authorize(operation_id, terms, AMOUNT, "cus_1", "mer_1", "ord_1", "ar")
        )
        # The vault holds changes of the last moments back.
        self.clock.advance(5_000)
        return result

    async def begin_here(self, operation_id: OperationId) -> None:
        await self.store.write(
            lambda uow: begin_operation(
                uow, operation_id, OperationKind.AUTHORIZE, order_id="ord_1", amount=AMOUNT
            )
        )

    async def change_here(self, operation_id: OperationId, **values: object) -> None:
        await self.store.write(
            lambda uow: uow.core(
                update(payment_operation)
                .where(payment_operation.c.operation_id == operation_id)
                .values(**values)
            )
        )


@pytest.fixture
async def sides(tmp_path: Path) -> AsyncIterator[Sides]:
    clock = ManualClock()
    ids = TimeSortedIds(clock)
    async with gateway_store(tmp_path, clock) as store:
        vault = await open_embedded_vault(tmp_path, clock, ids, strict=True)
        try:
            card = CardEntry.typed(test_cards.VISA, 12, 2040, "123")
            method = await vault.tokenize("cus_1", card)
            yield Sides(store, vault, clock, ids, method.payment_method_id)
        finally:
            await vault.close()


async def test_sides_that_agree_show_no_difference(sides: Sides) -> None:
    operation_id = sides.ids.new(OperationId)
    await sides.begin_here(operation_id)
    result = await sides.authorize_there(operation_id)
    await sides.store.write(lambda uow: record_result(uow, result))
    assert await compare_all(sides.store, sides.vault) == []
    assert await reconcile(sides.store, sides.vault) == []


async def test_an_answer_that_did_not_arrive_is_asked_for_and_not_reported(sides: Sides) -> None:
    operation_id = sides.ids.new(OperationId)
    await sides.begin_here(operation_id)
    await sides.authorize_there(operation_id)
    assert await reconcile(sides.store, sides.vault) == []
    assert await sides.store.read(open_tasks) == 1


@pytest.mark.parametrize(
    ("values", "kind"),
    [({"state": "failed"}, DifferenceKind.STATE), ({"amount_minor": 1291}, DifferenceKind.AMOUNT)],
)
async def test_a_difference_in_state_or_amount_is_named(
    sides: Sides, values: dict[str, object], kind: DifferenceKind
) -> None:
    operation_id = sides.ids.new(OperationId)
    await sides.begin_here(operation_id)
    result = await sides.authorize_there(operation_id)
    await sides.store.write(lambda uow: record_result(uow, result))
    await sides.change_here(operation_id, **values)
    (found,) = await compare_all(sides.store, sides.vault)
    assert (found.operation_id, found.kind) == (operation_id, kind)
    (found,) = await reconcile(sides.store, sides.vault)
    assert found.kind is kind


async def test_what_only_the_vault_knows_is_named(sides: Sides) -> None:
    operation_id = sides.ids.new(OperationId)
    await sides.authorize_there(operation_id)
    (found,) = await compare_all(sides.store, sides.vault)
    assert (found.operation_id, found.kind) == (operation_id, DifferenceKind.UNKNOWN_HERE)


async def test_a_success_the_vault_does_not_know_is_named(sides: Sides) -> None:
    operation_id = sides.ids.new(OperationId)
    await sides.begin_here(operation_id)
    await sides.change_here(operation_id, state="succeeded")
    (found,) = await compare_all(sides.store, sides.vault)
    assert (found.operation_id, found.kind) == (operation_id, DifferenceKind.MISSING_AT_VAULT)


async def test_each_change_at_the_vault_is_compared_once(sides: Sides) -> None:
    operation_id = sides.ids.new(OperationId)
    await sides.authorize_there(operation_id)
    assert len(await reconcile(sides.store, sides.vault)) == 1
    assert await reconcile(sides.store, sides.vault) == []
