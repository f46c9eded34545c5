"""The audit trail is only ever added to: the database itself refuses changes and early removal."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"

_TABLES = {"vault_audit": "at_ms", "vault_audit_seal": "sealed_at_ms"}
_KEPT_MS = 395 * 24 * 3_600_000


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for table, written_at in _TABLES.items():
            _sqlite(table, written_at)
    else:
        for table, written_at in _TABLES.items():
            _postgresql(table, written_at)


def _sqlite(table: str, written_at: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_kept_as_written BEFORE UPDATE ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append only'); END"
    )
    op.execute(
        f"CREATE TRIGGER {table}_kept BEFORE DELETE ON {table} "
        f"WHEN OLD.{written_at} > CAST(strftime('%s', 'now') AS INTEGER) * 1000 - {_KEPT_MS} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append only'); END"
    )


def _postgresql(table: str, written_at: str) -> None:
    op.execute(
        f"CREATE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"RAISE EXCEPTION '{table} is append only'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_kept_as_written BEFORE UPDATE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {table}_refuse()"
    )
    op.execute(
        f"CREATE TRIGGER {table}_kept BEFORE DELETE ON {table} FOR EACH ROW "
        f"WHEN (OLD.{written_at} > (extract(epoch from now()) * 1000)::bigint - {_KEPT_MS}) "
        f"EXECUTE FUNCTION {table}_refuse()"
    )
    op.execute(
        f"CREATE TRIGGER {table}_kept_whole BEFORE TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_refuse()"
    )
