"""Fulfillment orders: what one location ships of an order, and what became of it.

Functions run inside the caller's unit. Recording is idempotent: it returns the facts that are new, in
their order, and an empty tuple for what was known already. The purchase process turns facts into captures,
consumed stock and events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import bindparam, insert, select, update

from fulfillment.backends.port import BackendLine, BackendOrder, BackendUpdate, Tracking
from fulfillment.model import (
    Contradiction,
    FulfillmentFact,
    FulfillmentLine,
    FulfillmentOrder,
    FulfillmentOrderId,
    HoldId,
)
from fulfillment.states import ALLOWED_MOVES, FulfillmentState, moves_to
from fulfillment.tables import fulfillment_line, fulfillment_order
from gateway.kernel.documents import decode, encode
from gateway.kernel.errors import InvalidError, NotFoundError
from gateway.kernel.store.statements import Statement, insert_into
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.kernel.subjects import LegId, MerchantId, OrderId

Recorded = tuple[FulfillmentFact | Contradiction, ...]

_F = fulfillment_order.c
_L = fulfillment_line.c
_NEW = (
    "fulfillment_order_id",
    "order_id",
    "merchant_id",
    "location_code",
    "backend",
    "ship_to",
    "state",
    "created_at_ms",
)
_INSERT_ORDER = Statement(insert(fulfillment_order).values({name: bindparam(name) for name in _NEW}))
_INSERT_LINE = insert_into(fulfillment_line)
_ORDER = Statement(select(fulfillment_order).where(_F.fulfillment_order_id == bindparam("id")))
_OF_ORDER = Statement(
    select(fulfillment_order).where(_F.order_id == bindparam("order")).order_by(_F.fulfillment_order_id)
)
_LINES = Statement(
    select(fulfillment_line).where(_L.fulfillment_order_id == bindparam("id")).order_by(_L.leg_id)
)
# An order with its lines in one statement, the order's columns repeated: recording is done four times for
# every parcel. Locked where the database has row locks, because the moves are decided from what was read.
_RECORDED = Statement(
    select(
        _F.fulfillment_order_id,
        _F.order_id,
        _F.merchant_id,
        _F.state,
        _F.backend_reference,
        _F.tracking_carrier,
        _F.tracking_number,
        _F.tracking_url,
        _F.contradiction,
        _L.leg_id,
        _L.sku,
        _L.quantity,
        _L.title,
        _L.hold_id,
    )
    .join_from(fulfillment_order, fulfillment_line, _F.fulfillment_order_id == _L.fulfillment_order_id)
    .where(_F.fulfillment_order_id == bindparam("id"))
    .order_by(_L.leg_id)
    .with_for_update(of=fulfillment_order)
)


@cache
def _update_of(columns: tuple[str, ...]) -> Statement:
    """Return the update of just these columns; there are few combinations."""
    return Statement(
        update(fulfillment_order)
        .where(_F.fulfillment_order_id == bindparam("id"), _F.state == bindparam("was"))
        .values({name: bindparam(f"{name}_") for name in columns})
    )


_TIME_OF = {
    FulfillmentState.SENT: "sent_at_ms",
    FulfillmentState.ACCEPTED: "accepted_at_ms",
    FulfillmentState.DISPATCHED: "dispatched_at_ms",
    FulfillmentState.DELIVERED: "delivered_at_ms",
    FulfillmentState.CANCELED: "closed_at_ms",
    FulfillmentState.REFUSED: "closed_at_ms",
}


def create_fulfillment_order(
    uow: UnitOfWork,
    *,
    order_id: OrderId,
    merchant_id: MerchantId,
    location_code: str,
    backend: str,
    ship_to: Mapping[str, Any],
    lines: Sequence[FulfillmentLine],
) -> FulfillmentOrderId:
    """Write a fulfillment order in state ``created`` and return its id, which is also the reference under
    which the backend is asked. ``ship_to`` is plain JSON. One line per leg."""
    if not lines:
        raise InvalidError("fulfillment.empty", "A fulfillment order ships at least one line.")
    fulfillment_order_id = uow.new_id(FulfillmentOrderId)
    uow.run(
        _INSERT_ORDER,
        {
            "fulfillment_order_id": fulfillment_order_id,
            "order_id": order_id,
            "merchant_id": merchant_id,
            "location_code": location_code,
            "backend": backend,
            "ship_to": encode(dict(ship_to)),
            "state": "created",
            "created_at_ms": uow.now_ms,
        },
    )
    uow.run_many(
        _INSERT_LINE,
        [
            {
                "fulfillment_order_id": fulfillment_order_id,
                "leg_id": line.leg_id,
                "sku": line.sku,
                "quantity": line.quantity,
                "title": line.title,
                "hold_id": line.hold_id,
            }
            for line in lines
        ],
    )
    return fulfillment_order_id


def record_sent(
    uow: UnitOfWork, fulfillment_order_id: FulfillmentOrderId, *, backend_reference: str
) -> Recorded:
    """The backend gave a receipt."""
    return _record(
        uow, fulfillment_order_id, FulfillmentState.SENT, uow.now_ms, backend_reference=backend_reference
    )


def record_accepted(
    uow: UnitOfWork, fulfillment_order_id: FulfillmentOrderId, *, at_ms: int | None = None
) -> Recorded:
    return _record(uow, fulfillment_order_id, FulfillmentState.ACCEPTED, at_ms or uow.now_ms)


def record_dispatched(
    uow: UnitOfWork,
    fulfillment_order_id: FulfillmentOrderId,
    *,
    tracking: Tracking | None,
    at_ms: int | None = None,
) -> Recorded:
    return _record(
        uow, fulfillment_order_id, FulfillmentState.DISPATCHED, at_ms or uow.now_ms, tracking=tracking
    )


def record_delivered(
    uow: UnitOfWork, fulfillment_order_id: FulfillmentOrderId, *, at_ms: int | None = None
) -> Recorded:
    return _record(uow, fulfillment_order_id, FulfillmentState.DELIVERED, at_ms or uow.now_ms)


def record_canceled(
    uow: UnitOfWork,
    fulfillment_order_id: FulfillmentOrderId,
    *,
    reason: str | None = None,
    at_ms: int | None = None,
) -> Recorded:
    return _record(uow, fulfillment_order_id, FulfillmentState.CANCELED, at_ms or uow.now_ms, reason=reason)


def record_refused(
    uow: UnitOfWork,
    fulfillment_order_id: FulfillmentOrderId,
    *,
    reason: str | None,
    at_ms: int | None = None,
) -> Recorded:
    return _record(uow, fulfillment_order_id, FulfillmentState.REFUSED, at_ms or uow.now_ms, reason=reason)


def record_update(uow: UnitOfWork, told: BackendUpdate) -> Recorded:
    """Record one update of a backend's feed.

    A reference we do not know records nothing: a backend may ship for others too.
    """
    rows = uow.rows(_RECORDED, {"id": told.reference})
    if not rows:
        return ()
    return _apply(
        uow, rows, FulfillmentState(told.kind), told.at_ms, tracking=told.tracking, reason=told.reason
    )


def _record(
    uow: UnitOfWork,
    fulfillment_order_id: FulfillmentOrderId,
    told: FulfillmentState,
    at_ms: int,
    *,
    tracking: Tracking | None = None,
    reason: str | None = None,
    backend_reference: str | None = None,
) -> Recorded:
    rows = uow.rows(_RECORDED, {"id": fulfillment_order_id})
    if not rows:
        raise _unknown(fulfillment_order_id)
    return _apply(
        uow, rows, told, at_ms, tracking=tracking, reason=reason, backend_reference=backend_reference
    )


def _apply(
    uow: UnitOfWork,
    rows: Sequence[Any],
    told: FulfillmentState,
    at_ms: int,
    *,
    tracking: Tracking | None = None,
    reason: str | None = None,
    backend_reference: str | None = None,
) -> Recorded:
    """Make what was told true. The only place where a fulfillment order changes."""
    row = rows[0]
    before = state = FulfillmentState(row.state)
    steps = moves_to(before, told)
    changes: dict[str, Any] = {}
    for step in steps or ():
        assert step in ALLOWED_MOVES[state]
        state = step
        changes[f"{_TIME_OF[step]}_"] = at_ms
    if steps:
        changes["state_"] = state.value
        if reason is not None:
            changes["reason_"] = reason
    # A receipt or a tracking number is worth keeping even when its news is old.
    if backend_reference is not None and backend_reference != row.backend_reference:
        changes["backend_reference_"] = backend_reference
    known = _tracking(row)
    if tracking is not None and tracking != known:
        known = tracking
        changes["tracking_carrier_"] = tracking.carrier
        changes["tracking_number_"] = tracking.number
        changes["tracking_url_"] = tracking.url
    told_against = steps is None and row.contradiction is None
    if told_against:
        changes["contradiction_"] = told.value
    if changes:
        statement = _update_of(tuple(name[:-1] for name in changes))
        changes["id"] = row.fulfillment_order_id
        changes["was"] = row.state
        changed = uow.run(statement, changes)
        assert changed, "the row was read under its lock"
    fulfillment_order_id = FulfillmentOrderId(row.fulfillment_order_id)
    order_id, merchant_id = OrderId(row.order_id), MerchantId(row.merchant_id)
    if told_against:
        return (Contradiction(fulfillment_order_id, order_id, merchant_id, before, told, at_ms),)
    if not steps:
        return ()
    lines = tuple(map(_line, rows))
    return tuple(
        FulfillmentFact(step, fulfillment_order_id, order_id, merchant_id, lines, known, reason, at_ms)
        for step in steps
    )


def load(reader: Reader, fulfillment_order_id: FulfillmentOrderId) -> FulfillmentOrder:
    """Return a fulfillment order. Raises NotFoundError ``fulfillment.order_unknown``."""
    row = reader.row(_ORDER, {"id": fulfillment_order_id})
    if row is None:
        raise _unknown(fulfillment_order_id)
    return _view(reader, row)


def of_order(reader: Reader, order_id: OrderId) -> list[FulfillmentOrder]:
    """Return the order's fulfillment orders, oldest first."""
    return [_view(reader, row) for row in reader.rows(_OF_ORDER, {"order": order_id})]


