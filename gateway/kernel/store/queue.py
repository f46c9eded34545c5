"""The two lanes in which units wait, and the threads that take them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import TypeVar

from gateway.kernel.errors import UnavailableError
from gateway.kernel.store.delivery import Job
from gateway.kernel.store.unit import Lane, Unit

T = TypeVar("T")
GATHER_S = 0.004


class UnitQueue:
    """Interactive before background. Any number of threads may take; each job is taken once.

    Background jobs that are alone wait a few milliseconds for company: fewer commits of theirs are under way
    when somebody comes who waits for an answer.
    """

    def __init__(self, gather_s: float = GATHER_S) -> None:
        self._lanes: dict[Lane, deque[Job]] = {lane: deque() for lane in Lane}
        self._ready = threading.Condition()
        self._closed = False
        self._gather_s = gather_s
        self._background_since = 0.0

    def submit(self, unit: Unit[T], lane: Lane, locks: Sequence[str]) -> asyncio.Future[T]:
        """Queue a unit for the running event loop and return the future of its value."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._ready:
            if self._closed:
                raise UnavailableError("store.closed", "The store is closing.")
            if lane is Lane.BACKGROUND and not self._lanes[lane]:
                self._background_since = time.monotonic()
            self._lanes[lane].append(Job(unit, lane, locks, loop, future))
            self._ready.notify()
        return future

    def take(self, most: int) -> list[Job]:
        """Wait for work and return it; an empty list means the queue is closed and drained."""
        with self._ready:
            while not self._lanes[Lane.INTERACTIVE]:
                if not self._lanes[Lane.BACKGROUND]:
                    if self._closed:
                        return []
                    self._ready.wait()
                    continue
                rest_s = self._background_since + self._gather_s - time.monotonic()
                if rest_s <= 0 or self._closed:
                    break
                self._ready.wait(rest_s)
            jobs: list[Job] = []
            for lane in (Lane.INTERACTIVE, Lane.BACKGROUND):
                waiting = self._lanes[lane]
                while waiting and len(jobs) < most:
                    jobs.append(waiting.popleft())
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
