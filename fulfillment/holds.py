"""Taking scarce things out of what others can buy while a customer looks at a quote.

Pools change only by conditional updates, so two database connections cannot promise the last unit twice;
where such an update loses after an earlier one succeeded (possible on PostgreSQL only), the refusal rolls
the caller's unit back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, bindparam, cast, func, select, update

from fulfillment.model import Held, HoldId, HoldLimits, HoldState, PoolKind, Want
from fulfillment.tables import inventory_hold, inventory_pool
from gateway.kernel.errors import ConflictError, InvalidError, NotFoundError
from gateway.kernel.store.statements import Statement, insert_into
from gateway.kernel.store.unit import UnitOfWork
from gateway.kernel.subjects import CustomerId, DeviceId, QuoteId

_P = inventory_pool.c
_H = inventory_hold.c
_AVAILABLE = _P.on_hand - _P.held - _P.reserved

_POOL = Statement(
    select(_P.kind, _P.sku, _AVAILABLE.label("available")).where(_P.pool_id == bindparam("pool"))
)
_TAKE = Statement(
    update(inventory_pool)
    .where(_P.pool_id == bindparam("pool"), bindparam("units") <= _AVAILABLE)
    .values(held=_P.held + bindparam("units"))
)
_INSERT_HOLD = insert_into(inventory_hold)


def _held_by(owner: Any) -> Statement:
    columns: list[Any] = [
        func.count().label("holds"),
        # PostgreSQL sums to a decimal otherwise.
        cast(func.coalesce(func.sum(_H.quantity), 0), BigInteger).label("units"),
    ]
    return Statement(
        select(*columns).where(owner, _H.state == HoldState.HELD, _H.expires_at_ms > bindparam("now"))
    )


_HELD_BY_ACCOUNT = _held_by(_H.customer_id == bindparam("owner"))
_HELD_BY_DEVICE = _held_by(_H.device_id == bindparam("owner"))


def hold(
    uow: UnitOfWork,
    *,
    quote_id: QuoteId,
    customer_id: CustomerId,
    device_id: DeviceId | None,
    wants: Sequence[Want],
    expires_at_ms: int,
    limits: HoldLimits,
) -> list[Held]:
    """Take everything a quote wants out of what others can buy, or nothing.

    Returns one hold per want, in the order of the wants. Raises ConflictError ``stock.sold_out`` or
    ``edition.sold_out`` (data: sku, requested, available), ``hold.limit_account`` or ``hold.limit_device``
    (data: limit, unit), and NotFoundError ``stock.pool_unknown``.
    """
    units: dict[str, int] = {}
    for want in wants:
        if want.quantity <= 0:
            raise InvalidError("hold.quantity", "A quantity is a whole number above zero.")
        units[want.pool_id] = units.get(want.pool_id, 0) + want.quantity
    if not units:
        return []
    pools: dict[str, Any] = {}
    # Sorted, so that two units that want the same pools meet at the first and cannot deadlock.
    for pool_id in sorted(units):
        pools[pool_id] = pool = uow.row(_POOL, {"pool": pool_id})
        if pool is None:
            raise NotFoundError(
                "stock.pool_unknown", "Nothing is counted under this pool.", data={"pool_id": pool_id}
            )
        if pool.available < units[pool_id]:
            raise _sold_out(pool, units[pool_id])
    asked = {"holds": len(wants), "units": sum(units.values())}
    most = {"holds": limits.holds_per_account, "units": limits.units_per_account}
    _check_limits(uow, _HELD_BY_ACCOUNT, customer_id, asked, most, "hold.limit_account")
    if device_id is not None:
        most = {"holds": limits.holds_per_device, "units": limits.units_per_device}
        _check_limits(uow, _HELD_BY_DEVICE, device_id, asked, most, "hold.limit_device")
    for pool_id, quantity in sorted(units.items()):
        if not uow.run(_TAKE, {"pool": pool_id, "units": quantity}):
            raise _sold_out(uow.row(_POOL, {"pool": pool_id}) or pools[pool_id], quantity)
    holds = []
    for want in wants:
        pool = pools[want.pool_id]
        hold_id = uow.new_id(HoldId)
        uow.run(
            _INSERT_HOLD,
            {
                "hold_id": hold_id,
                "pool_id": want.pool_id,
                "quote_id": quote_id,
                "order_id": None,
                "ref": want.ref,
                "customer_id": customer_id,
                "device_id": device_id,
                "quantity": want.quantity,
                "consumed": 0,
                "released": 0,
                "state": "held",
                "expires_at_ms": expires_at_ms,
                "created_at_ms": uow.now_ms,
            },
        )
        holds.append(
            Held(hold_id, want.pool_id, PoolKind(pool.kind), pool.sku, want.quantity, want.ref, expires_at_ms)
        )
    return holds


def _sold_out(pool: Any, requested: int) -> ConflictError:
    code = "stock.sold_out" if pool.kind == PoolKind.STOCK else "edition.sold_out"
    available = max(pool.available, 0)
    return ConflictError(
        code,
        "Sold out." if available == 0 else f"Only {available} left.",
        data={"sku": pool.sku, "requested": requested, "available": available},
    )


def _check_limits(
    uow: UnitOfWork,
    held_by: Statement,
    owner: str,
    asked: dict[str, int],
    most: dict[str, int | None],
    code: str,
) -> None:
    if not any(limit is not None for limit in most.values()):
        return
    already = uow.row(held_by, {"owner": owner, "now": uow.now_ms})
    for unit, limit in most.items():
        if limit is not None and getattr(already, unit) + asked[unit] > limit:
            raise ConflictError(
                code,
                "As much is held already as may be; finish or drop another purchase first.",
                data={"limit": limit, "unit": unit},
            )
