"""A gateway database for each test of stock and shipments: SQLite, and PostgreSQL when it is installed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from fulfillment import tables
from gateway.kernel.clock import ManualClock
from gateway.kernel.ids import TimeSortedIds
from gateway.kernel.store.schema import metadata
from gateway.kernel.store.unit import Store
from tests.support.databases import Database, sqlite_database
from tests.support.postgres import require_server

_TABLES = [
    tables.inventory_pool,
    tables.inventory_hold,
    tables.inventory_serial,
    tables.inventory_adjustment,
    tables.fulfillment_order,
    tables.fulfillment_line,
    tables.backend_cursor,
]


def _create(url: str) -> None:
    engine = create_engine(url, poolclass=NullPool)
    metadata.create_all(engine, tables=_TABLES)
    engine.dispose()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="session")
def fulfillment_database() -> Database:
    """One database for the session, emptied after each test: making one takes longer than most tests."""
    server = require_server()
    name = server.create_database()
    _create(server.url(name))
    return Database("postgresql", server.conninfo(name), server.url(name))


@pytest.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Store]:
    if request.param == "sqlite":
        database = sqlite_database(tmp_path)
        _create(database.url)
    else:
        database = request.getfixturevalue("fulfillment_database")
    opened = database.open(clock=clock, ids=TimeSortedIds(clock), rehearse=True)
    yield opened
    await opened.close()
    if request.param == "postgresql":
        database.rows(";".join(f"DELETE FROM {table.name}" for table in _TABLES))
