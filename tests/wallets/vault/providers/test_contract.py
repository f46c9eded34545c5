"""One contract for every adapter, driven by its flags (P4).

A flag that says no: our side refuses and the provider hears nothing. A flag that says yes: it is done. The
tests know no provider by name.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from gateway.kernel.money import Money
from tests.wallets.vault.providers.stands import Stand
from tests.wallets.vault.shop import eur, refused
from wallets.vault.port import (
    Capture,
    Initiation,
    OperationKind,
    OperationResult,
    OperationStatus,
    Refund,
)

S = OperationStatus
CANNOT = "vault.provider_cannot"


def is_refused_unasked(stand: Stand, result: OperationResult, calls_before: list[str]) -> None:
    """The flag says no: refused by us, and the provider heard nothing."""
    assert refused(result) == CANNOT
    assert stand.provider.calls == calls_before


async def test_authorized_captured_and_refunded(stand: Stand) -> None:
    placed = await stand.placed(eur(1_000))
    captured = await stand.taken(placed.operation_id, eur(1_000))
    assert (captured.status, captured.amount) == (S.SUCCEEDED, eur(1_000))
    refunded = await stand.settled(await stand.refund(captured.operation_id, eur(1_000)))
    assert (refunded.status, refunded.amount) == (S.SUCCEEDED, eur(1_000))


async def test_authorized_and_voided(stand: Stand) -> None:
    placed = await stand.placed(eur(1_000))
    voided = await stand.void(placed.operation_id)
    assert (voided.status, voided.amount) == (S.SUCCEEDED, eur(1_000))
    assert refused(await stand.capture(placed.operation_id, eur(1))) == "vault.nothing_open"


async def test_one_id_is_one_call_however_often_it_is_asked(stand: Stand) -> None:
    """P2, P9: the id is sent once; repeats are answered from our record or by a query."""
    placed = await stand.placed(eur(1_000))
    request = Capture(stand.op(), placed.operation_id, eur(1_000))
    await asyncio.gather(*(stand.vault.capture(request) for _ in range(8)))
    answers = [await stand.settled(await stand.vault.capture(request)) for _ in range(3)]
    assert [each.status for each in answers] == [S.SUCCEEDED] * 3
    refund = Refund(stand.op(), request.operation_id, eur(400))
    if stand.able.partial_refund:
        await asyncio.gather(*(stand.vault.refund(refund) for _ in range(8)))
        assert (await stand.settled(await stand.vault.refund(refund))).status is S.SUCCEEDED
    calls = Counter(stand.provider.calls)
    assert (calls["authorize"], calls["capture"], calls["refund"]) == (1, 1, int(stand.able.partial_refund))


async def test_nothing_above_what_there_is_reaches_the_provider(stand: Stand) -> None:
    """P3: captured <= authorized, refunded <= captured, whatever the provider would let through."""
    placed = await stand.placed(eur(1_000))
    calls = list(stand.provider.calls)
    assert refused(await stand.capture(placed.operation_id, eur(1_001))) == "vault.amount_exceeds_open"
    assert stand.provider.calls == calls
    captured = await stand.taken(placed.operation_id, eur(1_000))
    calls = list(stand.provider.calls)
    over = await stand.refund(captured.operation_id, eur(1_001))
    assert refused(over) == "vault.amount_exceeds_captured"
    other = await stand.capture(placed.operation_id, Money(1, "USD"))
    assert refused(other) in ("vault.currency_mismatch", CANNOT)
    assert stand.provider.calls == calls
    await stand.settled(await stand.refund(captured.operation_id, eur(1_000)))
    again = await stand.refund(captured.operation_id, eur(1))
    assert again.refusal in ("vault.amount_exceeds_captured", CANNOT)


async def test_partial_capture(stand: Stand) -> None:
    placed = await stand.placed(eur(1_000))
    calls = list(stand.provider.calls)
    part = await stand.capture(placed.operation_id, eur(300))
    if not stand.able.partial_capture:
        is_refused_unasked(stand, part, calls)
        return
    part = await stand.settled(part)
    assert (part.status, part.amount) == (S.SUCCEEDED, eur(300))


async def test_captures_up_to_the_flag_and_not_one_more(stand: Stand) -> None:
    """Issue point 6: at least 150 partial captures with exact sums where the flags allow it."""
    wanted = min(stand.able.most_captures, 151)
    amounts = [eur(7 + each % 5) for each in range(wanted)]
    total = sum((each.amount_minor for each in amounts), 0)
    placed = await stand.placed(eur(total + 10))
    for amount in amounts:
        assert (await stand.taken(placed.operation_id, amount)).status is S.SUCCEEDED
    calls = list(stand.provider.calls)
    if stand.able.most_captures <= wanted:
        is_refused_unasked(stand, await stand.capture(placed.operation_id, eur(10)), calls)
    else:
        assert refused(await stand.capture(placed.operation_id, eur(11))) == "vault.amount_exceeds_open"
        assert (await stand.taken(placed.operation_id, eur(10))).status is S.SUCCEEDED
        assert refused(await stand.capture(placed.operation_id, eur(1))) == "vault.nothing_open"


async def test_partial_void(stand: Stand) -> None:
    placed = await stand.placed(eur(1_000))
    calls = list(stand.provider.calls)
    part = await stand.void(placed.operation_id, eur(300))
    if not stand.able.partial_void:
        is_refused_unasked(stand, part, calls)
        return
    assert part.status is S.SUCCEEDED
    assert refused(await stand.capture(placed.operation_id, eur(701))) == "vault.amount_exceeds_open"


async def test_what_is_left_after_a_capture_is_released(stand: Stand) -> None:
    """``void_after_capture``: by a call, or by the capture itself; our books end the same."""
    placed = await stand.placed(eur(1_000))
    assert (await stand.taken(placed.operation_id, eur(600))).status is S.SUCCEEDED
    calls = list(stand.provider.calls)
    rest = await stand.void(placed.operation_id)
    assert (rest.status, rest.amount) == (S.SUCCEEDED, eur(400))
    assert stand.provider.calls == [*calls, "void"] if stand.able.void_after_capture else calls
    assert (await stand.capture(placed.operation_id, eur(1))).status is S.REFUSED


async def test_partial_refunds(stand: Stand) -> None:
    placed = await stand.placed(eur(1_000))
    captured = await stand.taken(placed.operation_id, eur(1_000))
    calls = list(stand.provider.calls)
    part = await stand.refund(captured.operation_id, eur(300))
    if not stand.able.partial_refund:
        is_refused_unasked(stand, part, calls)
        return
    assert (await stand.settled(part)).status is S.SUCCEEDED
    assert refused(await stand.refund(captured.operation_id, eur(701))) == "vault.amount_exceeds_captured"
    rest = await stand.settled(await stand.refund(captured.operation_id, eur(700)))
    assert rest.status is S.SUCCEEDED


async def test_incremental_authorization(stand: Stand) -> None:
    placed = await stand.placed(eur(1_000))
    calls = list(stand.provider.calls)
    raised = await stand.raised(placed.operation_id, eur(500))
    if not stand.able.incremental_authorization:
        is_refused_unasked(stand, raised, calls)
        return
    assert (raised.status, raised.amount) == (S.SUCCEEDED, eur(500))
    found = await stand.vault.operation(placed.operation_id)
    assert found is not None
    assert found.amount == eur(1_500)
    # The allowance is of twice the first amount.
    assert refused(await stand.raised(placed.operation_id, eur(501))) == "allowance.amount_exceeded"
    assert (await stand.taken(placed.operation_id, eur(1_500))).status is S.SUCCEEDED


async def test_payout(stand: Stand) -> None:
    method = await stand.new_method()
    calls = list(stand.provider.calls)
    paid = await stand.paid_out(method, eur(250))
    if not stand.able.payout:
        is_refused_unasked(stand, paid, calls)
        return
    assert (paid.status, paid.amount, paid.kind) == (S.SUCCEEDED, eur(250), OperationKind.PAYOUT)


@pytest.mark.parametrize(
    ("flag", "changes"),
    [
        ("moto", {"initiation": Initiation.MOTO}),
        ("challenge", {"request_challenge": True}),
    ],
)
async def test_kinds_of_authorization(stand: Stand, flag: str, changes: dict[str, Any]) -> None:
    request = stand.request(stand.terms(await stand.new_method(), eur(100)), eur(100), **changes)
    calls = list(stand.provider.calls)
    result = await stand.vault.authorize(request)
    if not getattr(stand.able, flag):
        is_refused_unasked(stand, result, calls)
        return
    assert result.status in (S.SUCCEEDED, S.REQUIRES_ACTION)


async def test_a_capture_is_decided_at_once_or_later_as_the_flag_says(stand: Stand) -> None:
    placed = await stand.placed(eur(100))
    first = await stand.capture(placed.operation_id, eur(100))
    assert first.status is (S.UNKNOWN if stand.able.async_capture_result else S.SUCCEEDED)
    assert (await stand.settled(first)).status is S.SUCCEEDED


async def test_a_method_that_is_removed_still_refunds(stand: Stand) -> None:
    placed = await stand.placed(eur(100))
    captured = await stand.taken(placed.operation_id, eur(100))
    method = placed.allowance.payment_method_id
    assert await stand.service.remove_method(placed.customer_id, method)
    refunded = await stand.settled(await stand.refund(captured.operation_id, eur(100)))
    assert refunded.status is S.SUCCEEDED
