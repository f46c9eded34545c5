"""The two databases of the gateway as tests open them: one harness for contract suites."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import MetaData, Table, create_engine
from sqlalchemy.pool import NullPool

from gateway.kernel.clock import Clock, ManualClock
from gateway.kernel.events.log import EventLog
from gateway.kernel.ids import CountingIds, IdSource, TimeSortedIds
from gateway.kernel.store.schema import metadata
from gateway.kernel.store.sqlite import SqliteStore
from gateway.kernel.store.unit import Store
from tests.support.postgres import PostgresServer, require_server


class Database:
    """An empty schema of one test. Stores opened here are closed by `close`."""

    def __init__(self, dialect: str, where: Any, url: str) -> None:
        self.dialect = dialect
        self.where = where
        """The path of the file, or the conninfo."""
        self.url = url
        self.clock = ManualClock()
        self._stores: list[Store] = []

    def create_all(self, schemas: Sequence[MetaData]) -> None:
        engine = create_engine(self.url, poolclass=NullPool)
        for schema in schemas:
            schema.create_all(engine)
        engine.dispose()

    def open(
        self,
        *,
        clock: Clock | None = None,
        ids: IdSource | None = None,
        event_log: EventLog | None = None,
        committers: int = 3,
        strict: bool = True,
        rehearse: bool = False,
        where: Any = None,
        **options: Any,
    ) -> Store:
        """Open a store; ``committers`` matters on PostgreSQL only."""
        store: Store
        where = where or self.where
        clock = clock or self.clock
        common: dict[str, Any] = {
            "event_log": event_log or EventLog(),
            "strict": strict,
            "rehearse": rehearse,
            **options,
        }
        ids = ids or CountingIds()
        if self.dialect == "sqlite":
            store = SqliteStore(where, clock, ids, **common)
        else:
            from gateway.kernel.store.postgres import PostgresStore

            store = PostgresStore(where, clock, ids, committers=committers, **common)
        self._stores.append(store)
        return store

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Run SQL on a connection of its own, past the store."""
        engine = create_engine(self.url, poolclass=NullPool)
        with engine.begin() as connection:
            result = connection.exec_driver_sql(sql)
            return [tuple(row) for row in result] if result.returns_rows else []

    async def close(self) -> None:
        for store in self._stores:
            await store.close()


def sqlite_database(folder: Path) -> Database:
    path = folder / "gateway.db"
    return Database("sqlite", path, f"sqlite:///{path}")


def postgres_database(server: PostgresServer, template: str) -> tuple[Database, str]:
    """Return the database and its name; the caller drops it."""
    name = server.create_database(template)
    return Database("postgresql", server.conninfo(name), server.url(name)), name


class Gate:
    """A unit that holds the writer until it is opened, so that other units wait together."""

    def __init__(self) -> None:
        self._entered = threading.Event()
        self._opened = threading.Event()

    def unit(self, uow: Any) -> None:
        self._entered.set()
        assert self._opened.wait(10), "nobody opened the gate"

    def open(self) -> None:
        self._opened.set()

    async def hold(self, store: Store) -> asyncio.Task[None]:
        """Return once the writer is held."""
        held = asyncio.create_task(store.write(self.unit))
        assert await asyncio.to_thread(self._entered.wait, 10)
        return held


async def queued_together(store: Store, gate: Gate, writes: Sequence[Any]) -> list[Any]:
    """Hold the writer, queue the writes (coroutines), let go; return results or errors in order."""
    held = await gate.hold(store)
    tasks = [asyncio.create_task(write) for write in writes]
    await asyncio.sleep(0)  # every task has queued its unit when this returns
    gate.open()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    await held
    return results


def _create(url: str, tables: Sequence[Table]) -> None:
    engine = create_engine(url, poolclass=NullPool)
    metadata.create_all(engine, tables=tables)
    engine.dispose()


def postgres_of(tables: Sequence[Table]) -> Database:
    """A PostgreSQL database with these tables, for a session: making one takes longer than most tests."""
    server = require_server()
    name = server.create_database()
    _create(server.url(name), tables)
    return Database("postgresql", server.conninfo(name), server.url(name))


@asynccontextmanager
async def store_of(
    tables: Sequence[Table], clock: ManualClock, directory: Path, postgres: Database | None
) -> AsyncIterator[Store]:
    """A store on these tables, empty for one test: a file in the directory, or what `postgres_of` made."""
    database = postgres or sqlite_database(directory)
    if postgres is None:
        _create(database.url, tables)
    opened = database.open(clock=clock, ids=TimeSortedIds(clock), rehearse=True)
    yield opened
    await opened.close()
    if postgres is not None:
        database.rows(";".join(f"DELETE FROM {table.name}" for table in tables))
