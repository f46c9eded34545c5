"""Between the two units: lost requests, lost answers, crashes, late requests, giving up."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.ids import TimeSortedIds
from tests.wallets.vault.faults import Fault, FaultyProvider
from tests.wallets.vault.shop import Shop, eur, refused, sql
from wallets.vault.embedded import EmbeddedVault, open_embedded_vault
from wallets.vault.port import (
    Capture,
    Increment,
    OperationKind,
    OperationResult,
    OperationStatus,
    Refund,
    Void,
)
from wallets.vault.providers import test_cards
from wallets.vault.providers.port import AuthorizeOrder, Lookup, ProviderAnswer
from wallets.vault.service import VaultService

S = OperationStatus
K = OperationKind


@pytest.fixture
def deadline_ms() -> int:
    return 250


async def test_an_answer_that_is_lost_is_found_by_asking(vault: EmbeddedVault, shop: Shop) -> None:
    request = shop.request(shop.terms(await shop.method(test_cards.ANSWER_LOST), eur(100)), eur(100))
    assert (await vault.authorize(request)).status is S.UNKNOWN
    resolved = await vault.operation(request.operation_id)
    assert resolved is not None
    assert (resolved.status, resolved.amount) == (S.SUCCEEDED, eur(100))
    assert len(await vault.acquirer.effects()) == 1


async def test_a_repeat_of_an_unanswered_request_asks_and_does_not_send(
    vault: EmbeddedVault, shop: Shop
) -> None:
    request = shop.request(shop.terms(await shop.method(test_cards.ANSWER_LOST), eur(100)), eur(100))
    assert (await vault.authorize(request)).status is S.UNKNOWN
    assert (await vault.authorize(request)).status is S.SUCCEEDED
    assert len(await vault.acquirer.effects()) == 1


async def test_a_request_that_never_arrived_has_failed_and_gives_the_allowance_back(
    vault: EmbeddedVault, shop: Shop, tmp_path: Path
) -> None:
    request = shop.request(shop.terms(await shop.method(test_cards.NEVER_ARRIVES), eur(100)), eur(100))
    assert (await vault.authorize(request)).status is S.UNKNOWN
    assert _used(tmp_path) == [(100, 1)]
    resolved = await vault.operation(request.operation_id)
    assert resolved is not None
    assert (resolved.status, resolved.refusal) == (S.FAILED, "provider.never_received")
    assert await vault.authorize(request) == resolved
    assert await vault.acquirer.effects() == []
    assert _used(tmp_path) == [(0, 0)]


async def test_a_slow_request_that_was_asked_about_first_is_refused_when_it_arrives(
    vault: EmbeddedVault, shop: Shop
) -> None:
    """The card takes twice the deadline; asking in between promises that nothing happens."""
    request = shop.request(shop.terms(await shop.method(test_cards.SLOW), eur(100)), eur(100))
    assert (await vault.authorize(request)).status is S.UNKNOWN
    asked = await vault.operation(request.operation_id)
    assert asked is not None
    assert asked.status is S.FAILED
    await asyncio.sleep(0.4)
    assert await vault.acquirer.effects() == []
    assert await vault.operation(request.operation_id) == asked


async def test_a_slow_request_within_the_deadline_succeeds(
    tmp_path: Path, clock: ManualClock, ids: TimeSortedIds
) -> None:
    vault = await open_embedded_vault(tmp_path, clock, ids, deadline_ms=5_000, slow_ms=30)
    await Shop(vault, clock, ids).authorized(test_cards.SLOW)
    await vault.close()


@pytest.mark.parametrize(
    ("number", "kind", "happened"),
    [
        (test_cards.CAPTURE_ANSWER_LOST, K.CAPTURE, True),
        (test_cards.CAPTURE_NEVER_ARRIVES, K.CAPTURE, False),
        (test_cards.VOID_ANSWER_LOST, K.VOID, True),
        (test_cards.REFUND_ANSWER_LOST, K.REFUND, True),
    ],
)
async def test_unanswered_follow_ups_are_resolved_the_same_way(
    vault: EmbeddedVault, shop: Shop, number: str, kind: K, happened: bool
) -> None:
    request = await shop.authorized(number, eur(100))
    parent = request.operation_id
    if kind is K.REFUND:
        parent = (await shop.capture(parent, eur(100))).operation_id
    before = len(await vault.acquirer.effects())
    operation_id = shop.op()

    async def ask() -> OperationResult:
        if kind is K.CAPTURE:
            return await vault.capture(Capture(operation_id, parent, eur(60)))
        if kind is K.VOID:
            return await vault.void(Void(operation_id, parent, eur(60)))
        return await vault.refund(Refund(operation_id, parent, eur(60)))

    assert (await ask()).status is S.UNKNOWN
    # What is not known to be free stays taken.
    if kind is K.CAPTURE:
        assert refused(await shop.capture(parent, eur(41))) == "vault.amount_exceeds_open"
    resolved = await ask()
    assert resolved.status is (S.SUCCEEDED if happened else S.FAILED)
    assert len(await vault.acquirer.effects()) == before + happened
    if not happened:
        voided = await shop.void(parent)
        assert voided.amount == eur(100)


async def test_a_crash_between_the_units_is_resolved_after_reopening(
    tmp_path: Path, clock: ManualClock, ids: TimeSortedIds
) -> None:
    vault = await open_embedded_vault(tmp_path, clock, ids, deadline_ms=60_000)
    shop = Shop(vault, clock, ids)
    lost = shop.request(shop.terms(await shop.method(test_cards.ANSWER_LOST), eur(100)), eur(100))
    never = shop.request(shop.terms(await shop.method(test_cards.NEVER_ARRIVES), eur(100)), eur(100))
    tasks = [asyncio.create_task(vault.authorize(request)) for request in (lost, never)]
    while not await vault.acquirer.effects() or len(_states(tmp_path)) < 2:
        await asyncio.sleep(0.005)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await vault.close()
    assert _states(tmp_path) == [("sent",), ("sent",)]

    again = await open_embedded_vault(tmp_path, clock, ids, deadline_ms=10_000)
    found, failed = await again.operation(lost.operation_id), await again.operation(never.operation_id)
    assert found is not None
    assert failed is not None
    assert (found.status, failed.status) == (S.SUCCEEDED, S.FAILED)
    assert [each.operation_id for each in await again.acquirer.effects()] == [lost.operation_id]
    captured = await Shop(again, clock, ids).capture(lost.operation_id, eur(100))
    assert captured.status is S.SUCCEEDED
    await again.close()


async def test_asking_about_an_id_never_seen_gives_none(vault: EmbeddedVault, shop: Shop) -> None:
    assert await vault.operation(shop.op()) is None


async def test_an_abandoned_id_refuses_the_late_request(vault: EmbeddedVault, shop: Shop) -> None:
    request = shop.request(shop.terms(await shop.method(), eur(100)), eur(100))
    tombstone = await vault.abandon(request.operation_id)
    assert (tombstone.kind, refused(tombstone)) == (None, "vault.operation_abandoned")
    assert await vault.abandon(request.operation_id) == tombstone
    assert await vault.authorize(request) == tombstone
    assert await vault.operation(request.operation_id) == tombstone
    held = await shop.authorized()
    late = Capture(shop.op(), held.operation_id, eur(10))
    await vault.abandon(late.operation_id)
    assert refused(await vault.capture(late)) == "vault.operation_abandoned"
    assert len(await vault.acquirer.effects()) == 1


async def test_abandoning_what_was_done_tells_what_was_done(vault: EmbeddedVault, shop: Shop) -> None:
    done = await shop.authorized()
    assert (await vault.abandon(done.operation_id)).status is S.SUCCEEDED
    lost = shop.request(shop.terms(await shop.method(test_cards.ANSWER_LOST), eur(100)), eur(100))
    assert (await vault.authorize(lost)).status is S.UNKNOWN
    assert (await vault.abandon(lost.operation_id)).status is S.SUCCEEDED


async def test_abandoning_races_the_request_and_one_of_them_wins(vault: EmbeddedVault, shop: Shop) -> None:
    method = await shop.method()
    for _ in range(20):
        request = shop.request(shop.terms(method, eur(1)), eur(1))
        paid, given_up = await asyncio.gather(vault.authorize(request), vault.abandon(request.operation_id))
        assert paid.status == given_up.status
        assert paid.status in (S.SUCCEEDED, S.REFUSED)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault.BREAK_BEFORE, S.FAILED),
        (Fault.BREAK_AFTER, S.SUCCEEDED),
        (Fault.PENDING_AFTER, S.SUCCEEDED),
        (Fault.SILENT_AFTER, S.SUCCEEDED),
    ],
)
async def test_whatever_is_not_an_answer_is_unknown_until_asked(
    faulty: Shop, provider: FaultyProvider, fault: Fault, expected: S, capsys: pytest.CaptureFixture[str]
) -> None:
    request = faulty.request(faulty.terms(await faulty.method(), eur(100)), eur(100))
    provider.fault = fault
    assert (await faulty.vault.authorize(request)).status is S.UNKNOWN
    provider.find_fails = True
    unresolved = await faulty.vault.operation(request.operation_id)
    assert unresolved is not None
    assert unresolved.status is S.UNKNOWN
    provider.find_fails = False
    resolved = await faulty.vault.operation(request.operation_id)
    assert resolved is not None
    assert resolved.status is expected
    assert provider.calls.count("authorize") == 1
    assert len(await provider.acquirer.effects()) == (expected is S.SUCCEEDED)
    printed = capsys.readouterr()
    assert "secret of the request" not in printed.out + printed.err


async def test_a_provider_that_does_not_fence_proves_absence_only_after_its_time(
    faulty: Shop, provider: FaultyProvider, clock: ManualClock
) -> None:
    request = faulty.request(faulty.terms(await faulty.method(), eur(200)), eur(100))
    provider.capabilities = FaultyProvider(
        provider.acquirer, fences=False, absent_after_ms=60_000
    ).capabilities
    provider.fault, provider.absent_to_lookups = Fault.BREAK_AFTER, True
    assert (await faulty.vault.authorize(request)).status is S.UNKNOWN
    clock.advance(59_999)
    early = await faulty.vault.operation(request.operation_id)
    assert early is not None
    assert early.status is S.UNKNOWN
    # It did act, and now its look-up has caught up.
    provider.absent_to_lookups = False
    found = await faulty.vault.operation(request.operation_id)
    assert found is not None
    assert found.status is S.SUCCEEDED
    other = faulty.request(request.allowance, eur(100))
    provider.fault, provider.absent_to_lookups = Fault.BREAK_BEFORE, True
    assert (await faulty.vault.authorize(other)).status is S.UNKNOWN
    clock.advance(60_000)
    absent = await faulty.vault.operation(other.operation_id)
    assert absent is not None
    assert absent.status is S.FAILED


async def test_a_process_that_stood_still_sends_nothing_that_others_found_absent(
    faulty: Shop, provider: FaultyProvider, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    able = FaultyProvider(provider.acquirer, fences=False, absent_after_ms=600_000).capabilities
    provider.capabilities = able
    request = faulty.request(faulty.terms(await faulty.method(), eur(100), max_uses=1), eur(100))
    service = cast(VaultService, faulty.vault)
    unwrap = service._kms.unwrap

    async def stand_still(*args: Any) -> Any:
        clock.advance(660_000)
        return await unwrap(*args)

    monkeypatch.setattr(service._kms, "unwrap", stand_still)
    assert (await faulty.vault.authorize(request)).status is S.UNKNOWN
    assert "authorize" not in provider.calls
    found = await faulty.vault.operation(request.operation_id)
    assert found is not None and found.status is S.FAILED
    assert await provider.acquirer.effects() == []


async def test_a_success_that_comes_after_the_failure_is_called_off(
    faulty: Shop, provider: FaultyProvider, clock: ManualClock, own_vault: EmbeddedVault
) -> None:
    """The provider acted after a look-up of another process had proved absence."""
    provider.capabilities = FaultyProvider(provider.acquirer, fences=False).capabilities
    request = faulty.request(faulty.terms(await faulty.method(), eur(100)), eur(100))
    absent = Absent(provider.acquirer, fences=False)
    other = VaultService(own_vault.store, absent, own_vault._kms, clock, faulty.ids)
    act = provider.acquirer.authorize

    async def late(order: AuthorizeOrder) -> ProviderAnswer:
        found = await other.operation(request.operation_id)
        assert found is not None and found.status is S.FAILED
        return await act(order)

    provider.acquirer.authorize = late
    assert (await faulty.vault.authorize(request)).status is S.FAILED
    kinds = [each.kind for each in await provider.acquirer.effects()]
    assert kinds == [K.AUTHORIZE, K.VOID]


async def test_a_void_waits_for_an_increment_and_is_then_asked_for_anew(
    faulty: Shop, provider: FaultyProvider
) -> None:
    """Else the use would be given back with the first void and once more with the void of the rest."""
    terms = faulty.terms(await faulty.method(), eur(1_000), max_uses=2)
    one, other = faulty.request(terms, eur(50)), faulty.request(terms, eur(50))
    for request in (one, other):
        assert (await faulty.vault.authorize(request)).status is S.SUCCEEDED
    provider.fault = Fault.BREAK_AFTER
    raised = Increment(faulty.op(), one.operation_id, eur(20))
    assert (await faulty.vault.increment(raised)).status is S.UNKNOWN
    provider.fault = Fault.NONE
    waiting = await faulty.void(one.operation_id)
    assert (waiting.status, waiting.refusal) == (S.UNKNOWN, None)
    assert await faulty.vault.operation(waiting.operation_id) == waiting
    assert (await faulty.vault.increment(raised)).status is S.SUCCEEDED
    ended = await faulty.vault.operation(waiting.operation_id)
    assert ended is not None
    assert (ended.status, ended.refusal) == (S.FAILED, "provider.never_received")
    assert "void" not in provider.calls
    assert (await faulty.void(one.operation_id)).amount == eur(70)
    found = await faulty.vault.allowance(terms.allowance_id)
    assert found is not None
    assert (found.used, found.used_count) == (eur(50), 1)


@pytest.mark.parametrize("fault", [Fault.BREAK_BEFORE, Fault.BREAK_AFTER])
async def test_a_void_beside_an_undecided_only_capture_waits_for_it(
    faulty: Shop, provider: FaultyProvider, fault: Fault
) -> None:
    """Where the only capture releases the rest; if it comes to nothing, all of it can be voided."""
    provider.capabilities = replace(
        provider.capabilities, most_captures=1, partial_void=False, void_after_capture=False
    )
    request = await faulty.authorized(amount=eur(100))
    provider.fault = fault
    captured = await faulty.capture(request.operation_id, eur(60))
    provider.fault = Fault.NONE
    waiting = await faulty.void(request.operation_id)
    assert (captured.status, waiting.status, waiting.amount) == (S.UNKNOWN, S.UNKNOWN, eur(40))
    assert await faulty.vault.operation(waiting.operation_id) == waiting
    decided = await faulty.vault.operation(captured.operation_id)
    ended = await faulty.vault.operation(waiting.operation_id)
    assert decided is not None and ended is not None
    assert decided.status is ended.status is (S.SUCCEEDED if fault is Fault.BREAK_AFTER else S.FAILED)
    assert "void" not in provider.calls
    whole = await faulty.void(request.operation_id)
    if fault is Fault.BREAK_AFTER:
        assert refused(whole) == "vault.nothing_open"
    else:
        assert (whole.status, whole.amount) == (S.SUCCEEDED, eur(100))
        assert provider.calls.count("void") == 1
    used = await faulty.vault.allowance(request.allowance.allowance_id)
    assert used is not None
    assert used.used == eur(60 if fault is Fault.BREAK_AFTER else 0)


class Absent(FaultyProvider):
    """Finds nothing, and does not fence it."""

    async def find(self, lookup: Lookup) -> ProviderAnswer | None:
        return None


async def test_two_vault_processes_with_one_request_have_one_effect(
    faulty: Shop, vault: EmbeddedVault, shop: Shop, provider: FaultyProvider
) -> None:
    """The second process finds ``sent`` and asks; whoever is first at the acquirer decides for both."""
    method = await shop.method()
    for _ in range(30):
        request = shop.request(shop.terms(method, eur(1)), eur(1))
        await asyncio.gather(vault.authorize(request), faulty.vault.authorize(request))
        final = await vault.operation(request.operation_id)
        assert final == await faulty.vault.operation(request.operation_id)
        assert final is not None
        effects = [
            each for each in await vault.acquirer.effects() if each.operation_id == request.operation_id
        ]
        assert len(effects) == (final.status is S.SUCCEEDED)


async def test_one_waiter_that_gives_up_does_not_disturb_the_others(vault: EmbeddedVault, shop: Shop) -> None:
    request = shop.request(shop.terms(await shop.method(test_cards.ANSWER_LOST), eur(100)), eur(100))
    tasks = [asyncio.create_task(vault.authorize(request)) for _ in range(5)]
    while not await vault.acquirer.effects():
        await asyncio.sleep(0.005)
    tasks[2].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [getattr(answer, "status", None) for answer in answers] == [
        S.UNKNOWN,
        S.SUCCEEDED,
        None,
        S.SUCCEEDED,
        S.SUCCEEDED,
    ]


def _used(tmp_path: Path) -> list[tuple[int, int]]:
    return sql(tmp_path / "vault" / "vault.db", "SELECT used_minor, used_count FROM vault_allowance")


def _states(directory: Path) -> list[tuple[str]]:
    return sql(directory / "vault.db", "SELECT state FROM vault_operation")
