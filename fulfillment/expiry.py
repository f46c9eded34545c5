"""Holds and reservations that ran out of time."""

from __future__ import annotations

from sqlalchemy import bindparam, select, update

from fulfillment.inventory import FREE_UNITS
from fulfillment.model import ExpiredReservation, HoldId, HoldState, SweepResult
from fulfillment.tables import inventory_hold
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import UnitOfWork
from gateway.kernel.subjects import OrderId, QuoteId

_H = inventory_hold.c

_EXTEND = Statement(
    update(inventory_hold)
    .where(_H.order_id == bindparam("order"), _H.state == HoldState.RESERVED)
    .values(expires_at_ms=bindparam("expires"))
)


def extend(uow: UnitOfWork, *, order_id: OrderId, expires_at_ms: int) -> int:
    """Set when the order's reservations want a decision next; returns how many there are."""
    return uow.run(_EXTEND, {"order": order_id, "expires": expires_at_ms})


_DUE = (
    select(_H.hold_id)
    .where(_H.state == HoldState.HELD, _H.expires_at_ms <= bindparam("now"))
    .order_by(_H.expires_at_ms)
    .limit(bindparam("most"))
)
_EXPIRE = Statement(
    update(inventory_hold)
    .where(_H.hold_id.in_(_DUE), _H.state == HoldState.HELD)
    .values(state=HoldState.EXPIRED, released=_H.quantity)
    .returning(_H.quote_id, _H.pool_id, _H.quantity)
)
_LATE_RESERVATIONS = Statement(
    select(_H.order_id, _H.hold_id)
    .where(_H.state == HoldState.RESERVED, _H.expires_at_ms <= bindparam("now"))
    .order_by(_H.expires_at_ms, _H.hold_id)
    .limit(bindparam("most"))
)


def sweep(uow: UnitOfWork, *, limit: int = 200) -> SweepResult:
    """Free what quotes held too long, and name the orders whose reservations are late.

    Reservations are not touched: the purchase process knows whether a payment is still open, and answers
    with `release` or `extend`. Until it does, every sweep names the oldest ``limit`` again.
    """
    asked = {"now": uow.now_ms, "most": limit}
    gone = uow.rows(_EXPIRE, asked)
    units: dict[str, int] = {}
    for row in gone:
        units[row.pool_id] = units.get(row.pool_id, 0) + row.quantity
    for pool_id, quantity in sorted(units.items()):
        changed = uow.run(FREE_UNITS[HoldState.HELD], {"pool": pool_id, "units": quantity})
        assert changed, f"pool {pool_id} has less held than its holds"
    late: dict[str, list[HoldId]] = {}
    for row in uow.rows(_LATE_RESERVATIONS, asked):
        late.setdefault(row.order_id, []).append(HoldId(row.hold_id))
    return SweepResult(
        tuple(QuoteId(quote_id) for quote_id in dict.fromkeys(row.quote_id for row in gone)),
        tuple(ExpiredReservation(OrderId(order), tuple(holds)) for order, holds in late.items()),
        more=len(gone) == limit,
    )
