"""Retry caps and what networks forbid (P11): per card, never passed, whatever the order of events."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.kernel.ids import TimeSortedIds
from tests.support.databases import sqlite_database
from tests.wallets.vault.shop import HOUR_MS, Shop, eur, refused
from tests.wallets.vault.two_databases import Books, books
from wallets.vault.declines import caps_of, decline
from wallets.vault.embedded import EmbeddedVault
from wallets.vault.model import OperationState
from wallets.vault.operation_rows import result_of
from wallets.vault.port import (
    AllowanceReason,
    Authorize,
    Decline,
    DeclineClass,
    Initiation,
    Limit,
    MerchantReason,
    OperationResult,
    OperationStatus,
    StoredMethod,
)
from wallets.vault.providers import test_cards
from wallets.vault.providers.port import Outcome, ProviderAnswer
from wallets.vault.tables import metadata

__all__ = ["books"]
S = OperationStatus
DAY_MS = 24 * HOUR_MS
POOR = decline("visa", "51")


def buys(books: Books, method: StoredMethod, order: str = "ord_1", **changes: Any) -> Authorize:
    shop = books.shop
    customer = changes.pop("customer_id", method.customer_id)
    merchant = changes.pop("merchant_id", "mer_lamps")
    terms = shop.terms(
        method, eur(100), order_id=order, customer_id=customer, merchant_id=merchant, max_uses=9
    )
    return shop.request(
        terms, eur(100), order_id=order, customer_id=customer, merchant_id=merchant, **changes
    )


def code_of(result: OperationResult) -> str | None:
    return result.refusal if result.status is S.REFUSED else result.status.value


async def test_p11_visa_takes_fifteen_declined_attempts_within_thirty_days(books: Books) -> None:
    card = await books.card("pm_1")
    began_ms = books.clock.now_ms()
    for number in range(15):
        assert code_of(await books.attempt(buys(books, card, f"ord_{number}"), POOR)) == "declined"
        books.clock.advance(DAY_MS)
    over = await books.attempt(buys(books, card, "ord_15"), POOR)
    assert code_of(over) == "vault.attempts_exceeded"
    assert over.limit == Limit("attempts", "attempts", 15, 15, 1, began_ms + 30 * DAY_MS)
    assert over.limit.over_by == 1
    books.clock.advance(began_ms + 30 * DAY_MS - books.clock.now_ms() - 1)
    assert code_of(await books.attempt(buys(books, card, "ord_16"), POOR)) == "vault.attempts_exceeded"
    books.clock.advance(1)
    assert code_of(await books.attempt(buys(books, card, "ord_17"), POOR)) == "declined"
    assert code_of(await books.attempt(buys(books, card, "ord_18"), POOR)) == "vault.attempts_exceeded"


async def test_p11_mastercard_takes_ten_in_a_day_and_thirty_five_in_thirty(books: Books) -> None:
    card = await books.card("pm_1", fingerprint=b"m" * 32, brand="mastercard")
    poor = decline("mastercard", "51")
    done = Counter[str | None]()
    for day in range(5):
        for number in range(12):
            result = await books.attempt(buys(books, card, f"ord_{day}_{number}"), poor)
            done[code_of(result)] += 1
        books.clock.advance(DAY_MS)
    assert done == {"declined": 35, "vault.attempts_exceeded": 25}


async def test_p11_attempts_count_per_card_not_per_token(books: Books) -> None:
    """By fingerprint and by PAR, over customers and merchants."""
    par = "V0010013816180398947326400396"
    first = await books.card("pm_1", account_reference=par)
    same_number = await books.card("pm_2", customer="cus_bob")
    device = await books.card("pm_3", customer="cus_eve", fingerprint=None, account_reference=par)
    other = await books.card("pm_4", fingerprint=b"o" * 32)
    for number in range(15):
        token = (first, same_number, device)[number % 3]
        if token is same_number:
            token = first
        result = await books.attempt(buys(books, token, f"ord_{number}", merchant_id=f"mer_{number}"), POOR)
        assert code_of(result) == "declined"
    for token in (first, device):
        assert code_of(await books.attempt(buys(books, token, "ord_x"), POOR)) == "vault.attempts_exceeded"
    # This customer's token of the card has no PAR: it shares what was tried with the number.
    assert code_of(await books.attempt(buys(books, same_number, "ord_x"), POOR)) == "declined"
    assert code_of(await books.attempt(buys(books, other, "ord_x"), POOR)) == "declined"


async def test_p11_only_declined_attempts_count(books: Books) -> None:
    card = await books.card("pm_1")
    assert code_of(await books.attempt(buys(books, card, "ord_0"), POOR)) == "declined"
    for number in range(40):
        assert code_of(await books.attempt(buys(books, card, f"ord_a{number}"), None)) == "succeeded"
    for number in range(14):
        assert code_of(await books.attempt(buys(books, card, f"ord_b{number}"), POOR)) == "declined"
    assert code_of(await books.attempt(buys(books, card, "ord_c"), POOR)) == "vault.attempts_exceeded"
    # What was approved is forgotten, not kept for thirty days.
    assert len(books.database.rows("SELECT 1 FROM vault_attempt")) == 15


async def test_p11_a_challenge_that_the_customer_failed_is_no_attempt_of_the_network(books: Books) -> None:
    card = await books.card("pm_1")
    for number in range(20):
        result = await books.attempt(buys(books, card, f"ord_{number}"), decline("visa", "3DS:N"))
        assert code_of(result) == "declined"
    assert books.database.rows("SELECT 1 FROM vault_attempt") == []


@pytest.mark.parametrize("code", ["04", "07", "14", "15", "41", "43", "46"])
async def test_p11_a_card_that_the_issuer_never_approves_is_blocked_for_good(books: Books, code: str) -> None:
    card = await books.card("pm_1")
    assert code_of(await books.attempt(buys(books, card), decline("visa", code))) == "declined"
    again = await books.card("pm_2", customer="cus_bob")
    books.clock.advance(400 * DAY_MS)
    for token in (card, again):
        result = await books.attempt(buys(books, token, "ord_2", merchant_id="mer_2"), None)
        assert code_of(result) == "vault.retry_forbidden"
        assert result.limit == Limit("attempts", "attempts", 0, 0, 1)


@pytest.mark.parametrize("code", ["12", "57"])
async def test_p11_a_code_about_the_merchant_blocks_the_card_there(books: Books, code: str) -> None:
    card = await books.card("pm_1")
    await books.attempt(buys(books, card, merchant_id="mer_1"), decline("visa", code))
    moto = {"initiation": Initiation.MOTO}
    for order, merchant, more, expected in (
        ("ord_2", "mer_1", {}, "vault.retry_forbidden"),
        ("ord_3", "mer_1", moto, "succeeded"),
        ("ord_4", "mer_2", {}, "succeeded"),
    ):
        result = await books.attempt(buys(books, card, order, merchant_id=merchant, **more), None)
        assert code_of(result) == expected


@pytest.mark.parametrize(
    "refusal",
    [decline("visa", "R0"), decline("visa", "R1"), decline("visa", "R3"), decline("mastercard", "05", "21")],
)
async def test_p11_a_revoked_agreement_blocks_requests_without_the_customer(
    books: Books, refusal: Decline
) -> None:
    brand = "mastercard" if refusal.advice else "visa"
    card = await books.card("pm_1", brand=brand)
    merchant = {"initiation": Initiation.MERCHANT, "merchant_reason": MerchantReason.RESUBMISSION}
    assert code_of(await books.attempt(buys(books, card, "ord_1", **merchant), refusal)) == "declined"
    forbidden = await books.attempt(buys(books, card, "ord_2", **merchant), None)
    assert code_of(forbidden) == "vault.retry_forbidden"
    assert code_of(await books.attempt(buys(books, card, "ord_3"), None)) == "succeeded"


async def test_p10_a_code_without_advice_blocks_the_order_and_no_other(books: Books) -> None:
    card = await books.card("pm_1")
    assert code_of(await books.attempt(buys(books, card, "ord_1"), decline("visa", "05"))) == "declined"
    assert code_of(await books.attempt(buys(books, card, "ord_1"), None)) == "vault.retry_forbidden"
    assert code_of(await books.attempt(buys(books, card, "ord_2"), None)) == "succeeded"


async def test_p10_the_order_is_known_under_a_standing_allowance_too(books: Books) -> None:
    card = await books.card("pm_1")
    terms = books.shop.terms(card, eur(1_000), order_id=None, reason=AllowanceReason.RECURRING, max_uses=50)
    first = books.shop.request(terms, eur(1), order_id="ord_1")
    assert code_of(await books.attempt(first, decline("visa", "05"))) == "declined"
    again = books.shop.request(terms, eur(1), order_id="ord_1")
    assert code_of(await books.attempt(again, None)) == "vault.retry_forbidden"
    other = books.shop.request(terms, eur(1), order_id="ord_2")
    assert code_of(await books.attempt(other, None)) == "succeeded"


@pytest.mark.parametrize(("advice", "hours"), [("24", 1), ("25", 24), ("26", 48), ("30", 240)])
async def test_p11_mastercards_waiting_times_are_kept_to_the_millisecond(
    books: Books, advice: str, hours: int
) -> None:
    card = await books.card("pm_1", brand="mastercard")
    assert code_of(await books.attempt(buys(books, card), decline("mastercard", "05", advice))) == "declined"
    until_ms = books.clock.now_ms() + hours * HOUR_MS
    books.clock.advance(hours * HOUR_MS - 1)
    early = await books.attempt(buys(books, card, "ord_2"), None)
    assert code_of(early) == "vault.retry_too_early"
    assert early.limit is not None and early.limit.retry_at_ms == until_ms
    books.clock.advance(1)
    assert code_of(await books.attempt(buys(books, card, "ord_3"), None)) == "succeeded"


async def test_p11_a_crowd_of_attempts_passes_no_cap_together(books: Books) -> None:
    card = await books.card("pm_1", brand="mastercard")
    poor = decline("mastercard", "51")
    for number in range(4):
        await books.attempt(buys(books, card, f"ord_{number}"), poor)
    rows = await books.all_at_once([buys(books, card, f"ord_c{number}") for number in range(60)])
    sent = [row for row in rows if row.state == OperationState.SENT]
    assert len(sent) == 6
    assert {row.refusal for row in rows if row not in sent} == {"vault.attempts_exceeded"}
    for row in sent[:2]:
        await books.answer(row, ProviderAnswer(Outcome.SUCCEEDED, reference="r"))
    # Two were approved: their places are free again.
    rows = await books.all_at_once([buys(books, card, f"ord_d{number}") for number in range(20)])
    assert sum(row.state == OperationState.SENT for row in rows) == 2


async def test_a_refusal_for_attempts_is_stored_and_takes_nothing(books: Books) -> None:
    card = await books.card("pm_1")
    await books.attempt(buys(books, card), decline("visa", "41"))
    request = buys(books, card, "ord_2")
    first = result_of(await books.begin(request))
    assert code_of(first) == "vault.retry_forbidden"
    assert result_of(await books.begin(request)) == first
    assert (
        books.database.rows(
            f"SELECT 1 FROM vault_allowance WHERE allowance_id = '{request.allowance.allowance_id}'"
        )
        == []
    )


STEP = st.one_of(
    st.tuples(st.just("wait"), st.integers(1, 40)),
    st.tuples(st.just("declined"), st.integers(1, 12)),
    st.tuples(st.just("declined"), st.integers(1, 12)),
    st.tuples(st.just("approved"), st.integers(1, 3)),
    st.tuples(st.just("at_once"), st.integers(1, 12)),
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(["visa", "mastercard", "amex"]), st.lists(STEP, min_size=3, max_size=25))
def test_p11_no_sequence_of_attempts_exceeds_a_cap(brand: str, steps: list[tuple[str, int]]) -> None:
    asyncio.run(_never_exceeds(brand, steps))


async def _never_exceeds(brand: str, steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = sqlite_database(Path(folder))
        database.create_all([metadata])
        books = Books(database, [database.open(ids=TimeSortedIds(database.clock))])
        tokens = [await books.card("pm_1", brand=brand), await books.card("pm_2", customer="c2", brand=brand)]
        poor = Decline("51", DeclineClass.SOFT_RETRY_LATER, "Later.")
        # Whether or not the first of a card are sent together, which no rule forbids, those after a decline
        # are what the caps are about.
        declined: list[int] = []
        await books.attempt(buys(books, tokens[0], "ord_first"), poor)
        declined.append(books.clock.now_ms())
        number = 0
        for name, size in steps:
            if name == "wait":
                books.clock.advance(size * 6 * HOUR_MS)
                continue
            requests = []
            for _ in range(size):
                number += 1
                requests.append(buys(books, tokens[number % 2], f"ord_{number}"))
            if name == "at_once":
                rows = await books.all_at_once(requests)
                for row in rows:
                    if row.state == OperationState.SENT:
                        await books.answer(row, ProviderAnswer(Outcome.DECLINED, decline=poor))
                        declined.append(books.clock.now_ms())
                continue
            for request in requests:
                result = await books.attempt(request, poor if name == "declined" else None)
                if result.status is S.DECLINED:
                    declined.append(books.clock.now_ms())
                elif result.status is S.REFUSED:
                    assert result.refusal == "vault.attempts_exceeded"
                    limit = result.limit
                    assert limit is not None and limit.retry_at_ms is not None
                    assert limit.retry_at_ms > books.clock.now_ms()
        for cap in caps_of(brand):
            for end_ms in declined:
                within = [at_ms for at_ms in declined if end_ms - cap.within_ms < at_ms <= end_ms]
                assert len(within) <= cap.most
        await database.close()


async def test_through_a_whole_vault_a_lost_card_is_tried_once(own_vault: EmbeddedVault, shop: Shop) -> None:
    method = await shop.method(test_cards.LOST_CARD)
    first = await own_vault.authorize(shop.request(shop.terms(method, eur(1)), eur(1)))
    assert first.status is S.DECLINED
    again = await own_vault.authorize(shop.request(shop.terms(method, eur(1)), eur(1)))
    assert refused(again) == "vault.retry_forbidden"
    assert again.limit is not None


async def test_an_unanswered_attempt_counts_until_it_is_known(own_vault: EmbeddedVault, shop: Shop) -> None:
    method = await shop.method(test_cards.INSUFFICIENT_FUNDS)
    for number in range(15):
        order = f"ord_{number}"
        request = shop.request(shop.terms(method, eur(1), order_id=order), eur(1), order_id=order)
        assert (await own_vault.authorize(request)).status is S.DECLINED
    last = shop.request(shop.terms(method, eur(1)), eur(1))
    assert refused(await own_vault.authorize(last)) == "vault.attempts_exceeded"
