"""The store on PostgreSQL: a few committer threads, READ COMMITTED, one round trip to begin a batch.

Each committer owns one row of ``store_commit`` and writes the name of the batch into it when the batch
begins. If the connection is lost while a COMMIT is under way, the committer connects again, locks that row
and reads it: this waits for the dying backend, so the answer (happened, or not) is exact, and no unit has to
look for its own key. `psycopg` is an optional extra: nothing but this module and `postgres_link`
imports it.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus
from sqlalchemy.exc import DBAPIError

from gateway.kernel.clock import Clock, SystemClock
from gateway.kernel.errors import UnavailableError
from gateway.kernel.events.log import EventLog
from gateway.kernel.ids import IdSource
from gateway.kernel.precedence import Precedence
from gateway.kernel.store.batch import BatchLimits, BatchRunner, LostConnectionError, TransientError
from gateway.kernel.store.delivery import Listeners
from gateway.kernel.store.postgres_link import Link
from gateway.kernel.store.queue import UnitQueue
from gateway.kernel.store.readers import ReadPool
from gateway.kernel.store.unit import Lane, Query, Reader, Signals, Unit, UnitOfWork

T = TypeVar("T")

_NOW_MS = "(extract(epoch from clock_timestamp()) * 1000)::bigint"
_STORE_COMMIT = """
CREATE TABLE IF NOT EXISTS store_commit (
    committer text PRIMARY KEY, batch text NOT NULL, at_ms bigint NOT NULL
)
"""
_FORGET_AFTER_MS = 7 * 24 * 3600 * 1000
"""Rows of committers that were killed; a living committer writes its row anew when it is missing."""
_IDLE_TRANSACTION_MS = 30_000
"""After this the server ends a transaction whose client says nothing, and with it the locks it holds."""
_RECONNECT_S = 10.0


class _Transaction:
    """A committer's connection, as the batch needs it."""

    def __init__(self, conninfo: str, name: str, clock: Clock | None) -> None:
        self._link = Link(conninfo, [f"SET idle_in_transaction_session_timeout = {_IDLE_TRANSACTION_MS}"])
        self._name = name
        self._clock = clock
        self._batch = 0
        self._now_ms = 0
        self._link.ensure()

    def begin(self, locks: Sequence[str]) -> None:
        self._link.ensure()
        self._batch += 1
        sql = "BEGIN ISOLATION LEVEL READ COMMITTED; "
        if locks:
            keys = ", ".join(map(str, sorted({_lock_key(lock) for lock in locks})))
            sql += f"SELECT pg_advisory_xact_lock(key) FROM unnest(ARRAY[{keys}]::bigint[]) AS key; "  # noqa: S608  # integers of ours
        # The clock is read after the locks are held.
        row = self._write_row(
            str(self._batch), "batch = excluded.batch, at_ms = excluded.at_ms RETURNING at_ms", before=sql
        )
        self._now_ms = row[0]

    def _write_row(self, batch: str, change: str, *, before: str = "") -> tuple[Any, ...]:
        sql = (
            f"{before}INSERT INTO store_commit (committer, batch, at_ms) "  # noqa: S608  # our own hex and numbers
            f"VALUES ('{self._name}', '{batch}', {_NOW_MS}) ON CONFLICT (committer) DO UPDATE SET {change}"
        )
        try:
            row = self._link.send(sql)
        except errors.ReadOnlySqlTransaction as error:
            # The server lost its role in a failover: find the one that has it now.
            self._link.drop()
            raise LostConnectionError(str(error)) from error
        assert row is not None
        return row

    def unit_of_work(self, now_ms: int, ids: IdSource) -> UnitOfWork:
        return UnitOfWork("postgresql", self._link.cursor, self._link.core, now_ms, ids)

    def now_ms(self, clock: Clock) -> int:
        return self._now_ms if self._clock is None else self._clock.now_ms()

    def intact(self) -> bool:
        status = self._link.status
        if status == TransactionStatus.UNKNOWN:
            raise LostConnectionError("the connection was lost")
        return status == TransactionStatus.INTRANS

    def savepoint(self) -> None:
        self._link.cursor.execute("SAVEPOINT unit")

    def release_savepoint(self) -> None:
        self._link.cursor.execute("RELEASE SAVEPOINT unit")

    def rollback_to_savepoint(self) -> None:
        self._link.send("ROLLBACK TO SAVEPOINT unit; RELEASE SAVEPOINT unit")

    def rollback(self) -> None:
        self._link.rollback()

    def commit(self) -> None:
        self._link.cursor.execute("COMMIT")
        # The COMMIT of a failed transaction is answered ROLLBACK, and that is no error to the driver.
        if self._link.cursor.statusmessage != "COMMIT":
            raise RuntimeError(f"COMMIT was answered {self._link.cursor.statusmessage}")

    def committed_after_loss(self) -> bool:
        self._link.drop()
        give_up_at = time.monotonic() + _RECONNECT_S
        while True:
            try:
                self._link.ensure()
                # A write, because it also waits for a row that the dying backend has only just inserted;
                # SELECT ... FOR UPDATE would not see that one.
                row = self._write_row("", "at_ms = excluded.at_ms RETURNING batch")
                return bool(row[0] == str(self._batch))
            except LostConnectionError:
                if time.monotonic() > give_up_at:
                    raise
                self._link.drop()
                time.sleep(0.1)

    def close(self) -> None:
        try:
            self._link.ensure()
            self._link.cursor.execute("DELETE FROM store_commit WHERE committer = %s", [self._name])
        except (psycopg.Error, LostConnectionError, TransientError):
            return  # the row is forgotten by a later start
        finally:
            self._link.drop()


