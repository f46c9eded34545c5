"""The acquirer by itself: what the vault and every test rely on."""

from __future__ import annotations

import asyncio

import pytest

from gateway.kernel.money import Money
from gateway.kernel.subjects import OperationId
from tests.wallets.vault.shop import Shop, card, eur
from wallets.vault.embedded import EmbeddedVault
from wallets.vault.port import OperationKind
from wallets.vault.providers import test_cards
from wallets.vault.providers.port import (
    AuthorizeOrder,
    ClearCard,
    FollowUpOrder,
    Lookup,
    NoAnswerError,
    Outcome,
    ProviderAnswer,
)
from wallets.vault.providers.simulated import SimulatedAcquirer


@pytest.fixture
def acquirer(vault: EmbeddedVault) -> SimulatedAcquirer:
    return vault.acquirer


def order(
    operation_id: OperationId, number: str = test_cards.VISA, amount: Money | None = None
) -> AuthorizeOrder:
    entry = card(number)
    clear = ClearCard(entry.number, entry.expiry_month, entry.expiry_year, entry.holder)
    return AuthorizeOrder(operation_id, clear, amount or eur(100), "mer_1", "ord_1", "ar", False, None)


def lookup(operation_id: OperationId) -> Lookup:
    return Lookup(operation_id, OperationKind.AUTHORIZE, eur(100), 0)


def follow_up(operation_id: OperationId, parent: OperationId, amount_minor: int) -> FollowUpOrder:
    return FollowUpOrder(operation_id, parent, None, eur(amount_minor))


async def test_the_same_key_gives_the_same_answer_and_one_effect(
    acquirer: SimulatedAcquirer, shop: Shop
) -> None:
    authorize = order(shop.op())
    answers = await asyncio.gather(*(acquirer.authorize(authorize) for _ in range(20)))
    assert answers == [answers[0]] * 20
    capture = follow_up(shop.op(), authorize.operation_id, 30)
    captured = await asyncio.gather(*(acquirer.capture(capture) for _ in range(20)))
    assert captured == [captured[0]] * 20
    assert await acquirer.find(lookup(capture.operation_id)) == captured[0]
    assert [each.amount for each in await acquirer.effects()] == [eur(100), eur(30)]


async def test_the_same_key_for_another_request_is_not_answered(
    acquirer: SimulatedAcquirer, shop: Shop
) -> None:
    authorize = order(shop.op())
    await acquirer.authorize(authorize)
    with pytest.raises(NoAnswerError):
        await acquirer.authorize(order(authorize.operation_id, amount=eur(101)))
    with pytest.raises(NoAnswerError):
        await acquirer.capture(follow_up(authorize.operation_id, authorize.operation_id, 100))


async def test_it_never_lets_more_be_taken_than_there_is(acquirer: SimulatedAcquirer, shop: Shop) -> None:
    authorize = order(shop.op())
    await acquirer.authorize(authorize)
    capture = follow_up(shop.op(), authorize.operation_id, 60)
    assert (await acquirer.capture(capture)).outcome is Outcome.SUCCEEDED
    refused: list[ProviderAnswer] = [
        await acquirer.capture(follow_up(shop.op(), authorize.operation_id, 41)),
        await acquirer.void(follow_up(shop.op(), authorize.operation_id, 41)),
        await acquirer.refund(follow_up(shop.op(), capture.operation_id, 61)),
        await acquirer.refund(follow_up(shop.op(), authorize.operation_id, 1)),
        await acquirer.capture(follow_up(shop.op(), capture.operation_id, 1)),
    ]
    assert {answer.outcome for answer in refused} == {Outcome.FAILED}
    assert [each.kind for each in await acquirer.effects()] == [
        OperationKind.AUTHORIZE,
        OperationKind.CAPTURE,
    ]


async def test_a_lookup_that_finds_nothing_fences_the_key(acquirer: SimulatedAcquirer, shop: Shop) -> None:
    authorize = order(shop.op())
    assert await acquirer.find(lookup(authorize.operation_id)) is None
    assert await acquirer.find(lookup(authorize.operation_id)) is None
    late = await acquirer.authorize(authorize)
    assert (late.outcome, late.failure) == (Outcome.FAILED, "provider.refused_after_lookup")
    assert await acquirer.effects() == []


async def test_a_silent_card_never_answers(acquirer: SimulatedAcquirer, shop: Shop) -> None:
    for number in (test_cards.ANSWER_LOST, test_cards.NEVER_ARRIVES):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(acquirer.authorize(order(shop.op(), number)), 0.05)
    while not (effects := await acquirer.effects()):
        await asyncio.sleep(0.005)
    assert [each.card for each in effects] == ["answer_lost"]


async def test_a_number_that_is_no_test_card_fails(acquirer: SimulatedAcquirer, shop: Shop) -> None:
    assert (await acquirer.authorize(order(shop.op(), "4929420573595709"))).outcome is Outcome.FAILED
