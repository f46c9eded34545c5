"""Reading the books page by page, in the order in which they were written: for exports, closing and checks.

A page is bounded, so reading the whole history never holds a read transaction open for long.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import and_, bindparam, or_, select

from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader, Store
from gateway.ledger.entries import Entry
from gateway.ledger.tables import ledger_entry, ledger_transaction

PAGE = 500
_T, _E = ledger_transaction.c, ledger_entry.c
_PAGE = Statement(
    select(ledger_transaction)
    .where(
        _T.merchant_id == bindparam("merchant_id"),
        _T.at_ms >= bindparam("at_ms"),
        _T.at_ms < bindparam("until_ms"),
        or_(_T.at_ms > bindparam("at_ms"), _T.ledger_transaction_id > bindparam("after_id")),
    )
    .order_by(_T.at_ms, _T.ledger_transaction_id)
    .limit(bindparam("most"))
)
_BETWEEN = Statement(
    select(_E.ledger_transaction_id, _E.account, _E.unit, _E.amount)
    .select_from(ledger_entry.join(ledger_transaction, _T.ledger_transaction_id == _E.ledger_transaction_id))
    .where(
        _T.merchant_id == bindparam("merchant_id"),
        or_(
            _T.at_ms > bindparam("first_ms"),
            and_(_T.at_ms == bindparam("first_ms"), _T.ledger_transaction_id >= bindparam("first_id")),
        ),
        or_(
            _T.at_ms < bindparam("last_ms"),
            and_(_T.at_ms == bindparam("last_ms"), _T.ledger_transaction_id <= bindparam("last_id")),
        ),
        _T.at_ms >= bindparam("first_ms"),
        _T.at_ms <= bindparam("last_ms"),
    )
    .order_by(_E.ledger_transaction_id, _E.position)
)


class Transaction(NamedTuple):
    """A transaction as it stands in the books."""

    transaction_id: str
    kind: str
    merchant_id: str
    order_id: str | None
    at_ms: int
    phase: str | None
    """None: posted in one step. Else what it does to a pending amount: pending, post, void, expire."""
    pending_id: str | None
    part: int | None
    pending_left: int | None
    expires_at_ms: int | None
    reverses_id: str | None
    code: str | None
    effective_at_ms: int | None
    entries: tuple[Entry, ...]

    @property
    def posted(self) -> bool:
        """Whether its entries count in the accounts' posted balances."""
        return self.phase in (None, "post")

    def canonical(self) -> bytes:
        """Return the one way to write it down, which its hash is made of."""
        fields: list[Any] = [*self[:13], [list(entry) for entry in self.entries]]
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


async def transactions(
    store: Store, merchant_id: str, from_ms: int, until_ms: int, *, page: int = PAGE, pause_s: float = 0
) -> AsyncIterator[Transaction]:
    """Yield a merchant's transactions from one moment until before another, oldest first.

    Between pages others get their turn, and ``pause_s`` seconds more.
    """
    at_ms, after = from_ms, ""
    while True:
        found = await store.read(
            partial(
                page_of, merchant_id=merchant_id, at_ms=at_ms, after_id=after, until_ms=until_ms, most=page
            )
        )
        for transaction in found:
            yield transaction
        if len(found) < page:
            return
        at_ms, after = found[-1].at_ms, found[-1].transaction_id
        await asyncio.sleep(pause_s)


def page_of(
    reader: Reader, merchant_id: str, at_ms: int, after_id: str, until_ms: int, most: int
) -> list[Transaction]:
    """Return the next transactions after a moment and an id."""
    rows = reader.rows(
        _PAGE,
        {
            "merchant_id": merchant_id,
            "at_ms": at_ms,
            "after_id": after_id,
            "until_ms": until_ms,
            "most": most,
        },
    )
    if not rows:
        return []
    entries: dict[str, list[Entry]] = {row.ledger_transaction_id: [] for row in rows}
    between = {
        "merchant_id": merchant_id,
        "first_ms": rows[0].at_ms,
        "first_id": rows[0].ledger_transaction_id,
        "last_ms": rows[-1].at_ms,
        "last_id": rows[-1].ledger_transaction_id,
    }
    for row in reader.rows(_BETWEEN, between):
        entries[row[0]].append(Entry(row[1], row[2], int(row[3])))
    return [Transaction._make((*row, tuple(entries[row.ledger_transaction_id]))) for row in rows]
