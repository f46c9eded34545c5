"""The two lanes in which units wait, and the threads that take them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import TypeVar

from gateway.kernel.errors import UnavailableError
from gateway.kernel.precedence import MAKES_WAY_S, Precedence
from gateway.kernel.store.delivery import Job
from gateway.kernel.store.unit import Lane, Unit

T = TypeVar("T")
GATHER_S = 0.004
STARVED_S = 0.25
"""A background job that has waited so long goes before everybody, alone: people come in crowds, too."""


class UnitQueue:
    """Interactive before background. Any number of threads may take; each job is taken once.

    The lanes share no transaction, so that nobody who waits for an answer waits for work that nobody waits
    for. Background jobs wait a few milliseconds for company: fewer commits of theirs are under way when
    somebody comes. While somebody waits, here or elsewhere in the process, they wait longer, up to
    `MAKES_WAY_S`; from then on they go along with any transaction that has time left for them, and one of
    them goes first where there is never time left (`STARVED_S`).
    """

    def __init__(self, precedence: Precedence | None = None, *, gather_s: float = GATHER_S) -> None:
        self._precedence = precedence or Precedence()
        self._precedence.on_quiet(self._look_again)
        self._lanes: dict[Lane, deque[Job]] = {lane: deque() for lane in Lane}
        self._ready = threading.Condition()
        self._closed = False
        self._gather_s = gather_s
        self._waking: set[asyncio.AbstractEventLoop] = set()

    def submit(self, unit: Unit[T], lane: Lane, locks: Sequence[str]) -> asyncio.Future[T]:
        """Queue a unit for the running event loop and return the future of its value."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._ready:
            if self._closed:
                raise UnavailableError("store.closed", "The store is closing.")
            self._lanes[lane].append(Job(unit, lane, locks, loop, future, time.monotonic()))
            if loop not in self._waking:
                self._waking.add(loop)
                loop.call_soon(self._wake, loop)
        return future

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wake a thread, once the loop has run what was ready: it would only wait for the interpreter, and
        take one unit where many come together."""
        with self._ready:
            self._waking.discard(loop)
            self._ready.notify()

    def take(self, most: int) -> list[Job]:
        """Wait for work and return it; an empty list means the queue is closed and drained."""
        interactive, background = self._lanes[Lane.INTERACTIVE], self._lanes[Lane.BACKGROUND]
        with self._ready:
            while True:
                rest_s = self._background_rest_s() if background else None
                if interactive or (rest_s is not None and rest_s <= 0):
                    break
                if self._closed and not background:
                    return []
                self._ready.wait(rest_s)
            jobs: list[Job] = []
            if rest_s is not None and time.monotonic() - background[0].submitted_s > STARVED_S:
                jobs = _some(background, 1)
            jobs += _some(interactive, most - len(jobs))
            if rest_s is not None and rest_s <= 0:
                jobs += _some(background, most - len(jobs))
            if interactive or background:
                # One thread was woken for all that came; what it leaves is for the others.
                self._ready.notify()
            return jobs

    def give_back(self, jobs: Sequence[Job]) -> None:
        """Put jobs back in front, in their order."""
        with self._ready:
            for job in reversed(jobs):
                self._lanes[job.lane].appendleft(job)
            self._ready.notify()

    def close(self) -> None:
        """Take no more; `take` returns what is left, then empty lists."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()

    def _background_rest_s(self) -> float:
        """Return for how many seconds the background jobs still wait."""
        if self._closed:
            return 0.0
        makes_way = bool(self._lanes[Lane.INTERACTIVE]) or self._precedence.is_taken
        waits_s = MAKES_WAY_S if makes_way else self._gather_s
        return self._lanes[Lane.BACKGROUND][0].submitted_s + waits_s - time.monotonic()

    def _look_again(self) -> None:
        with self._ready:
            if self._lanes[Lane.BACKGROUND]:
                self._ready.notify()


def _some(waiting: deque[Job], most: int) -> list[Job]:
    return [waiting.popleft() for _ in range(min(most, len(waiting)))]
