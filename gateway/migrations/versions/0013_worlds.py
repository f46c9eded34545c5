"""Worlds that may see what a player owns, and the notices that they are sent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "world",
        sa.Column("world_id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("webhook_url", sa.Text(), nullable=True),
        sa.Column("webhook_stopped_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("webhook_stopped_because", sa.Text(), nullable=True),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("closed_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("world_id", name=op.f("pk_world")),
    )
    op.create_table(
        "world_key",
        sa.Column("key_digest", sa.Text(), nullable=False),
        sa.Column("world_id", sa.Text(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("key_digest", name=op.f("pk_world_key")),
    )
    op.create_index("ix_world_key_world", "world_key", ["world_id"], unique=False)
    op.create_table(
        "world_consent",
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("world_id", sa.Text(), nullable=False),
        sa.Column("player_id", sa.Text(), nullable=False),
        sa.Column("item_key", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=True),
        sa.Column("allowed_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("after_seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("customer_id", "world_id", name=op.f("pk_world_consent")),
        sa.UniqueConstraint("player_id", name=op.f("uq_world_consent_player_id")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_world_consent_world", "world_consent", ["world_id", "player_id"], unique=False)
    op.create_table(
        "webhook_feed",
        sa.Column("endpoint_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("endpoint_id", name=op.f("pk_webhook_feed")),
    )
    op.create_table(
        "webhook_notice",
        sa.Column("endpoint_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("notice_id", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("lease_until_ms", sa.BigInteger(), nullable=True),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("endpoint_id", "seq", name=op.f("pk_webhook_notice")),
        sa.UniqueConstraint("notice_id", name=op.f("uq_webhook_notice_notice_id")),
        sqlite_with_rowid=False,
    )
    waiting = sa.text("state = 'waiting'")
    op.create_index(
        "ix_webhook_notice_due",
        "webhook_notice",
        ["endpoint_id", "due_at_ms"],
        unique=False,
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
    op.create_index(
        "ix_webhook_notice_line",
        "webhook_notice",
        ["subject", "seq"],
        unique=False,
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
    ended = sa.text("ended_at_ms IS NOT NULL")
    op.create_index(
        "ix_webhook_notice_ended",
        "webhook_notice",
        ["ended_at_ms"],
        unique=False,
        sqlite_where=ended,
        postgresql_where=ended,
    )
