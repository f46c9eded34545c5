"""Closing days: one hash over a day's transactions, and what every account stood at when it ended.

A day that is over does not change any more, so it is read page by page and only its outcome is written:
first the closings, in chunks, then the day itself, which makes them count. Several processes may close the
same day; they write the same rows. Days are chained: each hash covers the one before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import bindparam, func, select

from gateway.kernel.store.statements import Statement, insert_new
from gateway.kernel.store.unit import Lane, Reader, Store, UnitOfWork
from gateway.ledger.balances import AccountBalance
from gateway.ledger.days import DAY_MS, day_of, end_of, start_of
from gateway.ledger.journal import Transaction, transactions
from gateway.ledger.merkle import MerkleRoot
from gateway.ledger.tables import ledger_closing, ledger_day, ledger_transaction

T = TypeVar("T")
GRACE_MS = 15 * 60_000
"""How long after its end a day is left open: units that began before midnight commit a moment later."""
GENESIS = "0" * 64
_CHUNK = 400
_T, _C, _D = ledger_transaction.c, ledger_closing.c, ledger_day.c

_NEXT_MERCHANT = Statement(
    select(func.min(_T.merchant_id).label("merchant_id")).where(_T.merchant_id > bindparam("after"))
)
_FIRST_SINCE = Statement(
    select(func.min(_T.at_ms).label("at_ms")).where(
        _T.merchant_id == bindparam("merchant_id"), _T.at_ms >= bindparam("since_ms")
    )
)
_DAYS = Statement(
    select(ledger_day)
    .where(_D.merchant_id == bindparam("merchant_id"), _D.day > bindparam("after"))
    .order_by(_D.day)
    .limit(bindparam("most"))
)
_LAST_DAY = Statement(
    select(ledger_day)
    .where(_D.merchant_id == bindparam("merchant_id"), _D.day < bindparam("before"))
    .order_by(_D.day.desc())
    .limit(1)
)
_CLOSING_BEFORE = Statement(
    select(_C.debits_posted, _C.credits_posted, _C.debits_pending, _C.credits_pending)
    .where(
        _C.merchant_id == bindparam("merchant_id"),
        _C.account == bindparam("account"),
        _C.unit == bindparam("unit"),
        _C.day < bindparam("before"),
    )
    .order_by(_C.day.desc())
    .limit(1)
)
_INSERT_DAY = insert_new(ledger_day)
_INSERT_CLOSING = insert_new(ledger_closing)


class Day(NamedTuple):
    """A closed day."""

    merchant_id: str
    day: str
    transactions: int
    entries: int
    root: str
    balances: str
    hash: str
    closed_at_ms: int


class Summary:
    """Adds up a day's transactions: their root, how many there are, and what they move."""

    def __init__(self) -> None:
        self.tree = MerkleRoot()
        self.entries = 0
        self.moved: dict[tuple[str, str], list[int]] = {}

    def add(self, transaction: Transaction) -> None:
        """Count one transaction."""
        self.tree.add(transaction.canonical())
        self.entries += len(transaction.entries)
        count(self.moved, transaction)


def count(moved: dict[tuple[str, str], list[int]], transaction: Transaction) -> None:
    """Add a transaction to the four sides of each account it touches."""
    for entry in transaction.entries:
        sides = moved.setdefault((entry.account, entry.unit), [0, 0, 0, 0])
        size, side = abs(entry.amount), 0 if entry.amount > 0 else 1
        if transaction.posted:
            sides[side] += size
        if transaction.phase is not None:
            sides[2 + side] += size if transaction.phase == "pending" else -size


def balances_hash(closed: Iterable[AccountBalance]) -> str:
    """Return the hash over closing balances, in the order of account and unit."""
    digest = sha256()
    for balance in sorted(closed):
        digest.update("\t".join(map(str, balance)).encode() + b"\n")
    return digest.hexdigest()


def chain_hash(
    previous: str, merchant_id: str, day: str, transactions: int, entries: int, root: str, balances: str
) -> str:
    """Return the hash of a day, which covers the hash of the closed day before it."""
    parts = ("vitrine-books-1", previous, merchant_id, day, str(transactions), str(entries), root, balances)
    return sha256("\n".join(parts).encode()).hexdigest()


async def merchants_of(store: Store) -> list[str]:
    """Return every merchant that has books."""

    def walk(reader: Reader) -> list[str]:
        found: list[str] = []
        while True:
            row = reader.row(_NEXT_MERCHANT, {"after": found[-1] if found else ""})
            if row is None or row.merchant_id is None:
                return found
            found.append(row.merchant_id)

    return await store.read(walk)


