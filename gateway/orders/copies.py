"""How many digital copies of an article its orders hold: for editions without a pool that counts them."""

from __future__ import annotations

from sqlalchemy import bindparam, func, select

from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader
from gateway.orders.model import LegKind, LegState
from gateway.orders.tables import leg, order

_COPIES = Statement(
    select(func.coalesce(func.sum(leg.c.quantity), 0).label("copies"))
    .select_from(leg.join(order, order.c.order_id == leg.c.order_id))
    .where(
        leg.c.sku == bindparam("sku"),
        leg.c.kind.in_([LegKind.MINT.value, LegKind.ENTITLE.value]),
        leg.c.state.not_in([LegState.CANCELED.value, LegState.FAILED.value]),
        order.c.merchant_id == bindparam("merchant_id"),
    )
)


def ordered_copies(reader: Reader, merchant_id: str, sku: str) -> int:
    """Return the copies that are ordered or were delivered. Looks through all orders: for imports alone."""
    row = reader.row(_COPIES, {"merchant_id": merchant_id, "sku": sku})
    return 0 if row is None else int(row.copies)
