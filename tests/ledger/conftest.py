"""A store with the gateway's tables and triggers for each test: SQLite, and PostgreSQL when it is installed."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.app import MIGRATIONS
from gateway.kernel.clock import ManualClock
from gateway.kernel.ids import TimeSortedIds
from gateway.kernel.migrate import upgrade, upgrade_sqlite
from tests.support.databases import Database, postgres_database, sqlite_database
from tests.support.postgres import require_server


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "gateway.db"
    upgrade_sqlite(path, MIGRATIONS)
    return path


@pytest.fixture(scope="session")
def migrated_postgres() -> Iterator[str]:
    server = require_server()
    name = server.create_database()
    upgrade(server.url(name), MIGRATIONS)
    yield name
    server.drop_database(name)


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock
) -> AsyncIterator[Database]:
    if request.param == "sqlite":
        found = sqlite_database(tmp_path)
        shutil.copy(request.getfixturevalue("migrated_file"), found.where)
        found.clock = clock
        yield found
        await found.close()
        return
    server = require_server()
    found, name = postgres_database(server, request.getfixturevalue("migrated_postgres"))
    found.clock = clock
    yield found
    await found.close()
    await asyncio.to_thread(server.drop_database, name)


@pytest.fixture
async def store(database: Database):
    """Strict and rehearsing: a refused unit wrote nothing, and running it twice changes nothing more."""
    return database.open(ids=TimeSortedIds(database.clock), rehearse=True)
