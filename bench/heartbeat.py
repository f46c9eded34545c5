"""How long an event loop does not come round: a task that asks to be woken every 2 ms and notes how late."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_BEAT_S = 0.002


class Heartbeat:
    """Beats while `beating` is entered; ``late_s`` gathers over all of them."""

    def __init__(self) -> None:
        self.late_s: list[float] = []

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Beat on the running loop."""
        task = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            task.cancel()

    async def _beat(self) -> None:
        due = time.perf_counter()
        while True:
            due += _BEAT_S
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            now = time.perf_counter()
            self.late_s.append(max(0.0, now - due))
            due = max(due, now)
