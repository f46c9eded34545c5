"""Amounts stay whole numbers from the entry to the export, however large they are (L5).

A float holds every whole number up to 2^53 and only every second one above. A balance of several of the largest
amounts is above it, so one float anywhere on the way would show in the last digit.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from gateway.kernel.currencies import EXPONENTS
from gateway.kernel.money import MAX_AMOUNT_MINOR, Money, allocate
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.ledger import accounts
from gateway.ledger.balances import account_balances
from gateway.ledger.entries import Entry, move
from gateway.ledger.exchange import exchanged
from gateway.ledger.exports.model import decimal
from gateway.ledger.posting import post
from gateway.ledger.verifying import verify
from tests.ledger.memory import memory_store

BANK, OTHER = accounts.bank("main"), accounts.SUSPENSE
CURRENCIES = sorted(EXPONENTS)
AMOUNT = st.one_of(st.integers(1, MAX_AMOUNT_MINOR), st.integers(MAX_AMOUNT_MINOR - 9, MAX_AMOUNT_MINOR))
MONEY = st.builds(Money, AMOUNT, st.sampled_from(CURRENCIES))
MOVES = st.lists(MONEY, min_size=1, max_size=12)
EXCHANGES = st.lists(st.tuples(MONEY, MONEY), max_size=6)
WEIGHTS = st.lists(st.integers(1, 10**9), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None)
@given(moves=MOVES, exchanges=EXCHANGES, weights=WEIGHTS)
def test_l5_what_is_posted_split_and_exchanged_is_exact_to_the_last_unit(
    moves: list[Money], exchanges: list[tuple[Money, Money]], weights: list[int]
) -> None:
    posted: list[tuple[Entry, ...]] = []
    for money in moves:
        # In parts, as legs of an order are: they come to the whole.
        parts = allocate(money.amount_minor, weights)
        posted += [move(money.currency, part, debit=BANK, credit=OTHER) for part in parts if part]
    posted += [
        exchanged(paid, received, out_of=BANK, into=BANK)
        for paid, received in exchanges
        if paid.currency != received.currency
    ]
    expected: dict[tuple[str, str], int] = defaultdict(int)
    for money in moves:
        expected[BANK, money.currency] += money.amount_minor
        expected[OTHER, money.currency] -= money.amount_minor
    for paid, received in exchanges:
        if paid.currency == received.currency:
            continue
        for account, sign in ((BANK, 1), (accounts.FX_CLEARING, -1)):
            expected[account, received.currency] += sign * received.amount_minor
            expected[account, paid.currency] -= sign * paid.amount_minor
    asyncio.run(_books_hold(posted, {key: amount for key, amount in expected.items() if amount}))


async def _books_hold(posted: list[tuple[Entry, ...]], expected: dict[tuple[str, str], int]) -> None:
    async with memory_store() as store:

        def unit(uow: UnitOfWork) -> None:
            for number, entries in enumerate(posted):
                post(uow, f"test.{number}", "mer_1", None, entries)

        await store.write(unit)
        found = await store.read(lambda reader: account_balances(reader, "mer_1"))
        held = {(one.account, one.unit): one.amount for one in found if one.amount}
        assert held == expected
        for (_, currency), amount in held.items():
            assert type(amount) is int
            told = decimal(amount, currency)
            whole, _, part = told.lstrip("-").partition(".")
            assert len(part) == EXPONENTS[currency], "all decimals of the currency, and no more"
            assert int(whole + part) == abs(amount) and told.startswith("-") is (amount < 0)
        assert await store.read(_kinds) == {"integer"}
        assert await store.read(_sums) == []
        assert await verify(store) == []


def _kinds(reader: Reader) -> set[str]:
    """How SQLite really holds the amounts: it would keep a float in a column of integers."""
    return {row[0] for row in reader.core(text("SELECT DISTINCT typeof(amount) FROM ledger_entry"))}


def _sums(reader: Reader) -> list[tuple[str, str, int]]:
    """Transactions that do not sum to zero in each of their currencies."""
    found = reader.core(
        text(
            "SELECT ledger_transaction_id, unit, sum(amount) FROM ledger_entry"
            " GROUP BY ledger_transaction_id, unit HAVING sum(amount) <> 0"
        )
    )
    return [(row[0], row[1], row[2]) for row in found]
