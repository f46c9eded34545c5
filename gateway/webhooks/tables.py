"""Tables of webhooks: the notices of each endpoint, numbered in the order of their facts."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text, text

from gateway.kernel.store.schema import metadata

_WAITING = text("state = 'waiting'")

webhook_feed = Table(
    "webhook_feed",
    metadata,
    Column("endpoint_id", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),
)

webhook_notice = Table(
    "webhook_notice",
    metadata,
    Column("endpoint_id", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    # Constant over all attempts: the receiver knows a repeat by it.
    Column("notice_id", Text, nullable=False, unique=True),
    # Whom it is about: notices of one endpoint about one subject are sent one after the other.
    Column("subject", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("data", Text, nullable=False),  # JSON
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at_ms", BigInteger, nullable=False),
    # Until when the attempt under way counts; null: none is.
    Column("lease_until_ms", BigInteger),
    Column("last_status", Integer),
    Column("last_error", Text),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("ended_at_ms", BigInteger),
    Index(
        "ix_webhook_notice_due", "endpoint_id", "due_at_ms", sqlite_where=_WAITING, postgresql_where=_WAITING
    ),
    Index(
        "ix_webhook_notice_line",
        "subject",
        "seq",
        sqlite_where=_WAITING,
        postgresql_where=_WAITING,
    ),
    Index(
        "ix_webhook_notice_ended",
        "ended_at_ms",
        sqlite_where=text("ended_at_ms IS NOT NULL"),
        postgresql_where=text("ended_at_ms IS NOT NULL"),
    ),
    sqlite_with_rowid=False,
)