async def close_days(store: Store, *, grace_ms: int = GRACE_MS, pause_s: float = 0) -> list[Day]:
    """Close every day of every merchant that is over, and return those that were not closed before."""
    closed = []
    for merchant_id in await merchants_of(store):
        while True:
            day = await store.read(partial(_next_open, merchant_id=merchant_id, grace_ms=grace_ms))
            if day is None:
                break
            closed.append(await close_day(store, merchant_id, day, pause_s=pause_s))
    return closed


async def close_day(store: Store, merchant_id: str, day: str, *, pause_s: float = 0) -> Day:
    """Close one day. The days before it are closed; closing it again changes nothing."""
    summary = Summary()
    async for transaction in transactions(store, merchant_id, start_of(day), end_of(day), pause_s=pause_s):
        summary.add(transaction)
    closed = await closing_balances(store, merchant_id, day, summary)
    previous = await store.read(lambda reader: day_before(reader, merchant_id, day))
    root, balances = summary.tree.root(), balances_hash(closed)
    counts = (summary.tree.count, summary.entries)
    chained = chain_hash(
        GENESIS if previous is None else previous.hash, merchant_id, day, *counts, root, balances
    )
    for chunk in _chunks(closed):
        await store.write(
            partial(_write_closings, merchant_id=merchant_id, day=day, closed=chunk), lane=Lane.BACKGROUND
        )

    def finish(uow: UnitOfWork) -> Day:
        row = Day(merchant_id, day, *counts, root, balances, chained, uow.now_ms)
        uow.run(_INSERT_DAY, row._asdict())
        return row

    return await store.write(finish, lane=Lane.BACKGROUND)


async def closing_balances(
    store: Store, merchant_id: str, day: str, summary: Summary
) -> list[AccountBalance]:
    """Return what the accounts that a day touched stood at when it ended: the closing before and the day."""
    found: list[AccountBalance] = []
    for chunk in _chunks(sorted(summary.moved.items())):

        def look(
            reader: Reader, chunk: Sequence[tuple[tuple[str, str], list[int]]] = chunk
        ) -> list[AccountBalance]:
            return [
                AccountBalance(
                    *key,
                    *(
                        before + change
                        for before, change in zip(
                            _closing_before(reader, merchant_id, *key, day), sides, strict=True
                        )
                    ),
                )
                for key, sides in chunk
            ]

        found += await store.read(look)
    return found


def day_before(reader: Reader, merchant_id: str, day: str) -> Day | None:
    """Return the closed day before a day, or None."""
    row = reader.row(_LAST_DAY, {"merchant_id": merchant_id, "before": day})
    return None if row is None else Day(*row)


def days_after(reader: Reader, merchant_id: str, day: str, most: int = 1000) -> list[Day]:
    """Return closed days after a day, oldest first."""
    rows = reader.rows(_DAYS, {"merchant_id": merchant_id, "after": day, "most": most})
    return [Day(*row) for row in rows]


def _next_open(reader: Reader, merchant_id: str, grace_ms: int) -> str | None:
    """The first day with a transaction that is over and not closed."""
    last = day_before(reader, merchant_id, "9999-12-31")
    since = 0 if last is None else end_of(last.day)
    row = reader.row(_FIRST_SINCE, {"merchant_id": merchant_id, "since_ms": since})
    if row is None or row.at_ms is None:
        return None
    day = day_of(row.at_ms)
    return day if start_of(day) + DAY_MS + grace_ms <= reader.now_ms else None


def _closing_before(reader: Reader, merchant_id: str, account: str, unit: str, day: str) -> list[int]:
    row = reader.row(
        _CLOSING_BEFORE,
        {"merchant_id": merchant_id, "account": account, "unit": unit, "before": day},
    )
    return [0, 0, 0, 0] if row is None else [int(side) for side in row]


def _write_closings(uow: UnitOfWork, merchant_id: str, day: str, closed: Sequence[AccountBalance]) -> None:
    rows: list[dict[str, Any]] = [
        {"merchant_id": merchant_id, "day": day, **balance._asdict()} for balance in closed
    ]
    uow.run_many(_INSERT_CLOSING, rows)


def _chunks(items: Sequence[T]) -> Iterable[Sequence[T]]:
    return (items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK))
