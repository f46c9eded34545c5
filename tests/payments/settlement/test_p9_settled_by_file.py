"""P9: an operation that is unknown here and listed by the provider is settled by that, once, and booked once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from gateway.kernel.clock import ManualClock
from gateway.kernel.ids import TimeSortedIds
from gateway.kernel.store.unit import Store, UnitOfWork
from gateway.kernel.subjects import OperationId
from gateway.kernel.tasks.tables import task
from gateway.ledger import accounts
from gateway.ledger.entries import move
from gateway.ledger.posting import post
from gateway.ledger.verifying import verify
from gateway.payments.reconciler import reconcile
from gateway.payments.settlement.catching_up import tell_vault, undecided
from gateway.payments.settlement.importing import import_file
from gateway.payments.settlement.model import Outcome
from gateway.payments.tables import payment_operation
from tests.payments.settlement.world import World, found_in, reconciled, settlement_file, with_payouts
from tests.wallets.vault.shop import Shop, eur
from wallets.vault.embedded import EmbeddedVault, open_embedded_vault
from wallets.vault.port import Capture, OperationStatus
from wallets.vault.providers import test_cards
from wallets.vault.providers.settlement import SettlementLine

CLEARING, SUSPENSE = (accounts.clearing("simulated"), "EUR"), (accounts.SUSPENSE, "EUR")


@pytest.fixture
async def vault(tmp_path: Path, clock: ManualClock) -> AsyncIterator[EmbeddedVault]:
    made = await open_embedded_vault(
        tmp_path / "vault", clock, TimeSortedIds(clock), deadline_ms=200, slow_ms=400, strict=True
    )
    yield made
    await made.close()


async def at_the_vault(vault: EmbeddedVault, clock: ManualClock, line: SettlementLine) -> None:
    """Make the vault's side of a line: a capture under its id whose answer was lost."""
    shop = Shop(vault, clock, TimeSortedIds(clock))
    request = await shop.authorized(test_cards.CAPTURE_ANSWER_LOST, eur(line.gross_minor))
    capture = Capture(OperationId(line.operation_id), request.operation_id, eur(line.gross_minor))
    assert (await vault.capture(capture)).status is OperationStatus.UNKNOWN


async def heard_here(store: Store, line: SettlementLine) -> None:
    """What the order side does when it hears of a capture."""

    def unit(uow: UnitOfWork) -> None:
        its = payment_operation.c.operation_id == line.operation_id
        uow.core(
            payment_operation.update()
            .where(its)
            .values(state="succeeded", updated_at_ms=line.occurred_at_ms + 90_000)
        )
        entries = move(
            "EUR", line.gross_minor, debit=accounts.clearing("simulated"), credit=accounts.DEFERRED_REVENUE
        )
        post(uow, "x.charge", "mer_1", None, entries)

    await store.write(unit)


async def test_p9_what_the_file_lists_is_settled_in_the_vault_and_asked_about_here(
    world: World, store: Store, vault: EmbeddedVault, clock: ManualClock
) -> None:
    lost = await world.did("charge", 4_000, state="unknown")
    other = await world.did("charge", 100)
    await at_the_vault(vault, clock, lost)
    file = settlement_file(with_payouts([lost, other]))
    await import_file(store, file, "mer_1")
    listed = await undecided(store, file.source, file.file_hash)
    assert [one.operation_id for one in listed] == [lost.operation_id]
    [told] = await tell_vault(vault, listed)
    assert (told.status, told.provider_reference) == (OperationStatus.SUCCEEDED, lost.provider_reference)
    # Killed before or after the vault was told: the same again changes nothing.
    assert await tell_vault(vault, await undecided(store, file.source, file.file_hash)) == [told]
    # The order side hears of it by the list of changes, and asks.
    await reconcile(store, vault)
    asked = await store.read(lambda reader: reader.core(select(task.c.kind)).all())
    assert [row.kind for row in asked] == ["payment.resolve"]


async def test_p9_what_was_put_aside_is_booked_once_when_the_order_has_heard(
    world: World, store: Store
) -> None:
    lost = await world.did("charge", 4_000, state="unknown")
    file = settlement_file(with_payouts([lost]))
    _, report = await reconciled(store, file)
    assert found_in(report) == {(Outcome.MISSING_HERE, lost.line_key)}
    assert (await world.balances())[SUSPENSE] == -4_000
    await heard_here(store, lost)
    for posted in (1, 0):
        done, report = await reconciled(store, file)
        assert (done[0].new_lines, done[0].posted) == (0, posted)
        assert report.differences == []
        balances = await world.balances()
        assert SUSPENSE not in balances
        assert balances[CLEARING] == lost.net_minor
    assert await verify(store) == []


async def test_p9_the_next_days_file_puts_yesterdays_line_in_order(world: World, store: Store) -> None:
    lost = await world.did("charge", 4_000, state="unknown")
    await import_file(store, settlement_file(with_payouts([lost])), "mer_1")
    await heard_here(store, lost)
    await import_file(store, settlement_file([await world.did("charge", 100)], "next.csv"), "mer_1")
    assert SUSPENSE not in await world.balances()


async def test_p9_two_lines_for_one_unknown_operation_settle_it_once(world: World, store: Store) -> None:
    lost = await world.did("charge", 4_000, state="unknown")
    twice = replace(lost, line_key="stl_again")
    file = settlement_file(with_payouts([lost, twice]))
    await import_file(store, file, "mer_1")
    await heard_here(store, lost)
    _, report = await reconciled(store, file)
    assert [one.outcome for one in report.differences] == [Outcome.DUPLICATE]
    assert (await world.balances())[SUSPENSE] == -4_000


@pytest.mark.parametrize(
    "change", [{"gross_minor": 4_001, "fee_minor": 101, "net_minor": 3_900}, {"type": "refund"}]
)
async def test_p9_a_line_that_does_not_fit_settles_nothing(
    world: World, store: Store, change: dict[str, object]
) -> None:
    lost = replace(await world.did("charge", 4_000, state="unknown"), **change)
    file = settlement_file([lost])
    await import_file(store, file, "mer_1")
    assert await undecided(store, file.source, file.file_hash) == []
