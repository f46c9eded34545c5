"""Performs tasks: claims what is due, performs it concurrently, records each outcome as one unit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import structlog

from gateway.kernel.precedence import Precedence
from gateway.kernel.store.unit import Lane, Store, UnitOfWork
from gateway.kernel.tasks import queue
from gateway.kernel.tasks.handover import Handover
from gateway.kernel.tasks.model import Task, TaskKind

log = structlog.get_logger(__name__)

_LEASE_CHECK_S = 5.0
_IDLE_S = 1.0
_LOOK_AFTER_S = 0.005
_BETWEEN_CLAIMS_S = 0.005


class TaskRunner:
    """A worker of one process. Any number of them may share a database.

    ``concurrency`` bounds tasks in flight; each holds no thread and no transaction while it waits.
    """

    def __init__(
        self,
        store: Store,
        kinds: Iterable[TaskKind[Any]],
        *,
        concurrency: int = 256,
        handover: Handover | None = None,
        precedence: Precedence | None = None,
    ) -> None:
        """``handover`` is where units of this process leave tasks for this worker; ``precedence`` says for
        what somebody waits: this worker's interactive kinds, to which its others make way."""
        self._store = store
        self._precedence = precedence or Precedence()
        self._handover = handover
        self._kinds = {kind.name: kind for kind in kinds}
        self._concurrency = concurrency
        self._in_flight: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._loop_task: asyncio.Task[None] | None = None
        self._stopping = False
        self._look: asyncio.TimerHandle | None = None
        store.signals.on(queue.TASKS_SIGNAL, self._wake.set)

    def start(self) -> None:
        """Begin claiming; call it on the running event loop."""
        assert self._loop_task is None
        self._stopping = False
        self._loop_task = asyncio.create_task(self._run(), name="task-runner")
        if self._handover is not None:
            leases_ms = {kind.name: kind.lease_ms for kind in self._kinds.values()}
            self._handover.open(leases_ms, self._has_room, self._take)

    async def stop(self, *, within_s: float = 10.0) -> None:
        """Claim no more and wait for what is in flight; the rest is resumed by the next start."""
        self._stopping = True
        self._wake.set()
        if self._handover is not None:
            self._handover.close()
        if self._loop_task is not None:
            await self._loop_task
            self._loop_task = None
        if self._in_flight:
            _, late = await asyncio.wait(self._in_flight, timeout=within_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        lease_check_at = claimed_at = loop.time()
        while not self._stopping:
            # A lone task is claimed at once; under load one claim takes what came within a few milliseconds.
            await asyncio.sleep(max(0.0, claimed_at + _BETWEEN_CLAIMS_S - loop.time()))
            claimed_at = loop.time()
            self._wake.clear()
            try:
                if loop.time() >= lease_check_at:
                    await self._store.write(queue.release_lost_leases, lane=Lane.BACKGROUND)
                    lease_check_at = loop.time() + _LEASE_CHECK_S
                claimed = await self._claim()
                wait_s = 0.0 if claimed else await self._idle_s()
            except Exception:
                # The database is away or closing; tasks are rows, so nothing is lost by waiting.
                log.exception("tasks.claim_failed")
                wait_s = _IDLE_S
            if self._stopping or wait_s <= 0:
                continue
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _claim(self) -> int:
        free = self._concurrency - len(self._in_flight)
        if free <= 0:
            # Woken by a task that lands, or by `stop`.
            await self._wake.wait()
            return 1
        tasks = await self._store.write(
            lambda uow: queue.claim(uow, self._kinds, free), lane=Lane.BACKGROUND, locks=(queue.CLAIM_LOCK,)
        )
        for task in tasks:
            self._begin(task)
        return len(tasks)

    def _has_room(self) -> bool:
        return len(self._in_flight) < self._concurrency

    def _take(self, task: Task) -> None:
        """Begin a task that was handed over. One that comes too late is resumed by the next start."""
        if not self._stopping:
            self._begin(task)

    def _begin(self, task: Task) -> None:
        working = asyncio.create_task(self._work_off(task))
        self._in_flight.add(working)
        working.add_done_callback(self._landed)

    def _landed(self, working: asyncio.Task[None]) -> None:
        self._in_flight.discard(working)
        # A sibling of the same order and kind may have waited for this one. Many land together: one look
        # for all of them.
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(_LOOK_AFTER_S, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        self._wake.set()

    async def _idle_s(self) -> float:
        due, now = await self._store.read(
            lambda reader: (queue.next_due_ms(reader, self._kinds), reader.now_ms)
        )
        if due is None:
            return _IDLE_S
        return min(max((due - now) / 1000, 0.005), _IDLE_S)

    async def _work_off(self, task: Task) -> None:
        kind = self._kinds[task.kind]
        if kind.lane is Lane.INTERACTIVE:
            with self._precedence.taken():
                await self._perform(kind, task)
        else:
            await self._precedence.make_way()
            await self._perform(kind, task)

    async def _perform(self, kind: TaskKind[Any], task: Task) -> None:
        try:
            if task.attempt > kind.most_attempts:
                # Its worker died every time, so nobody was left to park it.
                raise RuntimeError("no attempt came to an end")
            async with asyncio.timeout(kind.deadline_ms / 1000):
                outcome = await kind.perform(task)

            def record(uow: UnitOfWork) -> None:
                # A stale fence changes nothing here: the fact is recorded under its own id either way.
                queue.end(uow, task)
                kind.record(uow, task, outcome)

            await self._store.write(record, lane=kind.lane)
        except Exception as error:
            log.warning(
                "task.failed",
                task_id=task.task_id,
                kind=task.kind,
                subject=task.subject,
                attempt=task.attempt,
                error=repr(error),
            )
            reason = repr(error)
            try:
                await self._store.write(
                    lambda uow: queue.retry_later(uow, kind, task, reason), lane=Lane.BACKGROUND
                )
            except Exception:
                # The lease runs out and the task is claimed again.
                log.exception("task.postpone_failed", task_id=task.task_id)
