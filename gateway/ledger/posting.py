"""Posting: the one way into the books. Every transaction sums to zero per unit (double entry)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, column, func, insert, select, table

from gateway.kernel.errors import InvalidError
from gateway.kernel.ids import Id
from gateway.kernel.store.statements import Statement, insert_into
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.ledger.balances import account_balances
from gateway.ledger.chart import is_limited
from gateway.ledger.entries import Entry, move
from gateway.ledger.limits import hold
from gateway.ledger.tables import ledger_entry, ledger_transaction

__all__ = ["Balance", "Entry", "LedgerTransactionId", "balances", "move", "post", "unbalanced_transactions"]


class LedgerTransactionId(Id):
    prefix = "ltx"


class Balance(NamedTuple):
    """The sum of an account's posted entries in one unit."""

    account: str
    unit: str
    amount: int


# What nearly every transaction consists of; the other columns stay null.
_PLAIN = ("ledger_transaction_id", "kind", "merchant_id", "order_id", "at_ms")
_INSERT_TRANSACTION = Statement(insert(table(ledger_transaction.name, *map(column, _PLAIN))))
_INSERT_ENTRY = insert_into(ledger_entry)
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


def post(
    uow: UnitOfWork, kind: str, merchant_id: str, order_id: str | None, entries: Sequence[Entry]
) -> None:
    """Add a transaction. Zero amounts are left out; an empty rest posts nothing.

    Raises InvalidError ``ledger.unbalanced`` when a unit does not sum to zero, and ConflictError
    ``ledger.limit`` when an account would leave the side it may not leave.
    """
    kept = [entry for entry in entries if entry.amount]
    if not kept:
        return
    sums: dict[str, int] = {}
    limited = False
    for account, unit, amount in kept:
        sums[unit] = sums.get(unit, 0) + amount
        limited = limited or is_limited(account)
    if any(sums.values()):
        raise InvalidError("ledger.unbalanced", f"a {kind} transaction does not sum to zero: {sums}")
    if limited:
        hold(uow, merchant_id, kept)
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
    """Return the non-zero balances of a merchant's books, by account and unit; without what is pending."""
    found = account_balances(reader, merchant_id)
    return [Balance(one.account, one.unit, one.amount) for one in found if one.amount]


def unbalanced_transactions(reader: Reader, most: int = 100) -> list[tuple[str, str, int]]:
    """Return transactions that do not sum to zero per unit; always empty unless the books were damaged."""
    return [(row[0], row[1], int(row[2])) for row in reader.rows(_UNBALANCED, {"most": most})]
