"""Read threads: queries that wait together share one wake-up of the thread and one of the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from gateway.kernel.errors import UnavailableError
from gateway.kernel.store.delivery import settle
from gateway.kernel.store.unit import Query

T = TypeVar("T")
_BURST = 32
_Waiting = tuple[Query[Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]
Answered = tuple["asyncio.Future[Any]", Any, BaseException | None]


class ReadPool:
    """Threads that run queries, each on a connection of its own made by ``connect``.

    ``connect`` is called in the thread and returns (run one query, close).
    """

    def __init__(
        self,
        name: str,
        threads: int,
        connect: Callable[[], tuple[Callable[[Query[Any]], Any], Callable[[], None]]],
    ) -> None:
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._connect = connect
        self._closed = False
        # Held while queueing, so that no query can end up behind the marks that end the threads.
        self._closing = threading.Lock()
        self._threads = [
            threading.Thread(target=self._serve, name=f"{name}-read-{index}", daemon=True)
            for index in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, query: Query[T]) -> asyncio.Future[T]:
        """Queue a query for the running event loop and return the future of its value."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._closing:
            if self._closed:
                raise UnavailableError("store.closed", "The store is closing.")
            self._queue.put((query, loop, future))
        return future

    def close(self) -> None:
        """Finish queued queries, then end the threads. Blocks; call it off the event loop."""
        with self._closing:
            self._closed = True
            for _ in self._threads:
                self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        run, close = self._connect()
        try:
            while True:
                burst = self._take()
                answered: dict[asyncio.AbstractEventLoop, list[Answered]] = {}
                for query, loop, future in burst:
                    try:
                        outcome: Answered = (future, run(query), None)
                    except BaseException as error:
                        # Whatever a query raises belongs to its caller; the thread serves on.
                        outcome = (future, None, error)
                    answered.setdefault(loop, []).append(outcome)
                for its_loop, outcomes in answered.items():
                    try:
                        its_loop.call_soon_threadsafe(_resolve, outcomes)
                    except RuntimeError:
                        continue  # the loop closed: nobody waits for these answers
                if not burst:
                    return
        finally:
            close()

    def _take(self) -> list[_Waiting]:
        """Wait for queries and return a burst; an empty list ends the thread."""
        first = self._queue.get()
        burst: list[_Waiting] = []
        while first is not None:
            burst.append(first)
            if len(burst) >= _BURST:
                break
            try:
                first = self._queue.get_nowait()
            except Empty:
                break
            if first is None:
                self._queue.put(None)  # answer this burst first, end on the next
        return burst


def _resolve(outcomes: list[Answered]) -> None:
    for future, value, error in outcomes:
        settle(future, value, error)
