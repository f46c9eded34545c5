from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.money import Money
from tests.wallets.vault.shop import HOUR_MS, Shop, eur, refused, sql
from wallets.vault.embedded import EmbeddedVault
from wallets.vault.port import Capture, OperationKind, OperationStatus, Refund, Void
from wallets.vault.providers import test_cards

S = OperationStatus


async def test_many_partial_captures_up_to_the_authorized_amount(vault: EmbeddedVault, shop: Shop) -> None:
    request = await shop.authorized(amount=eur(1000))
    for amount in (1, 99, 400, 500):
        result = await shop.capture(request.operation_id, eur(amount))
        assert (result.status, result.amount) == (S.SUCCEEDED, eur(amount))
        assert result.parent_id == request.operation_id
    assert refused(await shop.capture(request.operation_id, eur(1))) == "vault.nothing_open"


async def test_capture_above_authorized_is_refused(vault: EmbeddedVault, shop: Shop) -> None:
    request = await shop.authorized(amount=eur(1000))
    assert refused(await shop.capture(request.operation_id, eur(1001))) == "vault.amount_exceeds_open"
    assert (await shop.capture(request.operation_id, eur(600))).status is S.SUCCEEDED
    assert refused(await shop.capture(request.operation_id, eur(401))) == "vault.amount_exceeds_open"
    assert [each.kind for each in await vault.acquirer.effects()] == [
        OperationKind.AUTHORIZE,
        OperationKind.CAPTURE,
    ]


async def test_captures_that_race_take_no_more_than_was_authorized(vault: EmbeddedVault, shop: Shop) -> None:
    request = await shop.authorized(amount=eur(10))
    results = await asyncio.gather(*(shop.capture(request.operation_id, eur(3)) for _ in range(30)))
    assert [result.status for result in results].count(S.SUCCEEDED) == 3


async def test_a_repeated_capture_has_one_effect(vault: EmbeddedVault, shop: Shop) -> None:
    request = await shop.authorized()
    capture = Capture(shop.op(), request.operation_id, eur(400))
    answers = await asyncio.gather(*(vault.capture(capture) for _ in range(20)))
    answers.append(await vault.capture(capture))
    assert set(answers) == {answers[0]}
    assert answers[0].status is S.SUCCEEDED
    assert len(await vault.acquirer.effects()) == 2


async def test_another_request_under_a_taken_id_is_refused(vault: EmbeddedVault, shop: Shop) -> None:
    request = await shop.authorized()
    capture = Capture(shop.op(), request.operation_id, eur(400))
    assert (await vault.capture(capture)).status is S.SUCCEEDED
    assert refused(await vault.capture(replace(capture, amount=eur(401)))) == "vault.operation_conflict"
    void = Void(capture.operation_id, request.operation_id, eur(400))
    assert refused(await vault.void(void)) == "vault.operation_conflict"
    reused = replace(request, operation_id=capture.operation_id)
    assert refused(await vault.authorize(reused)) == "vault.operation_conflict"
    assert len(await vault.acquirer.effects()) == 2


@pytest.mark.parametrize(
    ("amount", "code"),
    [
        (eur(0), "vault.amount_invalid"),
        (eur(-5), "vault.amount_invalid"),
        (Money(5, "GBP"), "vault.currency_mismatch"),
    ],
)
async def test_a_wrong_amount_is_refused(vault: EmbeddedVault, shop: Shop, amount: Money, code: str) -> None:
    request = await shop.authorized()
    assert refused(await shop.capture(request.operation_id, amount)) == code
    assert refused(await shop.void(request.operation_id, amount)) == code
    captured = await shop.capture(request.operation_id, eur(100))
    assert refused(await shop.refund(captured.operation_id, amount)) == code


async def test_an_unknown_or_unfit_parent_is_refused(vault: EmbeddedVault, shop: Shop) -> None:
    request = await shop.authorized()
    captured = await shop.capture(request.operation_id, eur(100))
    assert refused(await shop.capture(shop.op(), eur(1))) == "vault.authorization_unknown"
    assert refused(await shop.capture(captured.operation_id, eur(1))) == "vault.authorization_unknown"
    assert refused(await shop.void(shop.op())) == "vault.authorization_unknown"
    assert refused(await shop.void(captured.operation_id)) == "vault.authorization_unknown"
    assert refused(await shop.refund(shop.op(), eur(1))) == "vault.capture_unknown"
    assert refused(await shop.refund(request.operation_id, eur(1))) == "vault.capture_unknown"


