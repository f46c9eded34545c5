"""Limits of accounts: a balance that may not leave its normal side, held with the entry that would move it.

Only accounts with a limit have a row in `ledger_balance`, so a limit costs one statement where it applies and
nothing elsewhere. What is pending against a limit counts as gone, what is pending in its favour does not
count until it is posted. The row is rebuilt and compared by `gateway.ledger.verifying`.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import bindparam, select, update

from gateway.kernel.errors import ConflictError
from gateway.kernel.store.statements import Statement, upsert
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.ledger.chart import is_limited, kind_of
from gateway.ledger.entries import Entry
from gateway.ledger.tables import ledger_balance

_B = ledger_balance.c
_HERE = (
    (_B.merchant_id == bindparam("its_merchant"))
    & (_B.account == bindparam("its_account"))
    & (_B.unit == bindparam("its_unit"))
)
_ADD = upsert(
    ledger_balance,
    ["merchant_id", "account", "unit"],
    lambda excluded: {"amount": _B.amount + excluded.amount},
)
_TAKE = Statement(
    update(ledger_balance)
    .where(_HERE, _B.amount >= bindparam("taken"))
    .values(amount=_B.amount - bindparam("taken"))
)
_READ = Statement(select(_B.amount).where(_HERE))


def apply(uow: UnitOfWork, merchant_id: str, account: str, unit: str, amount: int) -> None:
    """Count an entry (debit positive) of an account with a limit.

    Raises ConflictError ``ledger.limit`` (data: account, unit, missing) when the balance would leave its
    side. A caller that has other things to write asks `room` first.
    """
    counted = amount * kind_of(account).side.sign
    if counted >= 0:
        uow.run(_ADD, {"merchant_id": merchant_id, "account": account, "unit": unit, "amount": counted})
        return
    where = {"its_merchant": merchant_id, "its_account": account, "its_unit": unit}
    if not uow.run(_TAKE, {**where, "taken": -counted}):
        missing = -counted - room(uow, merchant_id, account, unit)
        raise ConflictError(
            "ledger.limit",
            f"{account} would leave its side by {missing} {unit}",
            data={"account": account, "unit": unit, "missing": missing},
        )


def hold(uow: UnitOfWork, merchant_id: str, entries: Iterable[Entry]) -> None:
    """Count a transaction's entries on accounts with a limit, before its rows are written.

    An account is counted once with the sum of its entries, and what takes comes first: a transaction that
    goes beyond one limit is refused before anything was written.
    """
    sums: dict[tuple[str, str], int] = {}
    for entry in entries:
        if is_limited(entry.account):
            key = (entry.account, entry.unit)
            sums[key] = sums.get(key, 0) + entry.amount
    for (account, unit), amount in sorted(sums.items(), key=lambda item: not takes(item[0][0], item[1])):
        if amount:
            apply(uow, merchant_id, account, unit, amount)


def takes(account: str, amount: int) -> bool:
    """Whether an amount (debit positive) takes from the account's normal side."""
    return amount * kind_of(account).side.sign < 0


def room(reader: Reader, merchant_id: str, account: str, unit: str) -> int:
    """Return how much can be taken from an account with a limit."""
    row = reader.row(_READ, {"its_merchant": merchant_id, "its_account": account, "its_unit": unit})
    return 0 if row is None else int(row.amount)
