"""Tables of the event log."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Table, Text

from gateway.kernel.store.schema import metadata

stream = Table(
    "stream",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("epoch", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
)

event = Table(
    "event",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("epoch", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("merchant_id", Text),
    Column("body", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    # One tree instead of two: every query names stream and number.
    sqlite_with_rowid=False,
)
