"""The table of tasks. A finished task is deleted: what it did stands in the facts it recorded."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text, text

from gateway.kernel.store.schema import metadata

task = Table(
    "task",
    metadata,
    Column("task_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("due_at_ms", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("lease_until_ms", BigInteger),
    Column("last_error", Text),
    Column("created_at_ms", BigInteger, nullable=False),
    Index("ix_task_state_due", "state", "due_at_ms"),
    # One running task per subject (an order) and kind, held by the database.
    Index(
        "ux_task_running",
        "subject",
        "kind",
        unique=True,
        sqlite_where=text("state = 'running'"),
        postgresql_where=text("state = 'running'"),
    ),
    sqlite_with_rowid=False,
)
