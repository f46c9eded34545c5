"""Migrations: written from the tables, run once, whole or not at all, and compared afterwards."""

from __future__ import annotations

import importlib.util

import pytest
from sqlalchemy import BigInteger, Column, ForeignKey, Index, MetaData, Table, Text, create_engine, text
from sqlalchemy.pool import NullPool

from gateway.kernel import migrate
from gateway.kernel.store.schema import NAMING
from gateway.kernel.store.sqlite import connect
from tests.support.postgres import require_server

ENV = "from gateway.kernel.migrate import run_in_environment\n\nrun_in_environment()\n"


def first_tables():
    metadata = MetaData(naming_convention=NAMING)
    Table("shop", metadata, Column("shop_id", Text, primary_key=True), Column("name", Text, nullable=False))
    Table(
        "visit",
        metadata,
        Column("visit_id", Text, primary_key=True),
        Column("shop_id", Text, ForeignKey("shop.shop_id"), nullable=False),
        Column("state", Text, nullable=False),
        Index("ux_visit_open", "shop_id", unique=True, **_where()),
    )
    return metadata


def second_tables():
    metadata = first_tables()
    metadata.tables["shop"].append_column(Column("opened_at_ms", BigInteger))
    Table("door", metadata, Column("door_id", Text, primary_key=True))
    return metadata


def _where():
    open_ones = text("state = 'open'")
    return {"sqlite_where": open_ones, "postgresql_where": open_ones}


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "env.py").write_text(ENV)
    return folder


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/migrated.db"
        return
    server = require_server()
    name = server.create_database()
    yield server.url(name)
    server.drop_database(name)


def asked(url, question):
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        return question(connection)


def test_a_revision_is_python_with_the_next_number(tree):
    path = migrate.revision(tree, first_tables(), "First tables")
    assert path.name == "0001_first_tables.py"
    spec = importlib.util.spec_from_file_location("revision", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (module.revision, module.down_revision) == ("0001", None)
    assert migrate.revision(tree, second_tables(), "Doors").name == "0002_doors.py"


def test_nothing_is_written_when_nothing_changed(tree):
    migrate.revision(tree, first_tables(), "first")
    assert migrate.revision(tree, first_tables(), "again") is None


def test_the_migrated_schema_is_that_of_the_tables(tree, url):
    migrate.revision(tree, first_tables(), "first")
    migrate.revision(tree, second_tables(), "second")
    migrate.upgrade(url, tree)
    assert asked(url, migrate.current) == "0002"
    assert asked(url, lambda connection: migrate.check(second_tables(), connection)) == []


def test_a_difference_is_named(tree, url):
    migrate.revision(tree, first_tables(), "first")
    migrate.upgrade(url, tree)
    differences = asked(url, lambda connection: migrate.check(second_tables(), connection))
    assert len(differences) == 2
    assert any("door" in difference for difference in differences)
    assert any("opened_at_ms" in difference for difference in differences)


def test_upgrading_again_does_nothing_and_upgrading_later_keeps_the_rows(tree, url):
    migrate.revision(tree, first_tables(), "first")
    migrate.upgrade(url, tree)
    migrate.upgrade(url, tree)

    def fill(connection):
        connection.execute(text("INSERT INTO shop (shop_id, name) VALUES ('s', 'Shop')"))
        connection.execute(text("INSERT INTO visit (visit_id, shop_id, state) VALUES ('v', 's', 'open')"))

    asked(url, fill)
    migrate.revision(tree, second_tables(), "second")
    migrate.upgrade(url, tree)
    rows = asked(url, lambda connection: connection.execute(text("SELECT * FROM shop, visit")).all())
    assert [tuple(row) for row in rows] == [("s", "Shop", None, "v", "s", "open")]


def test_a_migration_that_fails_has_not_happened(tree, url):
    migrate.revision(tree, first_tables(), "first")
    migrate.upgrade(url, tree)
    path = migrate.revision(tree, second_tables(), "second")
    path.write_text(path.read_text() + "    raise RuntimeError('the power went out')\n")
    with pytest.raises(RuntimeError, match="power"):
        migrate.upgrade(url, tree)
    assert asked(url, migrate.current) == "0001"
    assert asked(url, lambda connection: migrate.check(first_tables(), connection)) == []


def test_the_store_tables_are_not_a_difference(postgres):
    postgres.open()
    differences = asked(postgres.url, lambda connection: migrate.check(MetaData(), connection))
    assert not any("store_commit" in difference for difference in differences)


def test_a_connection_of_the_store_can_be_migrated(tree, tmp_path):
    migrate.revision(tree, first_tables(), "first")
    raw, core = connect(tmp_path / "gateway.db")
    migrate.upgrade(core, tree)
    assert migrate.check(first_tables(), core) == []
    assert raw.execute("PRAGMA foreign_keys").fetchone() == (1,)
    assert not raw.in_transaction
    core.close()
    raw.close()


def test_rows_left_without_their_parent_stop_the_migration(tree, tmp_path):
    migrate.revision(tree, first_tables(), "first")
    url = f"sqlite:///{tmp_path}/migrated.db"
    migrate.upgrade(url, tree)
    asked(url, lambda c: c.execute(text("INSERT INTO shop (shop_id, name) VALUES ('s', 'Shop')")))
    asked(
        url,
        lambda c: c.execute(text("INSERT INTO visit (visit_id, shop_id, state) VALUES ('v', 's', 'open')")),
    )
    path = migrate.revision(tree, second_tables(), "second")
    path.write_text(path.read_text() + '    op.execute("DELETE FROM shop")\n')
    with pytest.raises(RuntimeError, match="without what they refer to"):
        migrate.upgrade(url, tree)
    assert asked(url, migrate.current) == "0001"
