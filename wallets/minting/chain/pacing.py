"""How fast an endpoint may be asked: as fast as it answers, and more slowly once it says "too many".

Nobody tells us an endpoint's limit, and a hundred lanes that each retry by themselves would only be refused
more often. So all requests to one endpoint line up here, first come, first served. There is no limit until
the first refusal; then the line moves at four fifths of the rate that was answered, and faster again while
nothing is refused: slowly up to the rate that was refused, quickly beyond it, since a limit may have gone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from wallets.minting.chain.port import ChainUnavailable, Throttled

_LEAST_PER_S = 0.2
_FIRST_LEAST_PER_S = 5.0
"""The first refusal alone does not make the line slower than four fifths of this."""
_SLOWER = 0.8
_SLOW_GROWTH = 0.05
_QUICK_GROWTH = 0.15
"""By which part the rate grows in a second of answers."""
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 8.0
"""Pauses after refusals that name no time; each one in a row is twice as long."""
_UNLIMITED_FROM_PER_S = 500.0
"""A line that moves so fast is no line."""


class Pace:
    """The line before one endpoint. Times are those of the running event loop, in seconds."""

    def __init__(self, *, at_once: int = 32) -> None:
        """``at_once`` is how many requests may be under way."""
        self.rate: float | None = None
        """Requests per second; None while nothing was ever refused."""
        self.refused = 0
        """How many requests the endpoint refused as too many."""
        self._refused_rate = 0.0
        self._in_a_row = 0
        self._in_line = 0
        self._next_at = 0.0
        self._slowed_at = 0.0
        self._answered: deque[float] = deque(maxlen=1_000)
        self._line = asyncio.Lock()
        self._under_way = asyncio.Semaphore(at_once)
        self._hurried = asyncio.Event()

    def wait_s(self, now: float) -> float:
        """Return how long the line is, in seconds; 0 while nobody waits."""
        in_line = 0.0 if self.rate is None else self._in_line / self.rate
        return max(0.0, self._next_at - now) + in_line

    @property
    def answered_at(self) -> float:
        """When the endpoint last did what it was asked; minus infinity if never."""
        return self._answered[-1] if self._answered else float("-inf")

    @property
    def is_hurried(self) -> bool:
        return self._hurried.is_set()

    def hurry(self) -> None:
        """Let nobody wait any more: who is in line, or comes, is told ChainUnavailable."""
        self._hurried.set()

    @asynccontextmanager
    async def turn(self, within_s: float) -> AsyncIterator[None]:
        """Wait for a turn and hold it while one request is made. The block may raise Throttled.

        Raises Throttled if the turn does not come within ``within_s`` seconds.
        """
        self._in_line += 1
        try:
            async with asyncio.timeout(within_s), self._line:
                await self._pause()
                await self._under_way.acquire()
        except TimeoutError as error:
            raise Throttled(f"no turn within {within_s:.0f} s") from error
        finally:
            self._in_line -= 1
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        if self.rate is not None:
            self._next_at = max(self._next_at, asked_at) + 1 / self.rate
        try:
            yield
        except Throttled as error:
            self._slow_down(asked_at, loop.time(), error.retry_after_s)
            raise
        else:
            self._speed_up(loop.time())
        finally:
            self._under_way.release()

    async def _pause(self) -> None:
        loop = asyncio.get_running_loop()
        # Looked at again after each wait: an answer on its way may have made the pause longer.
        while not self._hurried.is_set() and (left := self._next_at - loop.time()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self._hurried.wait()
            except TimeoutError:
                continue
        if self._hurried.is_set():
            raise ChainUnavailable("the connection to the chain is closing")

    def _slow_down(self, asked_at: float, now: float, retry_after_s: float | None) -> None:
        self.refused += 1
        if retry_after_s is not None:
            self._next_at = max(self._next_at, now + retry_after_s)
        if asked_at < self._slowed_at:
            return  # asked before the line slowed down: this refusal says nothing new
        self._slowed_at = now
        measured = float(sum(at > now - 1.0 for at in self._answered))
        if self.rate is None:
            self._refused_rate = max(measured, _FIRST_LEAST_PER_S)
        else:
            # What was answered may say more about how much was asked than about the limit.
            self._refused_rate = max(min(self.rate, measured), self.rate / 2)
        self.rate = max(_LEAST_PER_S, self._refused_rate * _SLOWER)
        if retry_after_s is None:
            pause_s = min(_FIRST_PAUSE_S * float(1 << min(self._in_a_row, 8)), _LONGEST_PAUSE_S)
            self._next_at = max(self._next_at, now + pause_s)
        self._in_a_row += 1

    def _speed_up(self, now: float) -> None:
        self._answered.append(now)
        self._in_a_row = 0
        if self.rate is None:
            return
        growth = _SLOW_GROWTH if self.rate < 1.2 * self._refused_rate else _QUICK_GROWTH
        # Each answer's part of a second.
        self.rate *= 1 + growth / max(self.rate, 1.0)
        if self.rate > _UNLIMITED_FROM_PER_S:
            self.rate = None
