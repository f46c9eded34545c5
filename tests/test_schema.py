"""The migrations make the tables the code uses, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import MetaData, create_engine
from sqlalchemy.pool import NullPool

from fulfillment.backends import embedded_tables
from gateway.app import MIGRATIONS
from gateway.kernel.migrate import check, upgrade, upgrade_sqlite
from gateway.kernel.store.sqlite import connect
from gateway.schema import metadata
from tests.support.postgres import require_server
from wallets.vault import tables as vault_tables
from wallets.vault.providers import simulated_tables

ROOT = Path(__file__).parents[1]
TREES = {
    "gateway": (MIGRATIONS, metadata),
    "vault": (ROOT / "wallets/vault/migrations", vault_tables.metadata),
    "acquirer": (ROOT / "wallets/vault/providers/simulated_migrations", simulated_tables.metadata),
    "backend": (ROOT / "fulfillment/backends/embedded_migrations", embedded_tables.metadata),
}


@pytest.fixture(params=sorted(TREES))
def tree(request: pytest.FixtureRequest) -> Iterator[tuple[Path, MetaData]]:
    yield TREES[request.param]


def test_the_migrated_sqlite_schema_is_the_codes(tree: tuple[Path, MetaData], tmp_path: Path) -> None:
    path = tmp_path / "fresh.db"
    upgrade_sqlite(path, tree[0])
    raw, core = connect(path)
    try:
        assert check(tree[1], core) == []
    finally:
        core.close()
        raw.close()


def test_migrating_again_changes_nothing(tree: tuple[Path, MetaData], tmp_path: Path) -> None:
    path = tmp_path / "fresh.db"
    upgrade_sqlite(path, tree[0])
    before = path.read_bytes()
    upgrade_sqlite(path, tree[0])
    assert path.read_bytes() == before


def test_the_migrated_postgresql_schema_is_the_codes(tree: tuple[Path, MetaData]) -> None:
    server = require_server()
    name = server.create_database()
    try:
        upgrade(server.url(name), tree[0])
        engine = create_engine(server.url(name), poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            assert check(tree[1], connection) == []
        engine.dispose()
    finally:
        server.drop_database(name)
