"""Numbers of the copies of a numbered edition: 1 to its cap, each out at most once.

A number is taken for a reservation before its copy is made, issued when the copy is out, and free again
when the copy was given up or taken back. Free numbers go out again before new ones, lowest first.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, func, select, update

from fulfillment.model import HoldId, HoldState, SerialState
from fulfillment.tables import inventory_hold, inventory_pool, inventory_serial
from gateway.kernel.errors import ConflictError
from gateway.kernel.store.statements import Statement, insert_into
from gateway.kernel.store.unit import UnitOfWork

_P = inventory_pool.c
_H = inventory_hold.c
_S = inventory_serial.c

# Locked where the database has row locks: two who ask for one reservation must get the same numbers.
_HOLD = Statement(
    select(
        _H.pool_id,
        _H.state,
        _H.quantity,
        _H.consumed,
        _H.released,
        _P.sku,
        _P.numbered,
    )
    .join_from(inventory_hold, inventory_pool, _H.pool_id == _P.pool_id)
    .where(_H.hold_id == bindparam("hold"))
    .with_for_update(of=inventory_hold)
)
_OF_HOLD = Statement(select(_S.serial, _S.state).where(_S.hold_id == bindparam("hold")).order_by(_S.serial))
_LOWEST_FREE = Statement(
    select(_S.serial)
    .where(_S.pool_id == bindparam("pool"), _S.state == SerialState.FREE)
    .order_by(_S.serial)
    .limit(bindparam("most"))
)
_CLAIM = Statement(
    update(inventory_serial)
    .where(_S.pool_id == bindparam("pool"), _S.serial == bindparam("number"), _S.state == SerialState.FREE)
    .values(state=SerialState.TAKEN, hold_id=bindparam("hold"))
)
_ADVANCE = Statement(
    update(inventory_pool)
    .where(
        _P.pool_id == bindparam("pool"),
        _P.numbered == 1,
        # Numbers end at the cap, which is what is on hand and what is out.
        _P.next_serial + bindparam("count") - 1 <= _P.on_hand + _P.issued,
    )
    .values(next_serial=_P.next_serial + bindparam("count"))
    .returning(_P.next_serial)
)
_INSERT = insert_into(inventory_serial)
_SET = Statement(
    update(inventory_serial)
    .where(_S.pool_id == bindparam("pool"), _S.serial == bindparam("number"), _S.state == bindparam("was"))
    .values(state=bindparam("to"), hold_id=bindparam("hold"))
)


def take_serials(uow: UnitOfWork, *, hold_id: HoldId) -> list[int]:
    """Return the numbers of all copies a reservation stands for, taking those it does not have yet.

    The same reservation gets the same numbers again, lowest first, issued ones included. Raises
    ConflictError ``stock.not_reserved`` for a hold that is not reserved (or was given up) and
    ``edition.sold_out`` when another took the last number at the same moment.
    """
    hold = uow.row(_HOLD, {"hold": hold_id})
    if hold is None or not hold.numbered or hold.state not in {HoldState.RESERVED, HoldState.CONSUMED}:
        raise ConflictError("stock.not_reserved", "No copies of a numbered edition are reserved here.")
    known = uow.rows(_OF_HOLD, {"hold": hold_id})
    numbers = [row.serial for row in known]
    # Only copies still to be made need numbers: one that came back must not get its hold another.
    still_reserved = hold.quantity - hold.consumed - hold.released
    missing = still_reserved - sum(row.state == SerialState.TAKEN for row in known)
    if missing <= 0:
        return numbers
    for row in uow.rows(_LOWEST_FREE, {"pool": hold.pool_id, "most": missing}):
        # Somebody else may claim it first; then a new number is taken below.
        if uow.run(_CLAIM, {"pool": hold.pool_id, "number": row.serial, "hold": hold_id}):
            numbers.append(row.serial)
            missing -= 1
    if missing:
        after = uow.row(_ADVANCE, {"pool": hold.pool_id, "count": missing})
        if after is None:
            raise ConflictError("edition.sold_out", "The last number was taken.", data={"sku": hold.sku})
        fresh = range(after.next_serial - missing, after.next_serial)
        uow.run_many(
            _INSERT,
            [
                {"pool_id": hold.pool_id, "serial": number, "state": "taken", "hold_id": hold_id}
                for number in fresh
            ],
        )
        numbers.extend(fresh)
    return sorted(numbers)


def issue(uow: UnitOfWork, *, pool_id: str, hold_id: HoldId, quantity: int) -> None:
    """Mark the hold's lowest taken numbers as out. Copies of a hold are made in the order of their numbers.

    A copy that was made without a number (never asked for) has none to mark.
    """
    taken = [row.serial for row in uow.rows(_OF_HOLD, {"hold": hold_id}) if row.state == SerialState.TAKEN]
    _move(uow, pool_id, taken[:quantity], was=SerialState.TAKEN, to=SerialState.ISSUED, hold_id=hold_id)


def keep_only(uow: UnitOfWork, *, pool_id: str, hold_id: HoldId, quantity: int) -> None:
    """Free the hold's taken numbers but the lowest ``quantity``: the rest of its copies will not be made."""
    taken = [row.serial for row in uow.rows(_OF_HOLD, {"hold": hold_id}) if row.state == SerialState.TAKEN]
    _move(uow, pool_id, taken[quantity:], was=SerialState.TAKEN, to=SerialState.FREE)


def take_back(uow: UnitOfWork, *, pool_id: str, numbers: Sequence[int]) -> None:
    """Free the numbers of copies that were out and are destroyed. Raises ConflictError
    ``edition.serial_not_issued`` when one of them is not out."""
    _move(uow, pool_id, numbers, was=SerialState.ISSUED, to=SerialState.FREE)


_ISSUED = Statement(
    select(func.count().label("count")).where(
        _S.pool_id == bindparam("pool"), _S.serial == bindparam("number"), _S.state == SerialState.ISSUED
    )
)


def all_issued(uow: UnitOfWork, *, pool_id: str, numbers: Sequence[int]) -> bool:
    """Whether each of the numbers is out."""
    return all(uow.rows(_ISSUED, {"pool": pool_id, "number": number})[0].count for number in numbers)


def _move(
    uow: UnitOfWork,
    pool_id: str,
    numbers: Sequence[int],
    *,
    was: SerialState,
    to: SerialState,
    hold_id: HoldId | None = None,
) -> None:
    for number in numbers:
        change = {"pool": pool_id, "number": number, "was": str(was), "to": str(to), "hold": hold_id}
        if not uow.run(_SET, change):
            raise ConflictError("edition.serial_not_issued", "This copy is not out.", data={"serial": number})
