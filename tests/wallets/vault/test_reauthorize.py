"""The rest of an authorization, authorized anew without the customer (P5, P6)."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.ids import TimeSortedIds
from gateway.kernel.money import Money
from gateway.kernel.subjects import OperationId
from tests.wallets.vault.faults import Fault, FaultyProvider
from tests.wallets.vault.shop import CUSTOMER, Shop, eur, refused, sql
from wallets.vault.embedded import EmbeddedVault
from wallets.vault.port import (
    Authorize,
    Increment,
    MerchantReason,
    OperationResult,
    OperationStatus,
    Reauthorize,
)
from wallets.vault.providers import test_cards

S = OperationStatus
DAY_MS = 86_400_000


async def again(shop: Shop, authorization: OperationId, amount: Money) -> OperationResult:
    return await shop.vault.reauthorize(Reauthorize(shop.op(), authorization, amount))


async def spent(shop: Shop, request: Authorize) -> tuple[int, int]:
    found = await shop.vault.allowance(request.allowance.allowance_id)
    assert found is not None
    return found.used.amount_minor, found.used_count


async def test_p6_the_rest_is_authorized_anew_with_the_agreement_of_the_first(
    vault: EmbeddedVault, shop: Shop, clock: ManualClock
) -> None:
    first = await shop.authorized(amount=eur(1_000))
    assert (await shop.capture(first.operation_id, eur(300))).status is S.SUCCEEDED
    clock.advance(6 * DAY_MS)  # long after the allowance has run out
    second = await again(shop, first.operation_id, eur(700))
    assert (second.status, second.amount, second.parent_id) == (S.SUCCEEDED, eur(700), first.operation_id)
    # A merchant-initiated authorization of Visa is valid for 4 days and 18 hours.
    assert second.capture_before_ms == clock.now_ms() + 4 * DAY_MS + 18 * 3_600_000
    assert (await shop.capture(second.operation_id, eur(700))).status is S.SUCCEEDED
    assert (await shop.void(first.operation_id, eur(700))).status is S.SUCCEEDED
    assert await spent(shop, first) == (1_000, 1)


async def test_the_spend_is_swapped_and_not_added(vault: EmbeddedVault, shop: Shop) -> None:
    first = await shop.authorized(amount=eur(1_000))
    await shop.capture(first.operation_id, eur(300))
    second = await again(shop, first.operation_id, eur(500))
    assert await spent(shop, first) == (800, 1)
    await shop.void(first.operation_id, eur(700))
    assert await spent(shop, first) == (800, 1)
    await shop.void(second.operation_id, eur(500))
    assert await spent(shop, first) == (300, 1)


async def test_more_than_is_open_of_the_first_is_refused(vault: EmbeddedVault, shop: Shop) -> None:
    """Whatever the allowance has left: nobody but the customer decides about that."""
    terms = shop.terms(await shop.method(), eur(10_000), max_uses=1, max_per_hour=eur(1_000))
    first = shop.request(terms, eur(1_000))
    assert (await vault.authorize(first)).status is S.SUCCEEDED
    await shop.capture(first.operation_id, eur(300))
    assert refused(await again(shop, first.operation_id, eur(701))) == "vault.amount_exceeds_open"
    assert await spent(shop, first) == (1_000, 1)
    assert (await again(shop, first.operation_id, eur(700))).status is S.SUCCEEDED


async def test_nothing_is_authorized_anew_of_what_was_captured_whole(
    vault: EmbeddedVault, shop: Shop
) -> None:
    terms = shop.terms(await shop.method(), eur(10_000))
    first = shop.request(terms, eur(50))
    await vault.authorize(first)
    await shop.capture(first.operation_id, eur(50))
    assert refused(await again(shop, first.operation_id, eur(9_950))) == "vault.nothing_open"
    assert await spent(shop, first) == (50, 1)


async def test_what_is_undecided_frees_nothing_of_the_allowance(
    faulty: Shop, provider: FaultyProvider
) -> None:
    """Else another one could spend it, and a decline would have nothing to come back to."""
    first = await faulty.authorized(amount=eur(1_000))
    provider.fault = Fault.BREAK_BEFORE
    second = await again(faulty, first.operation_id, eur(600))
    assert second.status is S.UNKNOWN
    provider.fault = Fault.NONE
    other = await faulty.vault.authorize(faulty.request(first.allowance, eur(400)))
    assert refused(other) == "allowance.amount_exceeded"
    failed = await faulty.vault.operation(second.operation_id)
    assert failed is not None and failed.status is S.FAILED
    assert await spent(faulty, first) == (1_000, 1)
    assert (await faulty.capture(first.operation_id, eur(1_000))).status is S.SUCCEEDED


async def test_a_void_begun_before_the_replacement_gives_back_what_it_voided(
    faulty: Shop, provider: FaultyProvider
) -> None:
    for void_is_first in (True, False):
        first = await faulty.authorized(amount=eur(1_000))
        provider.fault = Fault.BREAK_AFTER
        voided = await faulty.void(first.operation_id, eur(300))
        second = await again(faulty, first.operation_id, eur(500))
        provider.fault = Fault.NONE
        assert (voided.status, second.status) == (S.UNKNOWN, S.UNKNOWN)
        asked = [voided.operation_id, second.operation_id]
        for operation_id in asked if void_is_first else reversed(asked):
            found = await faulty.vault.operation(operation_id)
            assert found is not None and found.status is S.SUCCEEDED
        assert (await faulty.void(first.operation_id)).amount == eur(700)
        assert await spent(faulty, first) == (500, 1)


async def test_the_replaced_one_is_held_until_the_new_one_is_decided(
    faulty: Shop, provider: FaultyProvider
) -> None:
    """Else the new one fails and nobody holds anything."""
    for fault, new_status in ((Fault.BREAK_BEFORE, S.FAILED), (Fault.BREAK_AFTER, S.SUCCEEDED)):
        first = await faulty.authorized(amount=eur(1_000))
        provider.fault = fault
        second = await again(faulty, first.operation_id, eur(1_000))
        provider.fault = Fault.NONE
        provider.calls.clear()
        waiting = await faulty.void(first.operation_id)
        assert (waiting.status, waiting.refusal) == (S.UNKNOWN, None)
        assert await faulty.vault.operation(waiting.operation_id) == waiting
        assert "void" not in provider.calls
        found = await faulty.vault.operation(second.operation_id)
        assert found is not None and found.status is new_status
        ended = await faulty.vault.operation(waiting.operation_id)
        assert ended is not None
        assert (ended.status, ended.refusal) == (S.FAILED, "provider.never_received")
        assert (await faulty.void(first.operation_id)).amount == eur(1_000)


async def test_what_was_replaced_can_be_voided_and_not_captured(vault: EmbeddedVault, shop: Shop) -> None:
    first = await shop.authorized(amount=eur(1_000))
    assert (await again(shop, first.operation_id, eur(1_000))).status is S.SUCCEEDED
    assert refused(await shop.capture(first.operation_id, eur(10))) == "vault.authorization_replaced"
    assert refused(await again(shop, first.operation_id, eur(1_000))) == "vault.authorization_replaced"
    raised = await vault.increment(Increment(shop.op(), first.operation_id, eur(10)))
    assert refused(raised) == "vault.authorization_replaced"
    assert (await shop.void(first.operation_id)).status is S.SUCCEEDED


async def test_a_declined_one_leaves_the_first_as_it_was(
    own_vault: EmbeddedVault, clock: ManualClock, ids: TimeSortedIds, tmp_path: Path
) -> None:
    shop = Shop(own_vault, clock, ids)
    first = await shop.authorized(amount=eur(1_000))
    sql(tmp_path / "vault" / "vault.db", "UPDATE vault_operation SET network_transaction_id = 'another'")
    declined = await again(shop, first.operation_id, eur(1_000))
    assert (declined.status, declined.refusal) == (S.FAILED, "provider.network_transaction_unknown")
    assert await spent(shop, first) == (1_000, 1)
    assert (await shop.capture(first.operation_id, eur(1_000))).status is S.SUCCEEDED


async def test_a_revoked_allowance_and_a_removed_method_end_it(vault: EmbeddedVault, shop: Shop) -> None:
    first = await shop.authorized()
    await vault.revoke(first.allowance.allowance_id)
    assert refused(await again(shop, first.operation_id, eur(1_000))) == "allowance.revoked"
    other = await shop.authorized(test_cards.AMEX)
    await vault.remove_method(CUSTOMER, other.allowance.payment_method_id)
    assert refused(await again(shop, other.operation_id, eur(1_000))) == "vault.method_unknown"


async def test_the_same_id_gives_the_same_answer(vault: EmbeddedVault, shop: Shop) -> None:
    first = await shop.authorized()
    request = Reauthorize(shop.op(), first.operation_id, eur(400))
    answer = await vault.reauthorize(request)
    assert await vault.reauthorize(request) == answer
    other = Reauthorize(request.operation_id, first.operation_id, eur(401))
    assert refused(await vault.reauthorize(other)) == "vault.operation_conflict"


@pytest.mark.parametrize("rounds", [3])
async def test_it_can_go_on_for_weeks(
    vault: EmbeddedVault, shop: Shop, clock: ManualClock, rounds: int
) -> None:
    first = await shop.authorized(amount=eur(900))
    current = first.operation_id
    for _ in range(rounds):
        clock.advance(4 * DAY_MS)
        result = await again(shop, current, eur(900))
        assert result.status is S.SUCCEEDED
        await shop.void(current)
        current = result.operation_id
    assert await spent(shop, first) == (900, 1)
    assert (await shop.capture(current, eur(900))).status is S.SUCCEEDED


async def test_only_reasons_of_an_agreement_are_taken(vault: EmbeddedVault, shop: Shop) -> None:
    first = await shop.authorized()
    wrong = Reauthorize(shop.op(), first.operation_id, eur(10), MerchantReason.NO_SHOW)
    assert refused(await vault.reauthorize(wrong)) == "vault.provider_cannot"
