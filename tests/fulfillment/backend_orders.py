"""Orders for backends under test, and ways to wait for what they announce."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fulfillment.backends.port import BackendLine, BackendOrder, BackendUpdate, OrderBackend


def backend_order(number: int | str, *, quantity: int = 1, city: str = "Berlin") -> BackendOrder:
    return BackendOrder(
        reference=f"ful_{number}",
        order_id=f"ord_{number}",
        merchant_id="mer_1",
        location_code="berlin",
        ship_to={"name": "Änna", "city": city, "country": "DE"},
        lines=(BackendLine("lamp", quantity, "Lamp"),),
    )


async def all_updates(backend: OrderBackend, *, page: int = 100) -> list[BackendUpdate]:
    seen: list[BackendUpdate] = []
    while more := await backend.updates(seen[-1].cursor if seen else "", page):
        seen += more
    return seen


async def until(backend: OrderBackend, enough: Callable[[list[BackendUpdate]], bool]) -> list[BackendUpdate]:
    """Return the feed once it satisfies the condition; gives up after ten seconds."""
    async with asyncio.timeout(10):
        while not enough(seen := await all_updates(backend)):
            await asyncio.sleep(0.005)
    return seen
