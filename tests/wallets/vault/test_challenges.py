from __future__ import annotations

from pathlib import Path

import pytest

from gateway.kernel.errors import NotFoundError
from tests.wallets.vault.shop import Shop, eur, refused, sql
from wallets.vault.embedded import EmbeddedVault
from wallets.vault.port import Authorize, DeclineClass, OperationKind, OperationResult, OperationStatus
from wallets.vault.providers import test_cards
from wallets.vault.providers.port import Outcome

S = OperationStatus


async def challenged(vault: EmbeddedVault, shop: Shop) -> tuple[Authorize, str]:
    request = shop.request(
        shop.terms(await shop.method(test_cards.CHALLENGE), eur(100), max_uses=1), eur(100)
    )
    result = await vault.authorize(request)
    assert result.status is S.REQUIRES_ACTION
    assert result.action is not None
    assert result.action.path.endswith(result.action.action_id)
    return request, result.action.action_id


async def asked(vault: EmbeddedVault, request: Authorize) -> OperationResult:
    result = await vault.operation(request.operation_id)
    assert result is not None
    return result


async def test_an_approved_challenge_authorizes_under_the_same_id(vault: EmbeddedVault, shop: Shop) -> None:
    request, action_id = await challenged(vault, shop)
    assert (await asked(vault, request)).status is S.REQUIRES_ACTION
    assert await vault.acquirer.effects() == []
    shown = await vault.acquirer.challenge(action_id)
    assert (shown.amount, shown.outcome) == (eur(100), Outcome.REQUIRES_ACTION)
    done = await vault.acquirer.complete_challenge(action_id, True)
    assert (done.operation_id, done.outcome) == (request.operation_id, Outcome.SUCCEEDED)
    result = await asked(vault, request)
    assert (result.status, result.action) == (S.SUCCEEDED, None)
    assert await vault.authorize(request) == result
    assert (await shop.capture(request.operation_id, eur(100))).status is S.SUCCEEDED


async def test_a_rejected_challenge_declines_and_gives_the_allowance_back(
    vault: EmbeddedVault, shop: Shop, tmp_path: Path
) -> None:
    request, action_id = await challenged(vault, shop)
    await vault.acquirer.complete_challenge(action_id, False)
    result = await asked(vault, request)
    assert result.status is S.DECLINED
    assert result.decline is not None
    assert result.decline.decline_class is DeclineClass.HARD_NEVER
    assert _used(tmp_path) == [(0, 0)]


async def test_only_the_first_decision_about_a_challenge_counts(vault: EmbeddedVault, shop: Shop) -> None:
    _, action_id = await challenged(vault, shop)
    await vault.acquirer.complete_challenge(action_id, False)
    assert (await vault.acquirer.complete_challenge(action_id, True)).outcome is Outcome.DECLINED
    with pytest.raises(NotFoundError):
        await vault.acquirer.complete_challenge("act_unknown", True)


async def test_a_soft_decline_is_stepped_up_by_a_requested_challenge(
    vault: EmbeddedVault, shop: Shop
) -> None:
    terms = shop.terms(await shop.method(test_cards.NEEDS_SCA), eur(100), max_uses=1)
    declined = await vault.authorize(shop.request(terms, eur(100)))
    assert declined.decline is not None
    assert declined.decline.decline_class is DeclineClass.SOFT_NEEDS_SCA
    request = shop.request(terms, eur(100), request_challenge=True)
    result = await vault.authorize(request)
    assert result.status is S.REQUIRES_ACTION
    assert result.action is not None
    await vault.acquirer.complete_challenge(result.action.action_id, True)
    assert (await asked(vault, request)).status is S.SUCCEEDED


async def test_an_open_challenge_cannot_be_captured_or_voided_in_part(
    vault: EmbeddedVault, shop: Shop
) -> None:
    request, _ = await challenged(vault, shop)
    assert refused(await shop.capture(request.operation_id, eur(100))) == "vault.authorization_not_open"
    assert refused(await shop.void(request.operation_id, eur(40))) == "vault.authorization_not_open"


async def test_a_whole_void_cancels_an_open_challenge(
    vault: EmbeddedVault, shop: Shop, tmp_path: Path
) -> None:
    request, action_id = await challenged(vault, shop)
    assert (await shop.void(request.operation_id)).status is S.SUCCEEDED
    result = await asked(vault, request)
    assert (result.status, result.refusal) == (S.FAILED, "provider.challenge_canceled")
    assert (await vault.acquirer.complete_challenge(action_id, True)).outcome is Outcome.FAILED
    assert _used(tmp_path) == [(0, 0)]


async def test_an_approval_that_was_faster_than_the_void_is_voided(
    vault: EmbeddedVault, shop: Shop, tmp_path: Path
) -> None:
    """Our record still says that the customer must act when the void is sent."""
    request, action_id = await challenged(vault, shop)
    await vault.acquirer.complete_challenge(action_id, True)
    result = await shop.void(request.operation_id)
    assert (result.status, result.amount) == (S.SUCCEEDED, eur(100))
    assert (await asked(vault, request)).status is S.SUCCEEDED
    assert refused(await shop.capture(request.operation_id, eur(1))) == "vault.nothing_open"
    assert [each.kind for each in await vault.acquirer.effects()] == [
        OperationKind.AUTHORIZE,
        OperationKind.VOID,
    ]
    assert _used(tmp_path) == [(0, 0)]


async def test_voiding_after_a_rejection_fails_and_releases_once(
    vault: EmbeddedVault, shop: Shop, tmp_path: Path
) -> None:
    request, action_id = await challenged(vault, shop)
    await vault.acquirer.complete_challenge(action_id, False)
    assert (await shop.void(request.operation_id)).status is S.FAILED
    assert (await asked(vault, request)).status is S.DECLINED
    assert _used(tmp_path) == [(0, 0)]


def _used(tmp_path: Path) -> list[tuple[int, int]]:
    return sql(tmp_path / "vault" / "vault.db", "SELECT used_minor, used_count FROM vault_allowance")