def _lock_key(name: str) -> int:
    """Return the 64 bits that PostgreSQL locks for a name; a collision only makes two names wait."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)


def create_store_table(conninfo: str) -> None:
    """Make the table of committers if it is missing, and forget rows left by killed processes."""
    with psycopg.connect(conninfo, autocommit=True) as raw, raw.transaction():
        # Two nodes may start together, and IF NOT EXISTS alone does not keep them apart.
        raw.execute("SELECT pg_advisory_xact_lock(%s)", [_lock_key("store_commit")])
        found = raw.execute("SELECT to_regclass('store_commit')").fetchone()
        if found is None or found[0] is None:
            raw.execute(_STORE_COMMIT)
        raw.execute(
            f"DELETE FROM store_commit WHERE at_ms < {_NOW_MS} - %s",  # noqa: S608  # a constant
            [_FORGET_AFTER_MS],
        )


class PostgresStore:
    """`Store` on PostgreSQL 15 or later; any number of processes may share the database.

    ``conninfo`` is a libpq connection string or URI. Without ``clock`` a unit's time is the database's
    clock, read once per batch, so that leases of several nodes mean the same; tests may give one.
    Raises UnavailableError ``store.unavailable`` when the database cannot be reached at the start.
    """

    dialect = "postgresql"

    def __init__(
        self,
        conninfo: str,
        clock: Clock | None,
        ids: IdSource,
        *,
        event_log: EventLog | None = None,
        precedence: Precedence | None = None,
        limits: BatchLimits | None = None,
        committers: int = 3,
        readers: int = 2,
        longest_read_ms: int = 2_000,
        rehearse: bool = False,
        strict: bool = False,
    ) -> None:
        self._conninfo = conninfo
        self._clock = clock
        self._limits = limits or BatchLimits()
        self._longest_read_ms = longest_read_ms
        self._queue = UnitQueue(precedence)
        self.signals = Signals()
        listeners = Listeners(self.signals, event_log)
        node = secrets.token_hex(8)
        try:
            create_store_table(conninfo)
            transactions = [_Transaction(conninfo, f"{node}-{index}", clock) for index in range(committers)]
        except (psycopg.OperationalError, LostConnectionError) as error:
            raise UnavailableError("store.unavailable", "The database cannot be reached.") from error
        self._committers = [
            threading.Thread(
                target=self._write_batches,
                args=(
                    transaction,
                    BatchRunner(
                        transaction,
                        clock or SystemClock(),
                        ids,
                        self._limits,
                        listeners,
                        rehearse=rehearse,
                        strict=strict,
                    ),
                ),
                name=f"postgres-write-{index}",
                daemon=True,
            )
            for index, transaction in enumerate(transactions)
        ]
        for committer in self._committers:
            committer.start()
        self._reads = ReadPool("postgres", readers, self._open_reader)

    async def write(self, unit: Unit[T], *, lane: Lane = Lane.INTERACTIVE, locks: Sequence[str] = ()) -> T:
        return await self._queue.submit(unit, lane, locks)

    async def read(self, query: Query[T]) -> T:
        return await self._reads.submit(query)

    async def close(self) -> None:
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._queue.close()
        for committer in self._committers:
            committer.join()
        self._reads.close()

    def _write_batches(self, transaction: _Transaction, runner: BatchRunner) -> None:
        try:
            while jobs := self._queue.take(self._limits.count):
                runner.run(jobs, self._queue.give_back)
        finally:
            transaction.close()

    def _open_reader(self) -> tuple[Callable[[Query[Any]], Any], Callable[[], None]]:
        link = Link(
            self._conninfo,
            [
                "SET default_transaction_read_only = on",
                f"SET statement_timeout = {self._longest_read_ms}",
                f"SET idle_in_transaction_session_timeout = {self._longest_read_ms}",
            ],
        )

        def read_once(query: Query[Any]) -> Any:
            link.ensure()
            row = link.send(f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT {_NOW_MS}")
            assert row is not None
            now_ms = row[0] if self._clock is None else self._clock.now_ms()
            try:
                return query(Reader("postgresql", link.cursor, link.core, now_ms))
            except (errors.QueryCanceled, DBAPIError) as error:
                cause = error.orig if isinstance(error, DBAPIError) else error
                if isinstance(cause, errors.QueryCanceled):
                    raise UnavailableError(
                        "store.read_too_long", "The query took too long; ask for a smaller page."
                    ) from error
                raise
            finally:
                link.rollback()

        def run(query: Query[Any]) -> Any:
            try:
                return read_once(query)
            except (LostConnectionError, TransientError):
                link.drop()
            try:
                return read_once(query)
            except (LostConnectionError, TransientError) as error:
                raise UnavailableError("store.unavailable", "The database cannot be reached.") from error

        return run, link.drop
