"""What an idle signed-in connection costs in memory."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable

from bench.figures import Figure
from bench.run import Run

_WARM_UP = 50
_SPARE_FILES = 200


async def measure(run: Run) -> list[Figure]:
    """Return the memory per idle connection: growth of the server's private memory / connections."""
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(run.scale.idle_connections, most_files - _WARM_UP - _SPARE_FILES)
    gateway, load = await asyncio.gather(
        run.gateway(workers=True, customers=count + _WARM_UP, cards=False), run.load()
    )
    # What the first connections bring in (modules, pools, caches) is not a cost per connection.
    await load.ask("connect", url=gateway.url, customers=gateway.customers[:_WARM_UP])
    before = await _settled(gateway.process.private_bytes)
    await load.ask("connect", url=gateway.url, customers=gateway.customers[_WARM_UP:])
    after = await _settled(gateway.process.private_bytes)
    return [
        Figure(
            "idle_connection_kib",
            (after - before) / 1024 / count,
            "KiB",
            45.0,
            "lower",
            f"private memory of the server per idle signed-in connection: {count} connections of as many "
            f"customers, after {_WARM_UP} to warm up",
        )
    ]


async def _settled(private_bytes: Callable[[], int]) -> int:
    """Return the memory once it no longer grows: sign-ins end with work of their own."""
    last = private_bytes()
    for _ in range(20):
        await asyncio.sleep(0.3)
        now = private_bytes()
        if now <= last:
            return now
        last = now
    return last
