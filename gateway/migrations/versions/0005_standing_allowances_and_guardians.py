"""Allowances that attempts spend, questions to guardians, and where device tokens may be used."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "guardian_request",
        sa.Column("approval_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("guardian_id", sa.Text(), nullable=False),
        sa.Column("allowance_id", sa.Text(), nullable=False),
        sa.Column("operation_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("above_minor", sa.BigInteger(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("kept_until_ms", sa.BigInteger(), nullable=False),
        sa.Column("decided_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("decided_on", sa.Text(), nullable=True),
        sa.CheckConstraint("amount_minor > 0 AND above_minor >= 0", name=op.f("ck_guardian_request_amounts")),
        sa.PrimaryKeyConstraint("approval_id", name=op.f("pk_guardian_request")),
        sa.UniqueConstraint("operation_id", name=op.f("uq_guardian_request_operation_id")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("guardian_request", schema=None) as batch_op:
        batch_op.create_index("ix_guardian_request_order", ["order_id"], unique=False)
        batch_op.create_index(
            "ix_guardian_request_waiting",
            ["guardian_id", "approval_id"],
            unique=False,
            sqlite_where=sa.text("state = 'pending'"),
            postgresql_where=sa.text("state = 'pending'"),
        )
        batch_op.create_index(
            "ux_guardian_request_open",
            ["order_id"],
            unique=True,
            sqlite_where=sa.text("state = 'pending'"),
            postgresql_where=sa.text("state = 'pending'"),
        )

    with op.batch_alter_table("device_token", schema=None) as batch_op:
        batch_op.add_column(sa.Column("world_id", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("session_id", sa.Text(), nullable=True))

    with op.batch_alter_table("payment_attempt", schema=None) as batch_op:
        batch_op.add_column(sa.Column("spending", sa.Text(), nullable=True))
