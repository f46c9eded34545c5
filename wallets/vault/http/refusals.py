"""Refusals of callers whom nobody knows, on the audit trail: the first of an address and minute at once, the
others of that minute as one row with their number.

The trail keeps every row for thirteen months, so somebody without a credential must not be able to fill it.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from gateway.kernel.clock import Clock
from gateway.kernel.store.unit import Lane, Store, UnitOfWork
from wallets.vault import audit

PERIOD_MS = 60_000
_MOST_ORIGINS = 100
"""Told apart within a period; all further ones are counted together."""
_OTHERS = "others"


@dataclass(slots=True)
class _Count:
    until_ms: int
    call: str
    reason: str
    more: int = 0


class AnonymousRefusals:
    """Counts for one process. `close` writes down what is only counted yet."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._counts: dict[str, _Count] = {}
        self._telling: asyncio.Task[None] | None = None

    async def note(self, origin: str, call: str, reason: str) -> None:
        """Record one, or count it."""
        now_ms = self._clock.now_ms()
        if any(now_ms >= count.until_ms for count in self._counts.values()):
            await self._tell(now_ms)
        key = origin if origin in self._counts or len(self._counts) < _MOST_ORIGINS else _OTHERS
        count = self._counts.get(key)
        if count is not None:
            count.more += 1
            return
        self._counts[key] = _Count(now_ms + PERIOD_MS, call, reason)
        if self._telling is None:
            self._telling = asyncio.create_task(self._tell_now_and_then(), name="vault-refusals")
        await self._write([(origin, call, reason, "")])

    async def close(self) -> None:
        """Write down the numbers of the period that has not ended."""
        if self._telling is not None:
            self._telling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._telling
            self._telling = None
        await self._tell(None)

    async def _tell_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(PERIOD_MS / 1000)
            await self._tell(self._clock.now_ms())

    async def _tell(self, now_ms: int | None) -> None:
        """Write down the numbers of periods that have ended; None: of all."""
        ended = {
            origin: count
            for origin, count in self._counts.items()
            if now_ms is None or now_ms >= count.until_ms
        }
        for origin in ended:
            del self._counts[origin]
        rows = [
            (origin, count.call, count.reason, f"{count.more} more within a minute")
            for origin, count in ended.items()
            if count.more
        ]
        if rows:
            await self._write(rows)

    async def _write(self, rows: list[tuple[str, str, str, str]]) -> None:
        def write(uow: UnitOfWork) -> None:
            for origin, call, reason, detail in rows:
                actor = audit.Actor("none", "unknown", origin)
                audit.note(uow, actor, audit.Action.ACCESS, call, outcome=reason, detail=detail)

        await self._store.write(write, lane=Lane.BACKGROUND)