def for_backend(order: FulfillmentOrder) -> BackendOrder:
    """Return what the backend is asked to ship."""
    return BackendOrder(
        reference=order.fulfillment_order_id,
        order_id=order.order_id,
        merchant_id=order.merchant_id,
        location_code=order.location_code,
        ship_to=order.ship_to,
        lines=tuple(BackendLine(line.sku, line.quantity, line.title) for line in order.lines),
    )


def _view(reader: Reader, row: Any) -> FulfillmentOrder:
    fulfillment_order_id = FulfillmentOrderId(row.fulfillment_order_id)
    return FulfillmentOrder(
        fulfillment_order_id=fulfillment_order_id,
        order_id=OrderId(row.order_id),
        merchant_id=MerchantId(row.merchant_id),
        location_code=row.location_code,
        backend=row.backend,
        backend_reference=row.backend_reference,
        state=FulfillmentState(row.state),
        ship_to=decode(row.ship_to),
        lines=tuple(map(_line, reader.rows(_LINES, {"id": fulfillment_order_id}))),
        tracking=_tracking(row),
        reason=row.reason,
        contradiction=row.contradiction,
        created_at_ms=row.created_at_ms,
        dispatched_at_ms=row.dispatched_at_ms,
        delivered_at_ms=row.delivered_at_ms,
    )


def _line(row: Any) -> FulfillmentLine:
    hold_id = HoldId(row.hold_id) if row.hold_id else None
    return FulfillmentLine(LegId(row.leg_id), row.sku, row.quantity, row.title, hold_id)


def _tracking(row: Any) -> Tracking | None:
    if row.tracking_number is None:
        return None
    return Tracking(row.tracking_carrier, row.tracking_number, row.tracking_url)


def _unknown(fulfillment_order_id: str) -> NotFoundError:
    return NotFoundError(
        "fulfillment.order_unknown",
        "There is no such fulfillment order.",
        data={"fulfillment_order_id": fulfillment_order_id},
    )
