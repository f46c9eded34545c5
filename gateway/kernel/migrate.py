"""Schema migrations with Alembic, run from the program: no alembic.ini.

A tree of migrations is a folder with an ``env.py`` of three lines and its revisions under ``versions/``::

    from gateway.kernel.migrate import run_in_environment

    run_in_environment()

A migration is one transaction on both databases: killed half way, it has not happened. Connections given
to these functions are in autocommit mode, as `gateway.kernel.store.sqlite.connect` makes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command, context
from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.config import Config
from alembic.operations.ops import UpgradeOps
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, create_engine
from sqlalchemy.pool import NullPool

from gateway.kernel.store.sqlite import connect

_LOCK = 0x76697472696E65
"""The advisory lock under which one of several starting nodes migrates."""
_NOT_OURS = {"store_commit", "alembic_version"}
"""Tables that the store and Alembic look after themselves."""


def upgrade(target: str | Connection, script_location: Path, revision: str = "head") -> None:
    """Bring the schema up to ``revision``; does nothing when it is there already.

    ``target`` is a SQLAlchemy URL or a connection in autocommit mode. Several nodes may call this at once.
    """
    with _connected(target) as connection, _transaction(connection):
        config = _config(script_location)
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def upgrade_sqlite(path: Path, script_location: Path) -> None:
    """Bring a SQLite file up to the newest revision, making it if it does not exist."""
    raw, core = connect(path)
    try:
        upgrade(core, script_location)
    finally:
        core.close()
        raw.close()


def current(connection: Connection) -> str | None:
    """Return the revision the schema is at, or None before the first."""
    return MigrationContext.configure(connection).get_current_revision()


def check(metadata: MetaData, connection: Connection) -> list[str]:
    """Return what differs between the database's schema and the tables of the code; empty if nothing does.

    Compared are tables, columns with their types and whether they may be null, indexes, unique and foreign
    keys. Alembic does not compare check constraints and the conditions of partial indexes.
    """
    return [repr(difference) for difference in compare_metadata(_compared(connection), metadata)]


def revision(script_location: Path, metadata: MetaData, message: str) -> Path | None:
    """Write the next revision: what it takes to get from the latest one to ``metadata``.

    The revisions so far are run on an empty SQLite database and compared with the metadata. Returns the new
    file, or None if nothing changed. Read what was written before you commit it.
    """
    with _connected("sqlite://") as connection:
        versions = script_location / "versions"
        versions.mkdir(parents=True, exist_ok=True)
        if any(versions.glob("*.py")):
            upgrade(connection, script_location)
        compared = _compared(connection)
        script = produce_migrations(compared, metadata)
        assert script.upgrade_ops is not None
        if script.upgrade_ops.is_empty():
            return None
        latest = ScriptDirectory.from_config(_config(script_location)).get_current_head()
        number = f"{int(latest or '0') + 1:04d}"
        path = versions / f"{number}_{re.sub(r'[^a-z0-9]+', '_', message.lower()).strip('_')}.py"
        path.write_text(
            f'"""{message}."""\n\n'
            "from __future__ import annotations\n\n"
            "import sqlalchemy as sa\n"
            "from alembic import op\n\n"
            f'revision = "{number}"\n'
            f"down_revision = {'None' if latest is None else repr(latest)}\n\n\n"
            f"def upgrade() -> None:\n{_rendered(script.upgrade_ops, compared)}\n"
        )
        return path


def run_in_environment() -> None:
    """What a tree's ``env.py`` does: run the revisions on the connection it was given."""
    connection: Connection = context.config.attributes["connection"]
    # The transaction around it is ours (`_transaction`), so Alembic leaves it open.
    context.configure(connection=connection, render_as_batch=connection.dialect.name == "sqlite")
    context.run_migrations()


def _rendered(operations: UpgradeOps, compared: MigrationContext) -> str:
    body = render_python_code(operations, render_as_batch=True, migration_context=compared)
    return "\n".join(line for line in body.splitlines() if "###" not in line).strip("\n")


def _config(script_location: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(script_location).replace("%", "%%"))
    return config


def _compared(connection: Connection) -> MigrationContext:
    def ours(thing: Any, name: str | None, kind: str, reflected: bool, compared_to: Any) -> bool:
        return not (kind == "table" and name in _NOT_OURS)

    return MigrationContext.configure(connection, opts={"compare_type": True, "include_object": ours})


@contextmanager
def _connected(target: str | Connection) -> Iterator[Connection]:
    if isinstance(target, Connection):
        yield target
        return
    engine = create_engine(target, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection


@contextmanager
def _transaction(connection: Connection) -> Iterator[None]:
    """One transaction around all revisions, begun by hand because the drivers commit before DDL or not."""
    is_sqlite = connection.dialect.name == "sqlite"
    enforced = 0
    if is_sqlite:
        # Batch mode replaces tables, which would take the rows that refer to them along.
        enforced = connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one()
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql("BEGIN")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
    try:
        yield
        if is_sqlite:
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
            if broken is not None:
                raise RuntimeError(f"the migration left rows without what they refer to: {tuple(broken)}")
        connection.exec_driver_sql("COMMIT")
    except BaseException:
        connection.exec_driver_sql("ROLLBACK")
        raise
    finally:
        if enforced:
            connection.exec_driver_sql("PRAGMA foreign_keys=ON")
