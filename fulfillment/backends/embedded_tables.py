"""Tables of the embedded order backend, in its own database."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Table, Text, text

from gateway.kernel.store.schema import NAMING

metadata = MetaData(naming_convention=NAMING)

backend_order = Table(
    "backend_order",
    metadata,
    Column("reference", Text, primary_key=True),
    Column("backend_reference", Text, nullable=False),
    # The order as it was asked for, to tell a repeat from another order under the same reference.
    Column("document", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("due_at_ms", BigInteger),
    Column("created_at_ms", BigInteger, nullable=False),
    Index("ix_backend_order_due", "due_at_ms", sqlite_where=text("due_at_ms IS NOT NULL")),
    sqlite_with_rowid=False,
)

backend_update = Table(
    "backend_update",
    metadata,
    # Numbered by SQLite itself; with one writer the order of numbers is the order of commits.
    Column("seq", Integer, primary_key=True),
    Column("reference", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("carrier", Text),
    Column("number", Text),
    Column("reason", Text),
    Column("at_ms", BigInteger, nullable=False),
)