async def test_a_declined_authorization_cannot_be_captured_or_voided(
    vault: EmbeddedVault, shop: Shop
) -> None:
    request = shop.request(shop.terms(await shop.method(test_cards.LOST_CARD), eur(10)), eur(10))
    await vault.authorize(request)
    assert refused(await shop.capture(request.operation_id, eur(10))) == "vault.authorization_not_open"
    assert refused(await shop.void(request.operation_id)) == "vault.authorization_not_open"
    assert refused(await shop.void(request.operation_id, eur(1))) == "vault.authorization_not_open"


async def test_a_whole_void_releases_what_is_open_and_then_nothing_is(
    vault: EmbeddedVault, shop: Shop, tmp_path: Path
) -> None:
    request = await shop.authorized(amount=eur(1000))
    await shop.capture(request.operation_id, eur(300))
    result = await shop.void(request.operation_id)
    assert (result.status, result.amount) == (S.SUCCEEDED, eur(700))
    assert refused(await shop.void(request.operation_id)) == "vault.nothing_open"
    assert refused(await shop.capture(request.operation_id, eur(1))) == "vault.nothing_open"
    assert _used(tmp_path) == [(300, 1)]


async def test_voids_give_back_to_the_allowance_and_the_last_one_the_use(
    vault: EmbeddedVault, shop: Shop, tmp_path: Path
) -> None:
    request = await shop.authorized(amount=eur(1000))
    await shop.void(request.operation_id, eur(400))
    assert _used(tmp_path) == [(600, 1)]
    void = Void(shop.op(), request.operation_id, eur(600))
    await asyncio.gather(*(vault.void(void) for _ in range(5)))
    assert _used(tmp_path) == [(0, 0)]


async def test_a_refund_is_bounded_by_its_capture(vault: EmbeddedVault, shop: Shop, tmp_path: Path) -> None:
    request = await shop.authorized(amount=eur(1000))
    one = await shop.capture(request.operation_id, eur(300))
    await shop.capture(request.operation_id, eur(700))
    assert (await shop.refund(one.operation_id, eur(200))).status is S.SUCCEEDED
    assert refused(await shop.refund(one.operation_id, eur(101))) == "vault.amount_exceeds_captured"
    assert (await shop.refund(one.operation_id, eur(100))).status is S.SUCCEEDED
    assert refused(await shop.refund(one.operation_id, eur(1))) == "vault.amount_exceeds_captured"
    # A refund is no room for another purchase under the same permission.
    assert _used(tmp_path) == [(1000, 1)]


async def test_refunds_that_race_return_no_more_than_was_captured(vault: EmbeddedVault, shop: Shop) -> None:
    request = await shop.authorized(amount=eur(10))
    capture = await shop.capture(request.operation_id, eur(10))
    results = await asyncio.gather(*(shop.refund(capture.operation_id, eur(4)) for _ in range(20)))
    assert [result.status for result in results].count(S.SUCCEEDED) == 2


async def test_a_declined_capture_leaves_the_amount_open(vault: EmbeddedVault, shop: Shop) -> None:
    request = await shop.authorized(test_cards.CAPTURE_DECLINED, eur(500))
    result = await shop.capture(request.operation_id, eur(500))
    assert result.status is S.DECLINED
    assert result.decline is not None
    assert refused(await shop.refund(result.operation_id, eur(1))) == "vault.capture_not_done"
    voided = await shop.void(request.operation_id)
    assert (voided.status, voided.amount) == (S.SUCCEEDED, eur(500))


async def test_a_declined_refund_leaves_the_amount_refundable(
    vault: EmbeddedVault, shop: Shop, tmp_path: Path
) -> None:
    request = await shop.authorized(test_cards.REFUND_DECLINED, eur(500))
    capture = await shop.capture(request.operation_id, eur(500))
    assert (await vault.refund(Refund(shop.op(), capture.operation_id, eur(500)))).status is S.DECLINED
    rows = sql(
        tmp_path / "vault" / "vault.db", "SELECT refunded_minor FROM vault_operation WHERE kind = 'capture'"
    )
    assert rows == [(0,)]


async def test_a_capture_after_the_authorization_expired_fails(
    vault: EmbeddedVault, shop: Shop, clock: ManualClock
) -> None:
    request = await shop.authorized(amount=eur(500))
    clock.advance(7 * 24 * HOUR_MS)
    result = await shop.capture(request.operation_id, eur(500))
    assert (result.status, result.refusal) == (S.FAILED, "provider.authorization_expired")


def _used(tmp_path: Path) -> list[tuple[int, int]]:
    return sql(tmp_path / "vault" / "vault.db", "SELECT used_minor, used_count FROM vault_allowance")
