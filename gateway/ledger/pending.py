"""Two-phase amounts: reserved first, then posted, voided or expired, part by part.

    reserve 50.00        part 0   left 50.00
    post    20.00        part 1   left 30.00     the rest stays reserved
    post    10.00        part 2   left  0.00     the remainder is released (part 3)

An amount is known by the name its owner gave it, the operation id of an authorization. Nothing is ever
changed: each part is a transaction of its own that follows exactly one other, which a unique key holds
(``pending_id``, ``part``). So two that would resolve the same amount cannot both be in the books, and no more
is posted than was reserved.

Entries of a part carry the amount it reserves, posts or releases. An account's pending side is what was
reserved less what was posted or released (`gateway.ledger.balances`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import bindparam, func, select

from gateway.kernel.errors import ConflictError, InvalidError
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.ledger import limits
from gateway.ledger.chart import is_limited
from gateway.ledger.entries import move
from gateway.ledger.recording import record
from gateway.ledger.tables import ledger_entry, ledger_transaction


class Phase(StrEnum):
    """What a part does to a pending amount."""

    PENDING = "pending"
    POST = "post"
    VOID = "void"
    EXPIRE = "expire"


class Reservation(NamedTuple):
    """A pending amount as it stands after its last part."""

    pending_id: str
    merchant_id: str
    order_id: str | None
    part: int
    left: int
    expires_at_ms: int | None
    unit: str
    debit: str
    credit: str


_T, _E = ledger_transaction.c, ledger_entry.c
_LAST = Statement(
    select(
        _T.merchant_id,
        _T.order_id,
        _T.part,
        _T.pending_left,
        _T.expires_at_ms,
        _E.account,
        _E.unit,
    )
    .select_from(ledger_transaction.join(ledger_entry, _E.ledger_transaction_id == _T.ledger_transaction_id))
    .where(_T.pending_id == bindparam("its_pending"))
    .order_by(_T.part.desc(), _E.position)
    .limit(2)
)
_LATER = ledger_transaction.alias("later")
_OVERDUE = Statement(
    select(_T.pending_id, func.min(_T.expires_at_ms).label("expires_at_ms"))
    .where(
        _T.expires_at_ms.is_not(None),
        _T.expires_at_ms <= bindparam("now_ms"),
        _T.pending_left > 0,
        ~select(_LATER.c.part).where(_LATER.c.pending_id == _T.pending_id, _LATER.c.part > _T.part).exists(),
    )
    .group_by(_T.pending_id)
    .order_by(_T.pending_id)
    .limit(bindparam("most"))
)


def reservation(reader: Reader, pending_id: str) -> Reservation | None:
    """Return a pending amount, or None if nothing was ever reserved under this name."""
    rows = reader.rows(_LAST, {"its_pending": pending_id})
    if not rows:
        return None
    # Each part has two entries: what is debited, then what is credited.
    debit, credit = rows
    return Reservation(
        pending_id,
        debit.merchant_id,
        debit.order_id,
        debit.part,
        int(debit.pending_left),
        debit.expires_at_ms,
        debit.unit,
        debit.account,
        credit.account,
    )


def reserve(
    uow: UnitOfWork,
    kind: str,
    merchant_id: str,
    order_id: str | None,
    pending_id: str,
    *,
    unit: str,
    amount: int,
    debit: str,
    credit: str,
    expires_at_ms: int | None = None,
) -> Reservation:
    """Reserve an amount, or raise what is reserved under this name already (an increment).

    Raises InvalidError ``ledger.pending_amount`` for an amount that is not above zero,
    ``ledger.pending_other`` when the name stands for other accounts, and ConflictError ``ledger.limit``.
    """
    if amount <= 0:
        raise InvalidError("ledger.pending_amount", "only an amount above zero can be reserved")
    last = reservation(uow, pending_id)
    if last is None:
        last = Reservation(pending_id, merchant_id, order_id, -1, 0, expires_at_ms, unit, debit, credit)
    elif (last.merchant_id, last.unit, last.debit, last.credit) != (merchant_id, unit, debit, credit):
        raise InvalidError("ledger.pending_other", f"{pending_id} is reserved on other accounts")
    return _part(uow, kind, last, Phase.PENDING, amount, last.left + amount, expires_at_ms)


def post_pending(
    uow: UnitOfWork,
    kind: str,
    pending_id: str,
    amount: int | None = None,
    *,
    keep_rest: bool = False,
    known: Reservation | None = None,
) -> Reservation:
    """Post what is reserved, all of it or ``amount``; the remainder is released unless ``keep_rest``.

    ``known`` spares a caller that has just read the reservation the second look. Raises InvalidError
    ``ledger.pending_exceeded`` (data: left) above what is reserved, ConflictError ``ledger.pending_resolved``
    when nothing is left and ``ledger.pending_expired`` after its time.
    """
    last = known if known is not None and known.left else _open(uow, pending_id)
    if last.expires_at_ms is not None and last.expires_at_ms <= uow.now_ms:
        raise ConflictError("ledger.pending_expired", f"{pending_id} was reserved for a time that is over")
    amount = last.left if amount is None else amount
    _within(last, amount)
    posted = _part(uow, kind, last, Phase.POST, amount, last.left - amount)
    if posted.left and not keep_rest:
        return _part(uow, f"{kind}.released", posted, Phase.VOID, posted.left, 0)
    return posted


def void_pending(uow: UnitOfWork, kind: str, pending_id: str, amount: int | None = None) -> Reservation:
    """Release what is reserved, all of it or ``amount``.

    Raises InvalidError ``ledger.pending_exceeded`` and ConflictError ``ledger.pending_resolved``.
    """
    return _release(uow, kind, _open(uow, pending_id), Phase.VOID, amount)


def expire_pending(uow: UnitOfWork, kind: str, pending_id: str) -> Reservation:
    """Release everything that is reserved, because its time is over. Who reserved it knows when that is."""
    return _release(uow, kind, _open(uow, pending_id), Phase.EXPIRE, None)


def overdue(reader: Reader, most: int) -> list[str]:
    """Return pending amounts whose time is over and that nobody has resolved."""
    return [row.pending_id for row in reader.rows(_OVERDUE, {"now_ms": reader.now_ms, "most": most})]


def expire_overdue(uow: UnitOfWork, most: int = 100) -> int:
    """Release pending amounts whose time is over; returns how many."""
    found = overdue(uow, most)
    for pending_id in found:
        expire_pending(uow, "pending.expired", pending_id)
    return len(found)


def _open(uow: UnitOfWork, pending_id: str) -> Reservation:
    last = reservation(uow, pending_id)
    if last is None:
        raise InvalidError("ledger.pending_unknown", f"nothing is reserved as {pending_id[:60]}")
    if not last.left:
        raise ConflictError("ledger.pending_resolved", f"{pending_id} has been resolved")
    return last


def _release(uow: UnitOfWork, kind: str, last: Reservation, phase: Phase, amount: int | None) -> Reservation:
    amount = last.left if amount is None else amount
    _within(last, amount)
    return _part(uow, kind, last, phase, amount, last.left - amount)


def _within(last: Reservation, amount: int) -> None:
    if not 0 < amount <= last.left:
        raise InvalidError(
            "ledger.pending_exceeded",
            f"{amount} of {last.pending_id} is asked for, {last.left} {last.unit} are reserved",
            data={"left": last.left},
        )


def _part(
    uow: UnitOfWork,
    kind: str,
    last: Reservation,
    phase: Phase,
    amount: int,
    left: int,
    expires_at_ms: int | None = None,
) -> Reservation:
    after = last._replace(part=last.part + 1, left=left, expires_at_ms=expires_at_ms or last.expires_at_ms)
    fields: dict[str, Any] = {
        "phase": phase.value,
        "pending_id": last.pending_id,
        "part": after.part,
        "pending_left": left,
        "expires_at_ms": after.expires_at_ms,
    }
    entries = move(last.unit, amount, debit=last.debit, credit=last.credit)
    for entry in entries:
        if is_limited(entry.account):
            _hold_limit(uow, last.merchant_id, phase, *entry)
    record(uow, kind, last.merchant_id, last.order_id, entries, **fields)
    return after


def _hold_limit(
    uow: UnitOfWork, merchant_id: str, phase: Phase, account: str, unit: str, amount: int
) -> None:
    """What is reserved against a limit is gone at once; what is reserved in its favour counts when posted."""
    against = limits.takes(account, amount)
    match phase:
        case Phase.PENDING if against:
            limits.apply(uow, merchant_id, account, unit, amount)
        case Phase.VOID | Phase.EXPIRE if against:
            limits.apply(uow, merchant_id, account, unit, -amount)
        case Phase.POST if not against:
            limits.apply(uow, merchant_id, account, unit, amount)
        case _:
            return
