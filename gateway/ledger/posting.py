"""Posting: the one way into the books. Every transaction sums to zero per unit (double entry)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, func, select

from gateway.kernel.errors import InvalidError
from gateway.kernel.ids import Id
from gateway.kernel.store.statements import Statement, insert_into
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.ledger.tables import ledger_entry, ledger_transaction


class LedgerTransactionId(Id):
    prefix = "ltx"


class Entry(NamedTuple):
    """A signed amount on an account: debit positive, credit negative, in whole units."""

    account: str
    unit: str
    amount: int


class Balance(NamedTuple):
    """The sum of an account's entries in one unit."""

    account: str
    unit: str
    amount: int


_INSERT_TRANSACTION = insert_into(ledger_transaction)
_INSERT_ENTRY = insert_into(ledger_entry)
_BALANCES = Statement(
    select(ledger_entry.c.account, ledger_entry.c.unit, func.sum(ledger_entry.c.amount).label("amount"))
    .select_from(
        ledger_entry.join(
            ledger_transaction,
            ledger_transaction.c.ledger_transaction_id == ledger_entry.c.ledger_transaction_id,
        )
    )
    .where(ledger_transaction.c.merchant_id == bindparam("merchant_id"))
    .group_by(ledger_entry.c.account, ledger_entry.c.unit)
    .order_by(ledger_entry.c.account, ledger_entry.c.unit)
)
_UNBALANCED = Statement(
    select(
        ledger_entry.c.ledger_transaction_id,
        ledger_entry.c.unit,
        func.sum(ledger_entry.c.amount).label("amount"),
    )
    .group_by(ledger_entry.c.ledger_transaction_id, ledger_entry.c.unit)
    .having(func.sum(ledger_entry.c.amount) != 0)
    .limit(bindparam("most"))
)


def move(unit: str, amount: int, *, debit: str, credit: str) -> tuple[Entry, Entry]:
    """Return the two entries of a simple transfer of ``amount`` from ``credit`` to ``debit``."""
    return Entry(debit, unit, amount), Entry(credit, unit, -amount)


def post(
    uow: UnitOfWork, kind: str, merchant_id: str, order_id: str | None, entries: Sequence[Entry]
) -> None:
    """Add a transaction. Zero amounts are left out; an empty rest posts nothing.

    Raises InvalidError ``ledger.unbalanced`` when a unit does not sum to zero.
    """
    kept = [entry for entry in entries if entry.amount]
    if not kept:
        return
    sums: dict[str, int] = {}
    for entry in kept:
        sums[entry.unit] = sums.get(entry.unit, 0) + entry.amount
    if any(sums.values()):
        raise InvalidError("ledger.unbalanced", f"a {kind} transaction does not sum to zero: {sums}")
    transaction_id = uow.new_id(LedgerTransactionId)
    uow.append(
        _INSERT_TRANSACTION,
        {
            "ledger_transaction_id": transaction_id,
            "kind": kind,
            "merchant_id": merchant_id,
            "order_id": order_id,
            "at_ms": uow.now_ms,
        },
    )
    for position, entry in enumerate(kept):
        uow.append(
            _INSERT_ENTRY,
            {
                "ledger_transaction_id": transaction_id,
                "position": position,
                "account": entry.account,
                "unit": entry.unit,
                "amount": entry.amount,
            },
        )


def balances(reader: Reader, merchant_id: str) -> list[Balance]:
    """Return the non-zero balances of a merchant's books, by account and unit."""
    rows = reader.rows(_BALANCES, {"merchant_id": merchant_id})
    return [Balance(row.account, row.unit, int(row.amount)) for row in rows if row.amount]


def unbalanced_transactions(reader: Reader, most: int = 100) -> list[tuple[str, str, int]]:
    """Return transactions that do not sum to zero per unit; always empty unless the books were damaged."""
    return [(row[0], row[1], int(row[2])) for row in reader.rows(_UNBALANCED, {"most": most})]
