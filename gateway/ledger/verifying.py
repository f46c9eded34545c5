"""Checking the books against themselves: everything that is stored about entries is computed again from them.

What is compared: every closed day's transactions with its root, its closings with the entries, the chain of
days, the balances that limits are held against, and that every transaction sums to zero. The books are only
read; what is wrong is told, never mended.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from sqlalchemy import bindparam, select

from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader, Store
from gateway.ledger.balances import FOREVER_MS, AccountBalance, added, closings, moved
from gateway.ledger.chart import is_limited, kind_of
from gateway.ledger.closing import (
    GENESIS,
    Day,
    Summary,
    balances_hash,
    chain_hash,
    count,
    days_after,
    merchants_of,
)
from gateway.ledger.days import end_of, start_of
from gateway.ledger.journal import Transaction, transactions
from gateway.ledger.tables import ledger_balance, ledger_closing

_C, _B = ledger_closing.c, ledger_balance.c
_OF_DAY = Statement(
    select(
        _C.account, _C.unit, _C.debits_posted, _C.credits_posted, _C.debits_pending, _C.credits_pending
    ).where(_C.merchant_id == bindparam("merchant_id"), _C.day == bindparam("day"))
)
_LIMITS = Statement(select(_B.account, _B.unit, _B.amount).where(_B.merchant_id == bindparam("merchant_id")))


class Problem(NamedTuple):
    """Something in the books that does not follow from their entries."""

    merchant_id: str
    where: str
    """A day, an account or a transaction."""
    what: str


async def verify(store: Store, *, pause_s: float = 0) -> list[Problem]:
    """Return everything that is wrong with the books; empty means that they are whole."""
    problems: list[Problem] = []
    for merchant_id in await merchants_of(store):
        problems += await verify_merchant(store, merchant_id, pause_s=pause_s)
    return problems


async def verify_merchant(store: Store, merchant_id: str, *, pause_s: float = 0) -> list[Problem]:
    """Check one merchant's books from their first entry."""
    problems: list[Problem] = []
    sums: dict[tuple[str, str], list[int]] = {}
    previous, last = GENESIS, ""
    while True:
        days = await store.read(partial(days_after, merchant_id=merchant_id, day=last))
        if not days:
            break
        for day in days:
            since = end_of(last) if last else 0
            problems += await _between(store, merchant_id, since, start_of(day.day), day.day)
            problems += await _day(store, day, previous, sums, pause_s)
            previous, last = day.hash, day.day
    if last:
        problems += await _closings(store, merchant_id, last, sums)
    since = end_of(last) if last else 0
    async for transaction in transactions(store, merchant_id, since, FOREVER_MS, pause_s=pause_s):
        problems += _balanced(transaction)
    problems += await _limits(store, merchant_id, since, sums)
    return problems


async def _between(store: Store, merchant_id: str, since: int, until: int, day: str) -> list[Problem]:
    """No transaction belongs to a day that was passed over when the next one was closed."""
    return [
        Problem(merchant_id, transaction.transaction_id, f"belongs before {day}, to a day that is not closed")
        async for transaction in transactions(store, merchant_id, since, until)
    ]


async def _day(
    store: Store, day: Day, previous: str, sums: dict[tuple[str, str], list[int]], pause_s: float
) -> list[Problem]:
    problems: list[Problem] = []
    who, when = day.merchant_id, day.day
    summary = Summary()
    async for transaction in transactions(store, who, start_of(when), end_of(when), pause_s=pause_s):
        problems += _balanced(transaction)
        summary.add(transaction)
        count(sums, transaction)
    if (summary.tree.count, summary.entries) != (day.transactions, day.entries):
        problems.append(
            Problem(
                who,
                when,
                f"has {summary.tree.count} transactions with {summary.entries} entries, "
                f"was closed with {day.transactions} and {day.entries}",
            )
        )
    if summary.tree.root() != day.root:
        problems.append(Problem(who, when, "its transactions do not have the hash it was closed with"))
    stored = await store.read(lambda reader: _stored(reader, who, when))
    expected = {key: AccountBalance(*key, *sums[key]) for key in summary.moved}
    problems += _differences(who, when, expected, stored)
    if balances_hash(stored.values()) != day.balances:
        problems.append(Problem(who, when, "its closings do not have the hash it was closed with"))
    if chain_hash(previous, who, when, day.transactions, day.entries, day.root, day.balances) != day.hash:
        problems.append(Problem(who, when, "its hash does not follow from the day before"))
    return problems


