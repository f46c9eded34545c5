"""Hands orders to an embedded backend and prints each receipt, until it is killed. For the crash test."""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path

from fulfillment.backends.embedded import EmbeddedBackend
from fulfillment.backends.embedded_work import Pace
from gateway.kernel.clock import SystemClock
from gateway.kernel.ids import TimeSortedIds
from tests.fulfillment.backend_orders import backend_order


async def main(path: Path) -> None:
    clock = SystemClock()
    pace = Pace(dispatch_after_ms=5, deliver_after_ms=5, pause_ms=1)
    backend = EmbeddedBackend.open(path, clock, TimeSortedIds(clock), pace=pace)
    backend.start()
    numbers = itertools.count()

    async def customer() -> None:
        for number in numbers:
            receipt = await backend.create(backend_order(number))
            print(receipt.reference, receipt.backend_reference, flush=True)

    await asyncio.gather(*(customer() for _ in range(8)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
