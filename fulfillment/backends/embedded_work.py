"""What the embedded backend does to its orders, as units of work on its own database. No waiting here."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import bindparam, insert, select, update

from fulfillment.backends.embedded_tables import backend_order, backend_update
from fulfillment.backends.port import (
    BackendOrder,
    BackendReceipt,
    BackendRefusedError,
    BackendUpdate,
    CancelAnswer,
    Tracking,
    UpdateKind,
)
from gateway.kernel.documents import decode, encode
from gateway.kernel.errors import ConflictError, NotFoundError
from gateway.kernel.ids import Id
from gateway.kernel.store.statements import Statement, insert_new
from gateway.kernel.store.unit import Reader, UnitOfWork

CARRIER = "embedded"


class ParcelId(Id):
    """The backend's own number of an order; its tracking number too."""

    prefix = "par"


class WorkState(StrEnum):
    ACCEPTED = "accepted"
    PICKED = "picked"
    """In somebody's hands: too late to cancel. Not announced."""
    DISPATCHED = "dispatched"
    DELIVERED = "delivered"
    CANCELED = "canceled"
    REFUSED = "refused"


MOVES: dict[WorkState, Set[WorkState]] = {
    WorkState.ACCEPTED: {WorkState.PICKED, WorkState.DISPATCHED, WorkState.CANCELED, WorkState.REFUSED},
    WorkState.PICKED: {WorkState.DISPATCHED, WorkState.REFUSED},
    WorkState.DISPATCHED: {WorkState.DELIVERED},
    WorkState.DELIVERED: set(),
    WorkState.CANCELED: set(),
    WorkState.REFUSED: set(),
}
_BY_ITSELF = {
    WorkState.ACCEPTED: WorkState.DISPATCHED,
    WorkState.PICKED: WorkState.DISPATCHED,
    WorkState.DISPATCHED: WorkState.DELIVERED,
}


@dataclass(frozen=True, slots=True)
class Pace:
    """How the backend works by itself. Delays count from acceptance, and from dispatch."""

    automatic: bool = True
    dispatch_after_ms: int = 2_000
    deliver_after_ms: int = 5_000
    pause_ms: int = 50
    """Least time between two rounds of work, so that a round has many orders to share its commit."""
    batch: int = 500

    def due_at_ms(self, state: WorkState, since_ms: int) -> int | None:
        """Return when an order that came to this state moves on by itself; None when it does not."""
        if not self.automatic or state not in _BY_ITSELF:
            return None
        match state:
            case WorkState.ACCEPTED:
                return since_ms + self.dispatch_after_ms
            case WorkState.DISPATCHED:
                return since_ms + self.deliver_after_ms
            case _:
                return since_ms


@dataclass(frozen=True, slots=True)
class Effect:
    """An order the backend took, and everything it announced about it, in order."""

    reference: str
    backend_reference: str
    order: dict[str, Any]
    state: WorkState
    announced: tuple[UpdateKind, ...]


_O = backend_order.c
_U = backend_update.c
_INSERT_ORDER = insert_new(backend_order)
_INSERT_UPDATE = Statement(
    insert(backend_update).values(
        {column.name: bindparam(column.name) for column in _U if column.name != "seq"}
    )
)
_ORDER = Statement(select(backend_order).where(_O.reference == bindparam("key")))
_DUE = Statement(
    select(_O.reference, _O.backend_reference, _O.state)
    .where(_O.due_at_ms <= bindparam("now"))
    .order_by(_O.due_at_ms, _O.reference)
    .limit(bindparam("most"))
)
_NEXT_DUE = Statement(select(_O.due_at_ms).where(_O.due_at_ms.is_not(None)).order_by(_O.due_at_ms).limit(1))
_MOVE = Statement(
    update(backend_order)
    .where(_O.reference == bindparam("key"))
    .values(state=bindparam("to"), due_at_ms=bindparam("due"))
)
_UPDATES = Statement(
    select(backend_update).where(_U.seq > bindparam("after")).order_by(_U.seq).limit(bindparam("most"))
)
_ORDERS = Statement(
    select(backend_order)
    .where(_O.reference > bindparam("after"))
    .order_by(_O.reference)
    .limit(bindparam("most"))
)


def take(uow: UnitOfWork, order: BackendOrder, text: str, pace: Pace) -> tuple[BackendReceipt, int | None]:
    """Accept an order; returns its receipt and when it is due. ``text`` is `order_text` of it."""
    parcel = uow.new_id(ParcelId)
    due = pace.due_at_ms(WorkState.ACCEPTED, uow.now_ms)
    row = {
        "reference": order.reference,
        "backend_reference": parcel,
        "document": text,
        "state": "accepted",
        "due_at_ms": due,
        "created_at_ms": uow.now_ms,
    }
    if uow.run(_INSERT_ORDER, row):
        _announce(uow, order.reference, UpdateKind.ACCEPTED)
        return BackendReceipt(order.reference, parcel), due
    known = uow.row(_ORDER, {"key": order.reference})
    assert known is not None
    # Compared as values: the same address may come with its fields in another order.
    if known.document != text and decode(known.document) != decode(text):
        raise BackendRefusedError("fulfillment.reference_reused", "This reference stands for another order.")
    return BackendReceipt(order.reference, known.backend_reference), None


