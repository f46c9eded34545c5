"""Many spends of one allowance at once, on both databases and from several connections (V26)."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tests.wallets.vault.shop import HOUR_MS, eur
from tests.wallets.vault.two_databases import Books, books
from wallets.vault import guardian
from wallets.vault.allowances import allowance_of
from wallets.vault.model import OperationState
from wallets.vault.port import Approval, ApprovalId

__all__ = ["books"]
SENT, REFUSED = OperationState.SENT, OperationState.REFUSED


def outcomes(rows: list[object]) -> Counter[tuple[str, str | None]]:
    return Counter((row.state, row.refusal) for row in rows)


async def test_v26_a_thousand_concurrent_spends_of_ten_units_approve_exactly_ten(books: Books) -> None:
    terms = books.shop.terms(await books.card("pm_1"), eur(10), max_uses=1_000)
    rows = await books.all_at_once([books.shop.request(terms, eur(1)) for _ in range(1_000)])
    assert outcomes(rows) == {(SENT, None): 10, (REFUSED, "allowance.amount_exceeded"): 990}
    found = await books.store().read(lambda reader: allowance_of(reader, terms.allowance_id))
    assert found is not None
    assert (found.used, found.used_count, found.left) == (eur(10), 10, eur(0))


async def test_v26_a_thousand_concurrent_spends_of_ten_uses_approve_exactly_ten(books: Books) -> None:
    terms = books.shop.terms(await books.card("pm_1"), eur(100_000), max_uses=10)
    rows = await books.all_at_once([books.shop.request(terms, eur(1)) for _ in range(1_000)])
    assert outcomes(rows) == {(SENT, None): 10, (REFUSED, "allowance.uses_exceeded"): 990}


async def test_v26_concurrent_spends_never_exceed_the_limit_per_hour(books: Books) -> None:
    terms = books.shop.terms(
        await books.card("pm_1"),
        eur(100_000),
        max_uses=10_000,
        max_per_hour=eur(10),
        expires_at_ms=books.clock.now_ms() + 3 * HOUR_MS,
    )
    for _ in range(2):
        rows = await books.all_at_once([books.shop.request(terms, eur(1)) for _ in range(300)])
        assert outcomes(rows) == {(SENT, None): 10, (REFUSED, "allowance.hour_exceeded"): 290}
        found = await books.store().read(lambda reader: allowance_of(reader, terms.allowance_id))
        assert found is not None and found.used_last_hour == eur(10)
        books.clock.advance(HOUR_MS)
    assert found.used == eur(20)


async def test_a_guardians_approval_is_used_once_however_many_ask(books: Books) -> None:
    terms = books.shop.terms(
        await books.card("pm_1"), eur(100_000), max_uses=1_000, guardian_id="gua_1", guardian_above=eur(5)
    )
    approvals = [
        Approval(
            books.shop.ids.new(ApprovalId),
            terms.allowance_id,
            "gua_1",
            terms.merchant_id,
            "ord_1",
            eur(10),
            books.clock.now_ms() + HOUR_MS,
        )
        for _ in range(3)
    ]
    for approval in approvals:
        await books.store().write(lambda uow, one=approval: guardian.approve(uow, one))
    rows = await books.all_at_once([books.shop.request(terms, eur(10)) for _ in range(100)])
    assert outcomes(rows) == {(SENT, None): 3, (REFUSED, "allowance.guardian_approval_required"): 97}


@pytest.mark.parametrize("amount", [3, 7])
async def test_spends_of_odd_sizes_fill_an_allowance_and_no_more(books: Books, amount: int) -> None:
    terms = books.shop.terms(await books.card("pm_1"), eur(100), max_uses=1_000)
    half = [books.shop.request(terms, eur(amount)) for _ in range(100)]
    rows = await books.all_at_once([*half, *half])
    by_id = {row.operation_id: row.state for row in rows}
    sent = list(by_id.values()).count(SENT)
    assert sent == 100 // amount
    # A repeat has the answer of the first.
    assert len(by_id) == 100 and all(by_id[row.operation_id] == row.state for row in rows)


async def test_granting_at_once_grants_once(books: Books) -> None:
    from wallets.vault.allowances import grant

    terms = books.shop.terms(await books.card("pm_1"), eur(100), world_id="wld_1")
    granted = await asyncio.gather(*(books.store().write(lambda uow: grant(uow, terms)) for _ in range(50)))
    assert {(one.terms, one.used_count) for one in granted} == {(terms, 0)}
