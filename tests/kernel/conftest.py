"""A database for each test of the kernel: SQLite, and PostgreSQL when it is installed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

import gateway.kernel.events.tables
import gateway.kernel.tasks.tables
from gateway.kernel.store.schema import metadata
from tests.kernel import tables
from tests.support.databases import postgres_database, sqlite_database
from tests.support.postgres import require_server

_KERNEL = [
    gateway.kernel.events.tables.stream,
    gateway.kernel.events.tables.event,
    gateway.kernel.tasks.tables.task,
]


def _create(url: str) -> None:
    engine = create_engine(url, poolclass=NullPool)
    # Only the kernel's tables, whatever else this test session has imported.
    metadata.create_all(engine, tables=_KERNEL)
    tables.metadata.create_all(engine)
    engine.dispose()


@pytest.fixture(scope="session")
def postgres_template() -> str:
    server = require_server()
    name = server.create_database()
    _create(server.url(name))
    return name


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory) -> Path:
    template = sqlite_database(tmp_path_factory.mktemp("template"))
    _create(template.url)
    return template.where


@pytest.fixture
async def sqlite_file(sqlite_template, tmp_path):
    database = sqlite_database(tmp_path)
    shutil.copyfile(sqlite_template, database.where)
    yield database
    await database.close()


@pytest.fixture
async def postgres(postgres_template):
    server = require_server()
    database, name = postgres_database(server, postgres_template)
    yield database
    await database.close()
    server.drop_database(name)


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request, tmp_path):
    """The contract suites run on both."""
    if request.param == "sqlite":
        found, name = sqlite_database(tmp_path), None
        shutil.copyfile(request.getfixturevalue("sqlite_template"), found.where)
    else:
        server = require_server()
        found, name = postgres_database(server, request.getfixturevalue("postgres_template"))
    yield found
    await found.close()
    if name is not None:
        server.drop_database(name)
