"""Holding an order at a certain point, to see what happens there."""

from __future__ import annotations

from tests.support.buying import until
from tests.support.gateway import Shop


async def parcels(shop: Shop, order_id: str, number: int = 1) -> list[str]:
    """Wait until the order backend has accepted so many parcels of an order; returns their references."""

    async def there() -> list[str] | None:
        rows = shop.evidence.rows(
            "SELECT fulfillment_order_id AS id FROM fulfillment_order WHERE order_id = ? AND state = 'accepted'",
            order_id,
        )
        return [row["id"] for row in rows] if len(rows) == number else None

    found: list[str] = await until(there)
    return found