def _balanced(transaction: Transaction) -> list[Problem]:
    sums: dict[str, int] = {}
    for entry in transaction.entries:
        sums[entry.unit] = sums.get(entry.unit, 0) + entry.amount
    off = {unit: amount for unit, amount in sums.items() if amount}
    where = (transaction.merchant_id, transaction.transaction_id)
    if len(transaction.entries) < 2:
        return [Problem(*where, f"has {len(transaction.entries)} entries")]
    return [Problem(*where, f"does not sum to zero: {off}")] if off else []


async def _closings(
    store: Store, merchant_id: str, day: str, sums: dict[tuple[str, str], list[int]]
) -> list[Problem]:
    """The last closing of every account is the sum of its entries, also of accounts long at rest."""
    stored = await store.read(lambda reader: closings(reader, merchant_id, day))
    expected = {key: AccountBalance(*key, *sides) for key, sides in sums.items()}
    return _differences(merchant_id, f"closings up to {day}", expected, stored)


async def _limits(
    store: Store, merchant_id: str, since: int, sums: dict[tuple[str, str], list[int]]
) -> list[Problem]:
    """What limits are held against: the normal side, less what is pending against it.

    The open days and the limits are read as one committed state: sales go on meanwhile.
    """

    def look(reader: Reader) -> tuple[list[AccountBalance], dict[tuple[str, str], int]]:
        rows = reader.rows(_LIMITS, {"merchant_id": merchant_id})
        held = {(row.account, row.unit): int(row.amount) for row in rows}
        return moved(reader, merchant_id, since, FOREVER_MS), held

    changes, stored = await store.read(look)
    closed = {key: AccountBalance(*key, *sides) for key, sides in sums.items() if is_limited(key[0])}
    expected = {
        (balance.account, balance.unit): headroom(balance)
        for balance in added(closed, changes)
        if is_limited(balance.account)
    }
    return [
        Problem(
            merchant_id,
            f"{account} {unit}",
            f"its limit is held against {stored.get((account, unit), 0)}, "
            f"its entries come to {expected.get((account, unit), 0)}",
        )
        for account, unit in sorted(expected.keys() | stored.keys())
        if expected.get((account, unit), 0) != stored.get((account, unit), 0)
    ]


def headroom(balance: AccountBalance) -> int:
    """Return what can be taken from an account: its normal side, less what is pending against it."""
    if kind_of(balance.account).side.sign > 0:
        return balance.amount - balance.credits_pending
    return -balance.amount - balance.debits_pending


def _stored(reader: Reader, merchant_id: str, day: str) -> dict[tuple[str, str], AccountBalance]:
    rows = reader.rows(_OF_DAY, {"merchant_id": merchant_id, "day": day})
    return {
        (row[0], row[1]): AccountBalance(row[0], row[1], *(int(side) for side in row[2:])) for row in rows
    }


def _differences(
    merchant_id: str,
    where: str,
    expected: dict[tuple[str, str], AccountBalance],
    stored: dict[tuple[str, str], AccountBalance],
) -> list[Problem]:
    problems = []
    for key in sorted(expected.keys() | stored.keys()):
        should, found = expected.get(key), stored.get(key)
        if should != found:
            problems.append(
                Problem(
                    merchant_id,
                    where,
                    f"{key[0]} {key[1]} was closed at {found and found.amount}, "
                    f"its entries come to {should and should.amount}",
                )
            )
    return problems