def order_text(order: BackendOrder) -> str:
    """Return the order as the text that is stored."""
    # By hand: `dataclasses.asdict` copies deeply and costs more than the insert.
    return encode(
        {
            "reference": order.reference,
            "order_id": order.order_id,
            "merchant_id": order.merchant_id,
            "location_code": order.location_code,
            "ship_to": dict(order.ship_to),
            "lines": [
                {"sku": line.sku, "quantity": line.quantity, "title": line.title} for line in order.lines
            ],
        }
    )


def receipt(reader: Reader, reference: str) -> BackendReceipt | None:
    row = reader.row(_ORDER, {"key": reference})
    return None if row is None else BackendReceipt(row.reference, row.backend_reference)


def cancel(uow: UnitOfWork, reference: str) -> CancelAnswer:
    row = uow.row(_ORDER, {"key": reference})
    if row is None:
        return CancelAnswer.UNKNOWN
    match WorkState(row.state):
        case WorkState.ACCEPTED:
            uow.run(_MOVE, _change(uow, row, WorkState.CANCELED, None))
            return CancelAnswer.CANCELED
        case WorkState.CANCELED | WorkState.REFUSED:
            return CancelAnswer.CANCELED
        case WorkState.PICKED | WorkState.DISPATCHED | WorkState.DELIVERED:
            return CancelAnswer.TOO_LATE


def operate(
    uow: UnitOfWork, reference: str, to: WorkState, pace: Pace, reason: str | None = None
) -> int | None:
    """Move one order by hand; returns when it is due next. Already there is fine."""
    row = uow.row(_ORDER, {"key": reference})
    if row is None:
        raise NotFoundError("backend.order_unknown", "The backend has no such order.")
    now = WorkState(row.state)
    if now == to:
        return None
    if to not in MOVES[now]:
        raise ConflictError("backend.move_refused", f"An order that is {now} cannot become {to}.")
    due = pace.due_at_ms(to, uow.now_ms)
    uow.run(_MOVE, _change(uow, row, to, due, reason))
    return due


def work_due(uow: UnitOfWork, pace: Pace) -> int:
    """Move every order that is due, at most a batch; returns how many."""
    changes = []
    for row in uow.rows(_DUE, {"now": uow.now_ms, "most": pace.batch}):
        to = _BY_ITSELF[WorkState(row.state)]
        changes.append(_change(uow, row, to, pace.due_at_ms(to, uow.now_ms)))
    uow.run_many(_MOVE, changes)
    return len(changes)


def next_due_ms(reader: Reader) -> int | None:
    """Return when the next order is due; None when none waits."""
    row = reader.row(_NEXT_DUE)
    return None if row is None else int(row.due_at_ms)


def updates(reader: Reader, after: str, limit: int) -> list[BackendUpdate]:
    """Return updates behind the cursor, which is the number of the last one."""
    rows = reader.rows(_UPDATES, {"after": int(after or "0"), "most": limit})
    return [
        BackendUpdate(
            cursor=str(row.seq),
            reference=row.reference,
            kind=UpdateKind(row.kind),
            at_ms=row.at_ms,
            tracking=None if row.number is None else Tracking(row.carrier, row.number),
            reason=row.reason,
        )
        for row in rows
    ]


def orders(reader: Reader, after: str, limit: int) -> list[Any]:
    """Return the rows of orders behind a reference."""
    return reader.rows(_ORDERS, {"after": after, "most": limit})


def _change(
    uow: UnitOfWork, row: Any, to: WorkState, due_at_ms: int | None, reason: str | None = None
) -> dict[str, Any]:
    """Announce a move and return the change to the order's row."""
    if to == WorkState.DISPATCHED:
        _announce(uow, row.reference, UpdateKind.DISPATCHED, number=row.backend_reference)
    elif to != WorkState.PICKED:
        _announce(uow, row.reference, UpdateKind(to), reason=reason)
    return {"key": row.reference, "to": str(to), "due": due_at_ms}


def _announce(
    uow: UnitOfWork, reference: str, kind: UpdateKind, *, number: str | None = None, reason: str | None = None
) -> None:
    # Appended rows of one table are inserted in the order they were appended, so an order's updates are
    # numbered in the order they happened even within one batch.
    uow.append(
        _INSERT_UPDATE,
        {
            "reference": reference,
            "kind": str(kind),
            "carrier": CARRIER if number else None,
            "number": number,
            "reason": reason,
            "at_ms": uow.now_ms,
        },
    )
