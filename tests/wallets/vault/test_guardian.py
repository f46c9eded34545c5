"""Approval by a guardian (T7): once, for one order and amount, in time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import ConflictError, InvalidError, NotFoundError
from gateway.kernel.money import Money
from tests.wallets.vault.faults import Fault, FaultyProvider
from tests.wallets.vault.shop import HOUR_MS, MERCHANT, ORDER, Shop, eur, refused
from wallets.vault.embedded import EmbeddedVault
from wallets.vault.guardian import APPROVAL_MOVES
from wallets.vault.port import (
    AllowanceReason,
    AllowanceTerms,
    Approval,
    ApprovalId,
    ApprovalState,
    Increment,
    Limit,
    OperationStatus,
)
from wallets.vault.providers import test_cards

S = OperationStatus


@pytest.fixture
def vault(own_vault: EmbeddedVault) -> EmbeddedVault:
    """In this process; `test_allowances_apart` asks both through the port."""
    return own_vault


A = ApprovalState


async def of_a_minor(shop: Shop, number: str = test_cards.VISA, **changes: Any) -> AllowanceTerms:
    terms = shop.terms(
        await shop.method(number),
        eur(10_000),
        order_id=None,
        reason=AllowanceReason.RECURRING,
        max_uses=100,
        guardian_id="gua_1",
        guardian_above=eur(500),
        expires_at_ms=shop.clock.now_ms() + 24 * HOUR_MS,
    )
    return replace(terms, **changes)


def yes(shop: Shop, terms: AllowanceTerms, amount: int = 2_000, **changes: Any) -> Approval:
    approval = Approval(
        shop.ids.new(ApprovalId),
        terms.allowance_id,
        "gua_1",
        MERCHANT,
        ORDER,
        eur(amount),
        shop.clock.now_ms() + HOUR_MS,
    )
    return replace(approval, **changes)


def test_the_moves_of_an_approval() -> None:
    assert set(APPROVAL_MOVES) == set(A)
    assert {
        A.APPROVED: {A.USED, A.DECLINED, A.EXPIRED},
        A.USED: {A.APPROVED},
        A.DECLINED: set(),
        A.EXPIRED: set(),
    } == APPROVAL_MOVES


@pytest.mark.parametrize("start", [A.APPROVED, A.USED, A.DECLINED, A.EXPIRED])
@pytest.mark.parametrize("event", ["approve", "decline", "spend", "issuer_declines", "time"])
async def test_t7_every_state_of_an_approval_meets_every_event(
    vault: EmbeddedVault, shop: Shop, clock: ManualClock, start: ApprovalState, event: str
) -> None:
    card = test_cards.INSUFFICIENT_FUNDS if event == "issuer_declines" else test_cards.VISA
    terms = await of_a_minor(shop, card)
    approval = yes(shop, terms)
    used = replace(
        terms,
        allowance_id=terms.allowance_id,
        payment_method_id=(await shop.method()).payment_method_id,
    )
    if start is A.USED and event == "issuer_declines":
        pytest.skip("the same authorization is not declined after it was approved")
    if start is A.DECLINED:
        assert await vault.decline_approval(approval) is A.DECLINED
    else:
        assert await vault.approve(approval) is A.APPROVED
    if start is A.USED:
        assert (await vault.authorize(shop.request(used, eur(2_000)))).status is S.SUCCEEDED
    if start is A.EXPIRED:
        clock.advance(HOUR_MS)
    assert await vault.approve(approval) is start

    after = {
        ("time", A.APPROVED): A.EXPIRED,
        ("decline", A.APPROVED): A.DECLINED,
        ("spend", A.APPROVED): A.USED,
        # The approval is taken back before it expired or after: both are a no.
        ("decline", A.EXPIRED): A.EXPIRED,
    }.get((event, start), start)
    match event:
        case "approve":
            assert await vault.approve(approval) is after
        case "decline":
            final = await vault.decline_approval(approval)
            assert final in (after, A.DECLINED)
            after = final
        case "spend" | "issuer_declines":
            result = await vault.authorize(shop.request(terms, eur(2_000)))
            expected = S.DECLINED if event == "issuer_declines" else S.SUCCEEDED
            assert result.status is (expected if start is A.APPROVED else S.REFUSED)
        case "time":
            clock.advance(HOUR_MS)
    assert await vault.approve(approval) is after


async def test_t7_what_is_below_the_limit_needs_nobody(vault: EmbeddedVault, shop: Shop) -> None:
    terms = await of_a_minor(shop)
    assert (await vault.authorize(shop.request(terms, eur(500)))).status is S.SUCCEEDED


async def test_t7_what_is_above_waits_for_the_guardian_and_says_by_how_much(
    vault: EmbeddedVault, shop: Shop
) -> None:
    terms = await of_a_minor(shop)
    request = shop.request(terms, eur(501))
    first = await vault.authorize(request)
    assert refused(first) == "allowance.guardian_approval_required"
    assert first.limit == Limit("guardian_above", "EUR", 500, 0, 501)
    assert first.limit.over_by == 1
    assert await vault.acquirer.effects() == []
    assert await vault.approve(yes(shop, terms)) is A.APPROVED
    # The refusal is final under its id; the purchase goes on under a new one.
    assert await vault.authorize(request) == first
    assert (await vault.authorize(shop.request(terms, eur(501)))).status is S.SUCCEEDED
    again = await vault.authorize(shop.request(terms, eur(501)))
    assert refused(again) == "allowance.guardian_approval_required"


async def test_t7_without_an_amount_of_their_own_everything_needs_the_guardian(
    vault: EmbeddedVault, shop: Shop
) -> None:
    terms = await of_a_minor(shop, guardian_above=None)
    result = await vault.authorize(shop.request(terms, eur(1)))
    assert refused(result) == "allowance.guardian_approval_required"
    assert result.limit == Limit("guardian_above", "EUR", 0, 0, 1)
    await vault.approve(yes(shop, terms, 1))
    assert (await vault.authorize(shop.request(terms, eur(1)))).status is S.SUCCEEDED


@pytest.mark.parametrize(
    "change",
    [
        {"order_id": "ord_other"},
        {"merchant_id": "mer_other"},
        {"max_amount": eur(1_999)},
        {"max_amount": Money(2_000, "GBP")},
        {"expires_at_ms": 0},
    ],
)
async def test_t7_an_approval_for_something_else_does_not_count(
    vault: EmbeddedVault, shop: Shop, change: dict[str, Any]
) -> None:
    terms = await of_a_minor(shop)
    await vault.approve(yes(shop, terms, **change))
    refusal = await vault.authorize(shop.request(terms, eur(2_000)))
    assert refused(refusal) == "allowance.guardian_approval_required"


async def test_t7_the_guardians_no_is_told_apart_from_silence(vault: EmbeddedVault, shop: Shop) -> None:
    terms = await of_a_minor(shop)
    await vault.decline_approval(yes(shop, terms))
    refusal = await vault.authorize(shop.request(terms, eur(2_000)))
    assert refused(refusal) == "allowance.guardian_declined"
    shop.clock.advance(1)
    await vault.approve(yes(shop, terms))
    assert (await vault.authorize(shop.request(terms, eur(2_000)))).status is S.SUCCEEDED


async def test_t7_another_guardian_approves_nothing(vault: EmbeddedVault, shop: Shop) -> None:
    terms = await of_a_minor(shop)
    stranger = yes(shop, terms, guardian_id="gua_2")
    # Before the allowance is known the name is only written down; it never fits.
    assert await vault.approve(stranger) is A.APPROVED
    refusal = await vault.authorize(shop.request(terms, eur(2_000)))
    assert refused(refusal) == "allowance.guardian_approval_required"
    await vault.grant(terms)
    with pytest.raises(NotFoundError, match=r"allowance\.unknown"):
        await vault.approve(yes(shop, terms, guardian_id="gua_2"))


async def test_t7_a_decline_by_the_issuer_leaves_the_approval_for_the_next_try(
    vault: EmbeddedVault, shop: Shop
) -> None:
    terms = await of_a_minor(shop, test_cards.NEEDS_SCA)
    await vault.approve(yes(shop, terms))
    assert (await vault.authorize(shop.request(terms, eur(2_000)))).status is S.DECLINED
    stepped_up = await vault.authorize(shop.request(terms, eur(2_000), request_challenge=True))
    assert stepped_up.status is S.REQUIRES_ACTION
    other = await vault.authorize(shop.request(terms, eur(2_000)))
    assert refused(other) == "allowance.guardian_approval_required"


async def test_t7_a_spend_that_the_allowance_refuses_leaves_the_approval(
    vault: EmbeddedVault, shop: Shop
) -> None:
    terms = await of_a_minor(shop, max_amount=eur(2_500))
    await vault.authorize(shop.request(terms, eur(500)))
    await vault.authorize(shop.request(terms, eur(500)))
    approval = yes(shop, terms)
    await vault.approve(approval)
    refusal = await vault.authorize(shop.request(terms, eur(2_000)))
    assert refused(refusal) == "allowance.amount_exceeded"
    assert await vault.approve(approval) is A.APPROVED
    assert (await vault.authorize(shop.request(terms, eur(1_500)))).status is S.SUCCEEDED


async def test_an_approval_id_names_one_purchase(vault: EmbeddedVault, shop: Shop) -> None:
    terms = await of_a_minor(shop)
    approval = yes(shop, terms)
    await vault.approve(approval)
    with pytest.raises(ConflictError, match=r"allowance\.approval_conflict"):
        await vault.approve(replace(approval, max_amount=eur(9_999)))
    with pytest.raises(ConflictError, match=r"allowance\.approval_conflict"):
        await vault.decline_approval(replace(approval, order_id="ord_2"))
    with pytest.raises(InvalidError, match=r"vault\.amount_invalid"):
        await vault.approve(yes(shop, terms, 0))


async def test_t7_an_approved_authorization_is_not_raised_past_the_approval(
    vault: EmbeddedVault, shop: Shop
) -> None:
    """In parts no more is bought than as a whole."""
    terms = await of_a_minor(shop)
    small = shop.request(terms, eur(400))
    assert (await vault.authorize(small)).status is S.SUCCEEDED
    assert (await vault.increment(Increment(shop.op(), small.operation_id, eur(100)))).status is S.SUCCEEDED
    more = await vault.increment(Increment(shop.op(), small.operation_id, eur(1)))
    assert refused(more) == "allowance.guardian_approval_required"
    assert more.limit == Limit("guardian_above", "EUR", 500, 500, 1)
    await vault.approve(yes(shop, terms, 900))
    large = shop.request(terms, eur(600))
    assert (await vault.authorize(large)).status is S.SUCCEEDED
    assert (await vault.increment(Increment(shop.op(), large.operation_id, eur(300)))).status is S.SUCCEEDED
    past = await vault.increment(Increment(shop.op(), large.operation_id, eur(1)))
    assert refused(past) == "allowance.guardian_approval_required"
    found = await vault.allowance(terms.allowance_id)
    assert found is None or found.used == eur(1_400)


async def test_t7_increments_at_once_do_not_pass_the_guardian_one_by_one(
    faulty: Shop, provider: FaultyProvider
) -> None:
    """Each would see only what is settled: one at a time is undecided."""
    terms = await of_a_minor(faulty)
    request = faulty.request(terms, eur(50))
    assert (await faulty.vault.authorize(request)).status is S.SUCCEEDED
    provider.fault = Fault.BREAK_AFTER
    asked = [Increment(faulty.op(), request.operation_id, eur(450)) for _ in range(5)]
    first, *others = await asyncio.gather(*map(faulty.vault.increment, asked))
    provider.fault = Fault.NONE
    assert first.status is S.UNKNOWN
    assert {refused(other) for other in others} == {"vault.increment_undecided"}
    assert (await faulty.vault.increment(asked[0])).status is S.SUCCEEDED
    past = await faulty.vault.increment(Increment(faulty.op(), request.operation_id, eur(450)))
    assert refused(past) == "allowance.guardian_approval_required"
    found = await faulty.vault.allowance(terms.allowance_id)
    assert found is not None and found.used == eur(500)


async def test_t7_a_no_that_comes_later_takes_back_every_yes_to_the_order(
    vault: EmbeddedVault, shop: Shop, clock: ManualClock
) -> None:
    terms = await of_a_minor(shop)
    await vault.grant(terms)
    for _ in range(2):
        assert await vault.approve(yes(shop, terms)) is A.APPROVED
    clock.advance(1_000)
    no = yes(shop, terms)
    assert await vault.decline_approval(no) is A.DECLINED
    assert refused(await vault.authorize(shop.request(terms, eur(2_000)))) == "allowance.guardian_declined"
    # A yes after it counts, also when the no is repeated.
    clock.advance(1_000)
    again = yes(shop, terms)
    assert await vault.approve(again) is A.APPROVED
    assert await vault.decline_approval(no) is A.DECLINED
    assert (await vault.authorize(shop.request(terms, eur(2_000)))).status is S.SUCCEEDED


async def test_t7_a_yes_that_comes_free_again_does_not_outlive_a_later_no(
    faulty: Shop, provider: FaultyProvider, clock: ManualClock
) -> None:
    terms = await of_a_minor(faulty)
    await faulty.vault.approve(yes(faulty, terms))
    provider.fault = Fault.BREAK_BEFORE
    lost = faulty.request(terms, eur(2_000))
    assert (await faulty.vault.authorize(lost)).status is S.UNKNOWN
    provider.fault = Fault.NONE
    clock.advance(1_000)
    await faulty.vault.decline_approval(yes(faulty, terms))
    assert (await faulty.vault.authorize(lost)).status is S.FAILED
    after = await faulty.vault.authorize(faulty.request(terms, eur(2_000)))
    assert refused(after) == "allowance.guardian_declined"


async def test_t7_taking_back_an_older_yes_takes_back_the_newer_too(
    vault: EmbeddedVault, shop: Shop, clock: ManualClock
) -> None:
    terms = await of_a_minor(shop)
    older = yes(shop, terms)
    for approval in (older, yes(shop, terms)):
        await vault.approve(approval)
        clock.advance(1_000)
    assert await vault.decline_approval(older) is A.DECLINED
    assert refused(await vault.authorize(shop.request(terms, eur(2_000)))) == "allowance.guardian_declined"


async def test_t7_a_no_that_was_long_on_its_way_leaves_the_yes_to_a_later_question(
    vault: EmbeddedVault, shop: Shop, clock: ManualClock
) -> None:
    terms = await of_a_minor(shop)
    earlier = yes(shop, terms)
    clock.advance(1_000)
    later = yes(shop, terms)
    assert await vault.approve(later) is A.APPROVED
    clock.advance(1_000)
    assert await vault.decline_approval(earlier) is A.DECLINED
    assert (await vault.authorize(shop.request(terms, eur(2_000)))).status is S.SUCCEEDED
    assert await vault.approve(later) is A.USED
