"""What becomes of held units: reserved for an order, then consumed or given back.

Every function runs inside the caller's unit of work and decides before it writes. Holding is in
`fulfillment.holds`, running out of time in `fulfillment.expiry`, counting in `fulfillment.pools`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import bindparam, select, update

from fulfillment import serials
from fulfillment.model import HoldId, HoldState, Moved, PoolKind, Reserved
from fulfillment.tables import inventory_hold, inventory_pool
from gateway.kernel.errors import ConflictError
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.kernel.subjects import OrderId, QuoteId

_P = inventory_pool.c
_H = inventory_hold.c

_SELECT_HOLDS = select(
    _H.hold_id,
    _H.pool_id,
    _H.quote_id,
    _H.order_id,
    _H.ref,
    _H.state,
    _H.quantity,
    _H.consumed,
    _H.released,
    _H.expires_at_ms,
    _P.kind,
    _P.sku,
    _P.location_code,
    _P.numbered,
).join_from(inventory_hold, inventory_pool, _H.pool_id == _P.pool_id)
# Pools in one order everywhere, so that two units lock them in the same order.
_BY_POOL = (_H.pool_id, _H.hold_id)
# The hot one. It is sorted here, not there: a quote mostly has one hold, and a sorter costs a microsecond.
_OF_QUOTE = Statement(_SELECT_HOLDS.where(_H.quote_id == bindparam("quote")))
_RESERVE = Statement(
    update(inventory_hold)
    .where(
        _H.hold_id == bindparam("hold"),
        _H.state == HoldState.HELD,
        _H.expires_at_ms > bindparam("now"),
    )
    .values(state=HoldState.RESERVED, order_id=bindparam("order"), expires_at_ms=bindparam("expires"))
)
_HELD_TO_RESERVED = Statement(
    update(inventory_pool)
    .where(_P.pool_id == bindparam("pool"), _P.held >= bindparam("units"))
    .values(held=_P.held - bindparam("units"), reserved=_P.reserved + bindparam("units"))
)


def reserve(uow: UnitOfWork, *, quote_id: QuoteId, order_id: OrderId, expires_at_ms: int) -> list[Reserved]:
    """Turn all holds of a quote into reservations of an order, or none.

    The unit's clock decides, not the sweep: a hold past its time is gone even if nobody swept it. Returns
    the reservations (none for a quote that wanted nothing scarce); the same order again gets them again.
    Raises ConflictError ``quote.expired`` when any hold is gone.
    """
    holds = uow.rows(_OF_QUOTE, {"quote": quote_id})
    if len(holds) > 1:
        holds.sort(key=lambda row: (row.pool_id, row.hold_id))
    now_ms = uow.now_ms
    for row in holds:
        if row.state != "held" or row.expires_at_ms <= now_ms:
            if all(row.state == "reserved" and row.order_id == order_id for row in holds):
                return [_reserved(row) for row in holds]
            raise _expired(quote_id)
    for row in holds:
        change = {"hold": row.hold_id, "order": order_id, "expires": expires_at_ms, "now": now_ms}
        if not uow.run(_RESERVE, change):
            raise _expired(quote_id)
        moved = uow.run(_HELD_TO_RESERVED, {"pool": row.pool_id, "units": row.quantity})
        assert moved, f"pool {row.pool_id} has less held than its holds"
    return [_reserved(row) for row in holds]


def _expired(quote_id: QuoteId) -> ConflictError:
    return ConflictError(
        "quote.expired",
        "What was held for this quote is free again; ask for a new quote.",
        data={"quote_id": quote_id},
    )


def _open_units(row: Any) -> int:
    units: int = row.quantity - row.consumed - row.released
    return units


def _reserved(row: Any) -> Reserved:
    return Reserved(
        HoldId(row.hold_id),
        row.pool_id,
        PoolKind(row.kind),
        row.sku,
        _open_units(row),
        row.ref,
        row.location_code,
        bool(row.numbered),
    )


# Locked where the database has row locks: the counts below are decided from what was read.
_OF_ORDER = Statement(
    _SELECT_HOLDS.where(_H.order_id == bindparam("order"), _H.state == HoldState.RESERVED)
    .order_by(*_BY_POOL)
    .with_for_update(of=inventory_hold)
)
_HELD_FOR_QUOTE = Statement(
    _SELECT_HOLDS.where(_H.quote_id == bindparam("quote"), _H.state == HoldState.HELD)
    .order_by(*_BY_POOL)
    .with_for_update(of=inventory_hold)
)
_ONE = Statement(_SELECT_HOLDS.where(_H.hold_id == bindparam("hold")).with_for_update(of=inventory_hold))
_READ_OF_ORDER = Statement(
    _SELECT_HOLDS.where(_H.order_id == bindparam("order"), _H.state == HoldState.RESERVED).order_by(*_BY_POOL)
)
_SET_HOLD = Statement(
    update(inventory_hold)
    .where(
        _H.hold_id == bindparam("hold"),
        _H.state == bindparam("was_state"),
        _H.consumed == bindparam("was_consumed"),
        _H.released == bindparam("was_released"),
    )
    .values(state=bindparam("to"), consumed=bindparam("consumed_"), released=bindparam("released_"))
)
_RESERVED_TO_GONE = Statement(
    update(inventory_pool)
    .where(_P.pool_id == bindparam("pool"), _P.reserved >= bindparam("units"))
    .values(
        reserved=_P.reserved - bindparam("units"),
        on_hand=_P.on_hand - bindparam("units"),
        issued=_P.issued + bindparam("copies"),
    )
)
FREE_UNITS = {
    state: Statement(
        update(inventory_pool)
        .where(_P.pool_id == bindparam("pool"), column >= bindparam("units"))
        .values({column: column - bindparam("units")})
    )
    for state, column in ((HoldState.HELD, _P.held), (HoldState.RESERVED, _P.reserved))
}


def reservations(reader: Reader, order_id: OrderId) -> list[Reserved]:
    """Return what is still reserved for an order, by pool."""
    return [_reserved(row) for row in reader.rows(_READ_OF_ORDER, {"order": order_id})]


def consume(
    uow: UnitOfWork,
    *,
    hold_id: HoldId | None = None,
    order_id: OrderId | None = None,
    pool_id: str | None = None,
    quantity: int | None = None,
) -> list[Moved]:
    """Take reserved units out of the pool for good: dispatched, carried out, minted, entitled.

    Names either a hold, or an order and one of its pools. Without ``quantity`` everything still reserved
    there goes. Not idempotent by itself: call it in the unit that records the fact once. Raises
    ConflictError ``stock.not_reserved`` when less is reserved than asked for.
    """
    if hold_id is not None:
        assert order_id is None and pool_id is None
        rows = [row for row in uow.rows(_ONE, {"hold": hold_id}) if row.state == HoldState.RESERVED]
    else:
        assert order_id is not None and pool_id is not None
        rows = [row for row in uow.rows(_OF_ORDER, {"order": order_id}) if row.pool_id == pool_id]
    shares = _shares(rows, quantity)
    for row, units in shares:
        copies = units if row.kind == PoolKind.EDITION else 0
        _set_hold(uow, row, consumed=row.consumed + units, released=row.released, closed=HoldState.CONSUMED)
        if row.numbered:
            serials.issue(uow, pool_id=row.pool_id, hold_id=HoldId(row.hold_id), quantity=units)
        changed = uow.run(_RESERVED_TO_GONE, {"pool": row.pool_id, "units": units, "copies": copies})
        assert changed, f"pool {row.pool_id} has less reserved than its holds"
    return [_moved(row, units) for row, units in shares]


def release(
    uow: UnitOfWork,
    *,
    order_id: OrderId | None = None,
    quote_id: QuoteId | None = None,
    hold_id: HoldId | None = None,
    quantity: int | None = None,
) -> list[Moved]:
    """Give units back to the pool; returns what was given back, nothing when nothing was open.

    By quote: what is held for it, never what an order has reserved since. By order: all its reservations.
    By hold: either; of a reservation ``quantity`` may give back a part (raises ConflictError
    ``stock.not_reserved`` when less is reserved). Numbers of copies that are not out become free.
    """
    if hold_id is not None:
        assert order_id is None and quote_id is None
        found = uow.rows(_ONE, {"hold": hold_id})
        wanted = {HoldState.RESERVED} if quantity is not None else {HoldState.HELD, HoldState.RESERVED}
        rows = [row for row in found if row.state in wanted]
    elif order_id is not None:
        assert quote_id is None and quantity is None
        rows = uow.rows(_OF_ORDER, {"order": order_id})
    else:
        assert quote_id is not None and quantity is None
        rows = uow.rows(_HELD_FOR_QUOTE, {"quote": quote_id})
    if quantity is None and not rows:
        return []
    shares = _shares(rows, quantity)
    for row, units in shares:
        closed = HoldState.CONSUMED if row.consumed else HoldState.RELEASED
        _set_hold(uow, row, consumed=row.consumed, released=row.released + units, closed=closed)
        if row.numbered:
            left = _open_units(row) - units
            serials.keep_only(uow, pool_id=row.pool_id, hold_id=HoldId(row.hold_id), quantity=left)
        changed = uow.run(FREE_UNITS[HoldState(row.state)], {"pool": row.pool_id, "units": units})
        assert changed, f"pool {row.pool_id} counts less than its holds"
    return [_moved(row, units) for row, units in shares]


def _shares(rows: Iterable[Any], quantity: int | None) -> list[tuple[Any, int]]:
    """Spread a quantity over holds in their order; all of it, or ConflictError ``stock.not_reserved``."""
    shares = []
    left = quantity
    for row in rows:
        units = _open_units(row) if left is None else min(left, _open_units(row))
        if units:
            shares.append((row, units))
        if left is not None:
            left -= units
    if left or not shares:
        raise ConflictError(
            "stock.not_reserved",
            "Less is reserved than asked for.",
            data={"requested": quantity, "missing": left},
        )
    return shares


def _set_hold(uow: UnitOfWork, row: Any, *, consumed: int, released: int, closed: HoldState) -> None:
    done = consumed + released == row.quantity
    changed = uow.run(
        _SET_HOLD,
        {
            "hold": row.hold_id,
            "was_state": row.state,
            "was_consumed": row.consumed,
            "was_released": row.released,
            "to": str(closed) if done else row.state,
            "consumed_": consumed,
            "released_": released,
        },
    )
    assert changed, "the hold was read under its row lock"


def _moved(row: Any, units: int) -> Moved:
    return Moved(HoldId(row.hold_id), row.pool_id, PoolKind(row.kind), row.sku, units)
