"""Transactions beyond the plain ones of a purchase: with an id of the caller's own, a phase, a reversal, a
date.

`gateway.ledger.posting.post` is the short way for what happens at every purchase. Here a repeat is
recognized: the same id with equal fields is the transaction that exists, with different fields it is an
error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import bindparam, select

from gateway.kernel.errors import ConflictError, InvalidError
from gateway.kernel.store.statements import Statement, insert_into, insert_new
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.ledger import limits
from gateway.ledger.entries import Entry
from gateway.ledger.posting import LedgerTransactionId
from gateway.ledger.tables import ledger_entry, ledger_transaction

_T, _E = ledger_transaction.c, ledger_entry.c
_INSERT_TRANSACTION = insert_new(ledger_transaction)
_INSERT_ENTRY = insert_into(ledger_entry)
_BY_ID = Statement(select(ledger_transaction).where(_T.ledger_transaction_id == bindparam("its_id")))
_ENTRIES_OF = Statement(
    select(_E.account, _E.unit, _E.amount)
    .where(_E.ledger_transaction_id == bindparam("its_id"))
    .order_by(_E.position)
)
_REVERSAL_OF = Statement(select(_T.ledger_transaction_id).where(_T.reverses_id == bindparam("its_id")))
# What two tries of one transaction have in common.
_SAME = ("kind", "merchant_id", "order_id", "phase", "reverses_id", "code", "effective_at_ms")


class Recorded(NamedTuple):
    """A transaction in the books. ``existed``: it had been recorded before, with equal fields."""

    transaction_id: LedgerTransactionId
    existed: bool


def record(
    uow: UnitOfWork,
    kind: str,
    merchant_id: str,
    order_id: str | None,
    entries: Sequence[Entry],
    *,
    transaction_id: LedgerTransactionId | None = None,
    effective_at_ms: int | None = None,
    reverses_id: str | None = None,
    code: str | None = None,
    **phase: Any,
) -> Recorded:
    """Add a transaction. Zero amounts are left out.

    Raises InvalidError ``ledger.unbalanced`` (a unit does not sum to zero, or fewer than two entries),
    ConflictError ``ledger.id_reused`` (the id stands for something else), ``ledger.taken`` (another
    transaction has reversed or resolved the same one meanwhile) and ``ledger.limit``.
    """
    kept = balanced(kind, entries)
    row: dict[str, Any] = {
        "ledger_transaction_id": transaction_id or uow.new_id(LedgerTransactionId),
        "kind": kind,
        "merchant_id": merchant_id,
        "order_id": order_id,
        "at_ms": uow.now_ms,
        "phase": None,
        "pending_id": None,
        "part": None,
        "pending_left": None,
        "expires_at_ms": None,
        "reverses_id": reverses_id,
        "code": code,
        "effective_at_ms": effective_at_ms,
        **phase,
    }
    if transaction_id is not None:
        existing = transaction_row(uow, transaction_id)
        if existing is not None:
            if entries_of(uow, transaction_id) == kept and all(
                getattr(existing, name) == row[name] for name in _SAME
            ):
                return Recorded(transaction_id, existed=True)
            raise ConflictError("ledger.id_reused", f"{transaction_id} stands for another transaction")
    if phase.get("phase") is None:
        limits.hold(uow, merchant_id, kept)
    if not uow.run(_INSERT_TRANSACTION, row):
        raise ConflictError("ledger.taken", f"{reverses_id or row['pending_id']} has been resolved meanwhile")
    insert_entries(uow, row["ledger_transaction_id"], kept)
    return Recorded(row["ledger_transaction_id"], existed=False)


def reverse(uow: UnitOfWork, transaction_id: str, code: str) -> Recorded:
    """Take a posted transaction back by its opposite, once. ``code`` says why (``entered_twice``).

    Raises InvalidError ``ledger.not_reversible`` for one that is not there or not posted, and ConflictError
    ``ledger.taken`` when it has been reversed before.
    """
    original = transaction_row(uow, transaction_id)
    if original is None or original.phase is not None:
        # What is pending is posted or voided; a capture is taken back by a refund, which is a fact of its
        # own.
        raise InvalidError("ledger.not_reversible", f"{transaction_id[:40]} is not a posted transaction")
    if uow.row(_REVERSAL_OF, {"its_id": transaction_id}) is not None:
        raise ConflictError("ledger.taken", f"{transaction_id} has been reversed before")
    opposite = [Entry(*entry[:2], -entry.amount) for entry in entries_of(uow, transaction_id)]
    return record(
        uow,
        f"{original.kind}.reversed",
        original.merchant_id,
        original.order_id,
        opposite,
        reverses_id=transaction_id,
        code=code,
    )


def balanced(kind: str, entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries that are not zero; raises InvalidError ``ledger.unbalanced``."""
    kept = [entry for entry in entries if entry.amount]
    sums: dict[str, int] = {}
    for entry in kept:
        if type(entry.amount) is not int:
            raise TypeError("an amount in the books is a whole number")
        sums[entry.unit] = sums.get(entry.unit, 0) + entry.amount
    if len(kept) < 2 or any(sums.values()):
        raise InvalidError("ledger.unbalanced", f"a {kind} transaction does not sum to zero: {sums}")
    return kept


def insert_entries(uow: UnitOfWork, transaction_id: str, entries: Sequence[Entry]) -> None:
    """Write a transaction's entries at once, so that later units of the same batch see them."""
    uow.run_many(
        _INSERT_ENTRY,
        [
            {"ledger_transaction_id": transaction_id, "position": position, **entry._asdict()}
            for position, entry in enumerate(entries)
        ],
    )


def transaction_row(reader: Reader, transaction_id: str) -> Any | None:
    """Return a transaction's row, or None."""
    return reader.row(_BY_ID, {"its_id": transaction_id})


def entries_of(reader: Reader, transaction_id: str) -> list[Entry]:
    """Return a transaction's entries in their order."""
    return [
        Entry(row[0], row[1], int(row[2])) for row in reader.rows(_ENTRIES_OF, {"its_id": transaction_id})
    ]
