"""Databases of an earlier version, to be brought up in a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import NullPool

from gateway.kernel.migrate import upgrade
from tests.support.postgres import require_server


@contextmanager
def database_at(revision: str, migrations: Path, dialect: str, folder: Path) -> Iterator[Connection]:
    """A new database of ``sqlite`` or ``postgresql`` at that revision, gone afterwards."""
    if dialect == "sqlite":
        url, drop = f"sqlite:///{folder / 'earlier.db'}", None
    else:
        server = require_server()
        name = server.create_database()
        url, drop = server.url(name), lambda: server.drop_database(name)
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        upgrade(connection, migrations, revision)
        yield connection
    if drop is not None:
        drop()
