"""The store on one SQLite file: WAL, synchronous=FULL, one writer thread, read-only read connections.

From 128 units per commit on, FULL costs within noise of NORMAL, and NORMAL loses the last commits on power
loss; so durability is never traded. SQLite serializes writers by itself: `locks` need no work here.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from gateway.kernel.clock import Clock
from gateway.kernel.errors import UnavailableError
from gateway.kernel.events.log import EventLog
from gateway.kernel.ids import IdSource
from gateway.kernel.precedence import Precedence
from gateway.kernel.store.batch import BatchLimits, BatchRunner
from gateway.kernel.store.checkpoints import LONG_LOG_PAGES, Checkpointer
from gateway.kernel.store.delivery import Listeners
from gateway.kernel.store.queue import UnitQueue
from gateway.kernel.store.readers import ReadPool
from gateway.kernel.store.unit import Lane, Query, Reader, Signals, Unit, UnitOfWork

T = TypeVar("T")


def connect(path: Path, *, read_only: bool = False) -> tuple[sqlite3.Connection, Connection]:
    """Open the file and return (driver connection, Core connection on it), in autocommit mode."""
    raw = _open(path, read_only)
    engine = create_engine(
        "sqlite://",
        creator=lambda: raw,
        poolclass=StaticPool,
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,  # values may be secrets; errors are logged
    )
    return raw, engine.connect()


def _open(path: Path, read_only: bool) -> sqlite3.Connection:
    mode = "ro" if read_only else "rwc"
    raw = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=30,
        # All hot statements stay compiled; the default of 128 is fewer than the program has.
        cached_statements=1024,
    )
    raw.execute("PRAGMA busy_timeout=30000")
    raw.execute("PRAGMA foreign_keys=ON")
    raw.execute("PRAGMA cache_size=-32768")
    if not read_only:
        raw.execute("PRAGMA journal_mode=WAL")
        raw.execute("PRAGMA synchronous=FULL")
        # In pages: only a net, should the thread that copies them back fall behind.
        raw.execute(f"PRAGMA wal_autocheckpoint={8 * LONG_LOG_PAGES}")
    return raw


class _Transaction:
    """The writer's connection, as the batch needs it."""

    def __init__(self, path: Path) -> None:
        self._raw, self._core = connect(path)
        self._cursor = self._raw.cursor()
        self._checkpoints = Checkpointer(path.stem, _open(path, read_only=False))

    def begin(self, locks: Sequence[str]) -> None:
        self._cursor.execute("BEGIN IMMEDIATE")

    def unit_of_work(self, now_ms: int, ids: IdSource) -> UnitOfWork:
        return UnitOfWork("sqlite", self._cursor, self._core, now_ms, ids)

    def now_ms(self, clock: Clock) -> int:
        return clock.now_ms()

    def intact(self) -> bool:
        # A full disk, for one, rolls the whole transaction back by itself.
        return self._raw.in_transaction

    def savepoint(self) -> None:
        self._cursor.execute("SAVEPOINT unit")

    def release_savepoint(self) -> None:
        self._cursor.execute("RELEASE unit")

    def rollback_to_savepoint(self) -> None:
        self._cursor.execute("ROLLBACK TO unit")
        self._cursor.execute("RELEASE unit")

    def rollback(self) -> None:
        if self._raw.in_transaction:
            self._cursor.execute("ROLLBACK")

    def commit(self) -> None:
        self._cursor.execute("COMMIT")

    def batch_ended(self) -> None:
        """Told between batches."""
        self._checkpoints.committed(self._cursor)

    def committed_after_loss(self) -> bool:
        raise AssertionError("a SQLite connection cannot be lost")

    def close(self) -> None:
        self._checkpoints.close()
        self._core.close()
        self._raw.close()


class SqliteStore:
    """`Store` on a SQLite file. One process at a time may write it."""

    dialect = "sqlite"

    def __init__(
        self,
        path: Path,
        clock: Clock,
        ids: IdSource,
        *,
        event_log: EventLog | None = None,
        precedence: Precedence | None = None,
        limits: BatchLimits | None = None,
        readers: int = 1,
        longest_read_ms: int = 2_000,
        rehearse: bool = False,
        strict: bool = False,
    ) -> None:
        self._path = path
        self._clock = clock
        self._limits = limits or BatchLimits()
        self._longest_read_s = longest_read_ms / 1000
        self._queue = UnitQueue(precedence)
        self.signals = Signals()
        self._transaction = _Transaction(path)
        self._runner = BatchRunner(
            self._transaction,
            clock,
            ids,
            self._limits,
            Listeners(self.signals, event_log),
            rehearse=rehearse,
            strict=strict,
        )
        self._writer = threading.Thread(target=self._write_batches, name=f"{path.stem}-write", daemon=True)
        self._writer.start()
        self._reads = ReadPool(path.stem, readers, self._open_reader)

    async def write(self, unit: Unit[T], *, lane: Lane = Lane.INTERACTIVE, locks: Sequence[str] = ()) -> T:
        return await self._queue.submit(unit, lane, locks)

    async def read(self, query: Query[T]) -> T:
        return await self._reads.submit(query)

    async def close(self) -> None:
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._queue.close()
        self._writer.join()
        self._reads.close()

    def _write_batches(self) -> None:
        try:
            while jobs := self._queue.take(self._limits.count):
                self._runner.run(jobs, self._queue.give_back)
                self._transaction.batch_ended()
        finally:
            self._transaction.close()

    def _open_reader(self) -> tuple[Callable[[Query[Any]], Any], Callable[[], None]]:
        raw, core = connect(self._path, read_only=True)
        cursor = raw.cursor()
        deadline = [0.0]
        # A read that goes on would keep the WAL from being checkpointed; every 20,000 virtual machine
        # steps (well under a millisecond) SQLite asks whether to go on.
        raw.set_progress_handler(lambda: time.monotonic() > deadline[0], 20_000)

        def run(query: Query[Any]) -> Any:
            deadline[0] = time.monotonic() + self._longest_read_s
            cursor.execute("BEGIN")
            try:
                return query(Reader("sqlite", cursor, core, self._clock.now_ms()))
            except (sqlite3.OperationalError, DBAPIError) as error:
                cause = error.orig if isinstance(error, DBAPIError) else error
                if getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
                    raise UnavailableError(
                        "store.read_too_long", "The query took too long; ask for a smaller page."
                    ) from error
                raise
            finally:
                if raw.in_transaction:
                    deadline[0] = float("inf")
                    cursor.execute("COMMIT")

        def close() -> None:
            core.close()
            raw.close()

        return run, close
