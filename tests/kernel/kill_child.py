"""What the killed processes of test_kill.py run."""

from __future__ import annotations

import asyncio
import os
import threading

from gateway.kernel.clock import SystemClock
from gateway.kernel.events.log import EventLog
from gateway.kernel.events.model import Event
from gateway.kernel.ids import TimeSortedIds
from gateway.kernel.store.sqlite import SqliteStore
from gateway.kernel.tasks import queue
from gateway.kernel.tasks.model import TaskKind
from gateway.kernel.tasks.runner import TaskRunner
from tests.kernel.tables import INSERT_EFFECT, INSERT_NEW_NOTE

STREAMS = 4


def open_store(dialect, where):
    clock = SystemClock()
    ids = TimeSortedIds(clock)
    if dialect == "sqlite":
        return SqliteStore(where, clock, ids, event_log=EventLog())
    from gateway.kernel.store.postgres import PostgresStore

    return PostgresStore(where, None, ids, event_log=EventLog())


def purchase(key):
    """Return a unit like a purchase: a fact under its key, its event, its task. Repeating it is harmless."""

    def unit(uow):
        if uow.run(INSERT_NEW_NOTE, {"name": key, "body": None}):
            uow.emit(Event(f"customer-{int(key) % STREAMS}", "note.written", {"name": key}))
            queue.enqueue(uow, "ship", key, key)
        return key

    return unit


async def perform(task):
    await asyncio.sleep(0.001)
    return task.payload


def record(uow, task, outcome):
    uow.append(INSERT_EFFECT, {"subject": outcome, "by": str(task.attempt)})


def parked(uow, task, error):
    raise AssertionError(error)


SHIP = TaskKind("ship", perform, record, parked, first_delay_ms=5)


def run(dialect, where, acknowledged, first):
    """Write purchases from key ``first`` on, and each key to the file once it is acknowledged; never ends."""
    asyncio.run(_run(dialect, where, acknowledged, first))


async def _run(dialect, where, acknowledged, first):
    store = open_store(dialect, where)
    await store.write(queue.release_all_leases)
    runner = TaskRunner(store, [SHIP])
    runner.start()
    file = os.open(acknowledged, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    keys = iter(range(first, 10**9))

    async def client():
        for key in keys:
            name = await store.write(purchase(f"{key:08d}"))
            os.write(file, f"{name}\n".encode())

    await asyncio.gather(*(client() for _ in range(16)))


def hang(dialect, where, acknowledged):
    """Claim the task that waits and never finish it."""

    async def main():
        store = open_store(dialect, where)

        async def never(task):
            fd = os.open(acknowledged, os.O_WRONLY | os.O_CREAT)
            os.write(fd, b"performing\n")
            await asyncio.Event().wait()

        runner = TaskRunner(store, [TaskKind("ship", never, record, parked)])
        runner.start()
        await asyncio.Event().wait()

    asyncio.run(main())
    threading.Event().wait()
