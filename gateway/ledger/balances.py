"""Balances: what accounts stand at, from the last closed day and the entries since.

Reports read one closing per account and the entries of the days that are not closed, so their cost does not
grow with the age of the books. Amounts are kept on four sides, as in a ledger with two-phase transfers:
debits and credits, posted and pending.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import Select, and_, bindparam, case, func, or_, select

from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader
from gateway.ledger.days import DAY_MS, day_of, end_of
from gateway.ledger.tables import ledger_closing, ledger_day, ledger_entry, ledger_transaction

_T, _E, _C, _D = ledger_transaction.c, ledger_entry.c, ledger_closing.c, ledger_day.c
FOREVER_MS = 2**62
_LAST_DAY_MS = 253_402_300_799_000
"""The end of the year 9999: the last moment that has a date."""


class AccountBalance(NamedTuple):
    """An account in one unit. All four are positive or zero."""

    account: str
    unit: str
    debits_posted: int
    credits_posted: int
    debits_pending: int
    credits_pending: int

    @property
    def amount(self) -> int:
        """What is posted: debit positive."""
        return self.debits_posted - self.credits_posted

    @property
    def pending(self) -> int:
        """What is reserved and not posted yet: debit positive."""
        return self.debits_pending - self.credits_pending

    def plus(self, other: AccountBalance) -> AccountBalance:
        """Return the sum of two balances of the same account."""
        return AccountBalance(
            self.account, self.unit, *(a + b for a, b in zip(self[2:], other[2:], strict=True))
        )


_POSTED = or_(_T.phase.is_(None), _T.phase == "post")
_RESOLVED = _T.phase.in_(["post", "void", "expire"])


def _sides() -> list[Any]:
    """Sums over entries. A posted, voided or expired part takes back what it had put on the pending side."""
    debit, credit = _E.amount > 0, _E.amount < 0

    def total(*branches: tuple[Any, Any]) -> Any:
        return func.coalesce(func.sum(case(*branches, else_=0)), 0)

    return [
        total((and_(debit, _POSTED), _E.amount)).label("debits_posted"),
        total((and_(credit, _POSTED), -_E.amount)).label("credits_posted"),
        total((and_(debit, _T.phase == "pending"), _E.amount), (and_(debit, _RESOLVED), -_E.amount)).label(
            "debits_pending"
        ),
        total((and_(credit, _T.phase == "pending"), -_E.amount), (and_(credit, _RESOLVED), _E.amount)).label(
            "credits_pending"
        ),
    ]


_JOINED = ledger_entry.join(ledger_transaction, _T.ledger_transaction_id == _E.ledger_transaction_id)


def _moved() -> Select[Any]:
    return (
        select(_E.account, _E.unit, *_sides())
        .select_from(_JOINED)
        .where(
            _T.merchant_id == bindparam("merchant_id"),
            _T.at_ms >= bindparam("from_ms"),
            _T.at_ms < bindparam("until_ms"),
        )
        .group_by(_E.account, _E.unit)
        .order_by(_E.account, _E.unit)
    )


_MOVED = Statement(_moved())
_LAST_DAY = Statement(
    select(func.max(_D.day).label("day")).where(
        _D.merchant_id == bindparam("merchant_id"), _D.day <= bindparam("most")
    )
)
_LATEST = (
    select(_C.account, _C.unit, func.max(_C.day).label("day"))
    .where(_C.merchant_id == bindparam("merchant_id"), _C.day <= bindparam("most"))
    .group_by(_C.account, _C.unit)
    .subquery()
)
_CLOSINGS = Statement(
    select(_C.account, _C.unit, _C.debits_posted, _C.credits_posted, _C.debits_pending, _C.credits_pending)
    .select_from(
        ledger_closing.join(
            _LATEST,
            (_C.account == _LATEST.c.account) & (_C.unit == _LATEST.c.unit) & (_C.day == _LATEST.c.day),
        )
    )
    .where(_C.merchant_id == bindparam("its_merchant"))
    .order_by(_C.account, _C.unit)
)


def last_closed_day(reader: Reader, merchant_id: str, most: str = "9999-12-31") -> str | None:
    """Return the last day up to ``most`` that is closed, or None."""
    row = reader.row(_LAST_DAY, {"merchant_id": merchant_id, "most": most})
    return None if row is None else row.day


def closings(reader: Reader, merchant_id: str, day: str) -> dict[tuple[str, str], AccountBalance]:
    """Return what every account stood at when ``day`` ended, from stored closings alone."""
    rows = reader.rows(_CLOSINGS, {"merchant_id": merchant_id, "its_merchant": merchant_id, "most": day})
    return {(row.account, row.unit): _balance(row) for row in rows}


def moved(reader: Reader, merchant_id: str, from_ms: int, until_ms: int) -> list[AccountBalance]:
    """Return what the entries from one moment until before another come to, by account."""
    rows = reader.rows(_MOVED, {"merchant_id": merchant_id, "from_ms": from_ms, "until_ms": until_ms})
    return [_balance(row) for row in rows]


def account_balances(reader: Reader, merchant_id: str, until_ms: int = FOREVER_MS) -> list[AccountBalance]:
    """Return every account as it stood just before ``until_ms``, by account and unit."""
    day = last_closed_day(reader, merchant_id, day_of(min(until_ms, _LAST_DAY_MS) - DAY_MS))
    found = {} if day is None else closings(reader, merchant_id, day)
    since = 0 if day is None else end_of(day)
    return added(found, moved(reader, merchant_id, since, until_ms))


def added(
    base: dict[tuple[str, str], AccountBalance], changes: Iterable[AccountBalance]
) -> list[AccountBalance]:
    """Return the balances after the changes, by account and unit."""
    found = dict(base)
    for change in changes:
        key = (change.account, change.unit)
        found[key] = found[key].plus(change) if key in found else change
    return [found[key] for key in sorted(found)]


def _balance(row: Any) -> AccountBalance:
    return AccountBalance(row[0], row[1], *(int(side) for side in row[2:6]))
