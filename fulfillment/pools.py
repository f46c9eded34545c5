"""Counting: opening pools, stock takes, adjustments, edition caps, goods and copies that come back, levels.

Every change of what is on hand, other than consuming a reservation, leaves an adjustment row. So for each
pool: on hand = the sum of its adjustments - what its holds consumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Update, bindparam, select, update

from fulfillment import serials
from fulfillment.model import (
    UNCAPPED_COPIES,
    AdjustmentId,
    Level,
    PoolKind,
    edition_pool_id,
    stock_pool_id,
)
from fulfillment.tables import inventory_adjustment, inventory_pool
from gateway.kernel.errors import ConflictError, InvalidError, NotFoundError
from gateway.kernel.store.statements import Statement, insert_new
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.kernel.subjects import MerchantId

_P = inventory_pool.c
_A = inventory_adjustment.c
_PROMISED = _P.held + _P.reserved

_SELECT_POOL = select(
    _P.pool_id,
    _P.merchant_id,
    _P.kind,
    _P.sku,
    _P.location_code,
    _P.on_hand,
    _P.held,
    _P.reserved,
    _P.issued,
    _P.numbered,
    _P.next_serial,
)
_POOL = Statement(_SELECT_POOL.where(_P.pool_id == bindparam("pool")).with_for_update())
_INSERT_POOL = insert_new(inventory_pool)
_INSERT_ADJUSTMENT = insert_new(inventory_adjustment)
_KNOWN = Statement(
    select(_A.adjustment_id).where(_A.pool_id == bindparam("pool"), _A.reference == bindparam("name"))
)


def _change(**values: Any) -> Update:
    return (
        update(inventory_pool)
        .where(_P.pool_id == bindparam("pool"), _P.on_hand + bindparam("delta") >= _PROMISED)
        .values(on_hand=_P.on_hand + bindparam("delta"), **values)
    )


_ADJUST = Statement(_change())
_RECAP = Statement(_change(numbered=bindparam("numbers")))
_TAKE_BACK_COPIES = Statement(
    _change(issued=_P.issued - bindparam("copies")).where(_P.issued >= bindparam("copies"))
)


def set_pool(
    uow: UnitOfWork,
    *,
    merchant_id: MerchantId,
    sku: str,
    location_code: str,
    on_hand: int,
    only_new: bool = False,
    reason: str = "count",
) -> str:
    """Set what is on hand of a SKU at a location, opening its pool if need be, and return the pool's id.

    With ``only_new`` a pool that exists stays as it is: importing products again must not undo sales.
    Raises ConflictError ``stock.below_promised`` (data: minimum) when quotes and orders need more.
    """
    if on_hand < 0:
        raise InvalidError("stock.negative", "What is on hand cannot be below zero.")
    pool_id = stock_pool_id(merchant_id, sku, location_code)
    pool = uow.row(_POOL, {"pool": pool_id})
    if pool is None:
        names: dict[str, Any] = {
            "merchant_id": merchant_id,
            "kind": "stock",
            "sku": sku,
            "location_code": location_code,
        }
        if _open_pool(uow, pool_id, on_hand, **names):
            return pool_id
        pool = uow.row(_POOL, {"pool": pool_id})  # another connection opened it just now
        assert pool is not None
    delta = on_hand - pool.on_hand
    if not only_new and delta:
        _apply(uow, pool, delta, reason, None)
    return pool_id


def define_edition(
    uow: UnitOfWork, *, merchant_id: MerchantId, sku: str, cap: int | None, numbered: bool
) -> str:
    """Set how many copies of a digital edition may ever exist, and return its pool's id.

    A cap of None means no cap; such a pool exists to give out numbers and to count. Raises ConflictError
    ``edition.cap_below_issued`` (data: minimum) when more copies are promised, out or numbered, and
    ``edition.numbering_fixed`` when copies are promised or out and numbering would change.
    """
    copies = UNCAPPED_COPIES if cap is None else cap
    if not 0 < copies <= UNCAPPED_COPIES:
        raise InvalidError("edition.cap", "A cap is a whole number above zero.")
    pool_id = edition_pool_id(merchant_id, sku)
    pool = uow.row(_POOL, {"pool": pool_id})
    if pool is None:
        names: dict[str, Any] = {
            "merchant_id": merchant_id,
            "kind": "edition",
            "sku": sku,
            "location_code": None,
        }
        if _open_pool(uow, pool_id, copies, numbered=numbered, **names):
            return pool_id
        pool = uow.row(_POOL, {"pool": pool_id})
        assert pool is not None
    out = pool.held + pool.reserved + pool.issued
    if out and bool(pool.numbered) != numbered:
        raise ConflictError(
            "edition.numbering_fixed",
            "Copies of this edition are out; its numbering stays.",
            data={"sku": sku},
        )
    delta = copies - pool.on_hand - pool.issued
    minimum = max(out, pool.next_serial - 1)
    if copies < minimum:
        raise _cap_too_low(sku, minimum)
    if delta or bool(pool.numbered) != numbered:
        if not uow.run(_RECAP, {"pool": pool_id, "delta": delta, "numbers": int(numbered)}):
            raise _cap_too_low(sku, minimum)
        _record(uow, pool_id, delta, "cap", None)
    return pool_id


def adjust(uow: UnitOfWork, pool_id: str, delta: int, reason: str, *, reference: str | None = None) -> bool:
    """Change what is on hand of a stock pool: delivery, breakage, theft, a found unit.

    With a ``reference`` a repeat changes nothing. Returns whether it changed. Raises NotFoundError
    ``stock.pool_unknown``, ConflictError ``stock.below_promised``.
    """
    pool = _known_pool(uow, pool_id)
    if pool.kind != PoolKind.STOCK:
        raise InvalidError("stock.not_counted", "An edition has a cap; it is not counted.")
    if _done_before(uow, pool_id, reference):
        return False
    _apply(uow, pool, delta, reason, reference)
    return True


def put_back(
    uow: UnitOfWork,
    *,
    pool_id: str,
    quantity: int,
    reason: str,
    reference: str,
    numbers: Sequence[int] = (),
) -> bool:
    """Return consumed units to a pool: goods that came back (any location), copies that were burned.

    ``reference`` names the return; a repeat changes nothing and gives False. A numbered edition wants the
    ``numbers`` of the copies, which may then go out again. Raises ConflictError
    ``edition.serial_not_issued`` or ``edition.not_issued`` when those copies are not out.
    """
    if quantity <= 0:
        raise InvalidError("stock.quantity", "A quantity is a whole number above zero.")
    pool = _known_pool(uow, pool_id)
    if _done_before(uow, pool_id, reference):
        return False
    if pool.kind == PoolKind.STOCK:
        _apply(uow, pool, quantity, reason, reference)
        return True
    if pool.numbered and len(set(numbers)) != quantity:
        raise InvalidError("edition.numbers_missing", "Say which numbered copies come back.")
    if pool.issued < quantity:
        raise ConflictError("edition.not_issued", "Fewer copies are out.", data={"issued": pool.issued})
    if pool.numbered and not serials.all_issued(uow, pool_id=pool_id, numbers=numbers):
        raise ConflictError("edition.serial_not_issued", "One of these copies is not out.")
    _record(uow, pool_id, quantity, reason, reference)
    changed = uow.run(_TAKE_BACK_COPIES, {"pool": pool_id, "delta": quantity, "copies": quantity})
    assert changed, "the pool was read under its row lock"
    if pool.numbered:
        serials.take_back(uow, pool_id=pool_id, numbers=numbers)
    return True


def _known_pool(uow: UnitOfWork, pool_id: str) -> Any:
    pool = uow.row(_POOL, {"pool": pool_id})
    if pool is None:
        raise NotFoundError(
            "stock.pool_unknown", "Nothing is counted under this pool.", data={"pool_id": pool_id}
        )
    return pool


def _open_pool(uow: UnitOfWork, pool_id: str, on_hand: int, *, numbered: bool = False, **names: Any) -> bool:
    """Insert a pool unless another connection just did; ``names`` are its remaining columns."""
    row = names | {
        "pool_id": pool_id,
        "on_hand": on_hand,
        "held": 0,
        "reserved": 0,
        "issued": 0,
        "numbered": int(numbered),
        "next_serial": 1,
    }
    if not uow.run(_INSERT_POOL, row):
        return False
    _record(uow, pool_id, on_hand, "opened", None)
    return True


def _apply(uow: UnitOfWork, pool: Any, delta: int, reason: str, reference: str | None) -> None:
    minimum = pool.held + pool.reserved
    if pool.on_hand + delta < minimum or not uow.run(_ADJUST, {"pool": pool.pool_id, "delta": delta}):
        raise ConflictError(
            "stock.below_promised",
            "Quotes and orders were promised more than would be left.",
            data={"sku": pool.sku, "minimum": minimum},
        )
    _record(uow, pool.pool_id, delta, reason, reference)


def _done_before(uow: UnitOfWork, pool_id: str, reference: str | None) -> bool:
    return reference is not None and uow.row(_KNOWN, {"pool": pool_id, "name": reference}) is not None


def _record(uow: UnitOfWork, pool_id: str, delta: int, reason: str, reference: str | None) -> None:
    # The pool row is locked by now, so a repeat of the same reference has been seen by `_done_before`.
    uow.run(
        _INSERT_ADJUSTMENT,
        {
            "adjustment_id": uow.new_id(AdjustmentId),
            "pool_id": pool_id,
            "delta": delta,
            "reason": reason,
            "reference": reference,
            "at_ms": uow.now_ms,
        },
    )


def _cap_too_low(sku: str, minimum: int) -> ConflictError:
    return ConflictError(
        "edition.cap_below_issued",
        f"{minimum} copies are already out or promised.",
        data={"sku": sku, "minimum": minimum},
    )


_STOCK_OF_SKU = Statement(
    _SELECT_POOL.where(
        _P.merchant_id == bindparam("merchant"), _P.sku == bindparam("item"), _P.kind == PoolKind.STOCK
    ).order_by(_P.location_code)
)
_LEVEL = Statement(_SELECT_POOL.where(_P.pool_id == bindparam("pool")))
_OF_MERCHANT = Statement(
    _SELECT_POOL.where(_P.merchant_id == bindparam("merchant"), _P.pool_id > bindparam("after"))
    .order_by(_P.pool_id)
    .limit(bindparam("most"))
)


def stock_levels(reader: Reader, *, merchant_id: MerchantId, sku: str) -> list[Level]:
    """Return the stock of a SKU at every location that counts it, by location code."""
    return [_level(row) for row in reader.rows(_STOCK_OF_SKU, {"merchant": merchant_id, "item": sku})]


def edition_level(reader: Reader, *, merchant_id: MerchantId, sku: str) -> Level | None:
    """Return the copies of a SKU's edition, or None when no edition is defined."""
    return pool_level(reader, edition_pool_id(merchant_id, sku))


def pool_level(reader: Reader, pool_id: str) -> Level | None:
    """Return the count of one pool."""
    row = reader.row(_LEVEL, {"pool": pool_id})
    return None if row is None else _level(row)


def merchant_levels(
    reader: Reader, *, merchant_id: MerchantId, after: str = "", limit: int = 200
) -> list[Level]:
    """Return a page of all the merchant's pools by pool id, behind the pool ``after``."""
    asked = {"merchant": merchant_id, "after": after, "most": limit}
    return [_level(row) for row in reader.rows(_OF_MERCHANT, asked)]


def _level(row: Any) -> Level:
    copies = row.on_hand + row.issued
    capped = row.kind == PoolKind.EDITION and copies != UNCAPPED_COPIES
    return Level(
        row.pool_id,
        PoolKind(row.kind),
        row.sku,
        row.location_code,
        row.on_hand,
        row.held,
        row.reserved,
        row.issued,
        copies if capped else None,
        bool(row.numbered),
    )
