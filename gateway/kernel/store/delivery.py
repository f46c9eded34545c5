"""Telling the callers of a batch, then everybody else, once it is durable.

Replies go out first, then hooks and signals, then events. Several committers of one store may commit close
together, so events pass through `DeliveryOrder`: a listener hears the numbers of a stream in their order.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.kernel.events.log import EventLog
from gateway.kernel.events.model import RecordedEvent
from gateway.kernel.store.unit import Lane, Signals, Unit


@dataclass(slots=True)
class Job:
    """A unit with the caller that waits for it."""

    unit: Unit[Any]
    lane: Lane
    locks: Sequence[str]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    submitted_s: float
    """On the monotonic clock."""
    value: Any = None
    error: BaseException | None = None
    hooks: list[Callable[[], None]] = field(default_factory=list)
    signals: set[str] = field(default_factory=set)


class DeliveryOrder:
    """Lets committers hand on events in the order in which they numbered them.

    A committer takes a turn after its events are numbered and before it commits. Numbering holds the
    stream's row until the commit, so whoever shares a stream and numbers later also takes a later turn.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = 0
        self._next = 0
        self._finished: dict[int, Callable[[], None] | None] = {}

    def take(self) -> int:
        """Take the next turn; every turn taken must be finished."""
        with self._lock:
            self._taken += 1
            return self._taken - 1

    def finish(self, turn: int, tell: Callable[[], None] | None) -> None:
        """Tell when all earlier turns are finished; None when nothing was committed. Never blocks long."""
        with self._lock:
            self._finished[turn] = tell
            while self._next in self._finished:
                ready = self._finished.pop(self._next)
                self._next += 1
                if ready is not None:
                    ready()


@dataclass(frozen=True, slots=True)
class Listeners:
    """Who is told of a commit."""

    signals: Signals
    event_log: EventLog | None
    order: DeliveryOrder = field(default_factory=DeliveryOrder)


def answer(jobs: Sequence[Job], listeners: Listeners) -> None:
    """Resolve the callers' futures, then run their hooks and signals, on the callers' event loops."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Job]] = {}
    for job in jobs:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, its_jobs in by_loop.items():
        _on_loop(loop, _resolve, its_jobs, listeners)


def deliver(jobs: Sequence[Job], recorded: list[RecordedEvent], listeners: Listeners) -> None:
    """Hand the events of a commit to the event log's listeners, on the first loop that still runs."""
    for loop in dict.fromkeys(job.loop for job in jobs):
        # Two steps, because the callers' replies are also one step away: replies first.
        if _on_loop(loop, loop.call_soon, _deliver, loop, recorded, listeners):
            return


def _on_loop(loop: asyncio.AbstractEventLoop, callback: Callable[..., Any], *arguments: Any) -> bool:
    try:
        loop.call_soon_threadsafe(callback, *arguments)
    except RuntimeError:
        # The loop closed while its units ran: nobody is left to be told, the facts stand.
        return False
    return True


def settle(future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    """Resolve a future unless its caller went away."""
    if future.cancelled():
        return
    if error is None:
        future.set_result(value)
        return
    if isinstance(error, StopIteration):
        # A future refuses it (PEP 479 has the reason), and the neighbours still wait for their answers.
        stopped = RuntimeError("a unit or query raised StopIteration")
        stopped.__cause__ = error
        error = stopped
    future.set_exception(error)


def _resolve(jobs: list[Job], listeners: Listeners) -> None:
    for job in jobs:
        settle(job.future, job.value, job.error)
    # Replies first: the callers wake before this second callback runs.
    loop = jobs[0].loop
    if any(job.hooks or job.signals for job in jobs):
        loop.call_soon(_after_commit, loop, jobs, listeners)


def _after_commit(loop: asyncio.AbstractEventLoop, jobs: list[Job], listeners: Listeners) -> None:
    signals: set[str] = set()
    for job in jobs:
        signals |= job.signals
        for hook in job.hooks:
            _call(loop, hook)
    if signals:
        _call(loop, listeners.signals.tell, signals)


def _deliver(loop: asyncio.AbstractEventLoop, recorded: list[RecordedEvent], listeners: Listeners) -> None:
    assert listeners.event_log is not None
    _call(loop, listeners.event_log.deliver, recorded)


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: Any) -> None:
    """Call a listener; a broken one is reported to the loop and does not keep the others from hearing."""
    try:
        function(*arguments)
    except Exception as error:
        loop.call_exception_handler({"message": f"listener {function!r} failed", "exception": error})
