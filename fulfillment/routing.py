"""Which location ships: pure policy over the locations that count an item. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.kernel.errors import ConflictError


@dataclass(frozen=True, slots=True)
class LocationStock:
    """What one location could ship. ``country`` is ISO 3166 alpha-2; a lower ``priority`` goes first."""

    location_code: str
    country: str
    priority: int
    available: int


def route(
    levels: Sequence[LocationStock], *, sku: str, quantity: int, destination_country: str
) -> LocationStock:
    """Return the location that ships all of a line: same country first, then priority, then code.

    Goods of the same country need no customs and arrive first. The code makes the choice stable whatever
    order the levels come in. A line is never split. Raises ConflictError ``stock.sold_out`` (data: sku,
    requested, available) when no single location has all of it.
    """
    able = [level for level in levels if level.available >= quantity]
    if not able:
        available = max((level.available for level in levels), default=0)
        raise ConflictError(
            "stock.sold_out",
            "Sold out." if available <= 0 else f"Only {available} left in one place.",
            data={"sku": sku, "requested": quantity, "available": max(available, 0)},
        )
    return min(
        able, key=lambda level: (level.country != destination_country, level.priority, level.location_code)
    )
