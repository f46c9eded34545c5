"""initial schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "acquirer_operation",
        sa.Column("operation_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column("parent_id", sa.Text(), nullable=True),
        sa.Column("card", sa.Text(), nullable=True),
        sa.Column("amount_minor", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("network_code", sa.Text(), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("capture_before_ms", sa.BigInteger(), nullable=True),
        sa.Column("action_id", sa.Text(), nullable=True),
        sa.Column("captured_minor", sa.BigInteger(), nullable=False),
        sa.Column("voided_minor", sa.BigInteger(), nullable=False),
        sa.Column("refunded_minor", sa.BigInteger(), nullable=False),
        sa.Column("received_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "captured_minor + voided_minor <= amount_minor",
            name=op.f("ck_acquirer_operation_taken_of_authorization"),
        ),
        sa.CheckConstraint(
            "refunded_minor <= amount_minor", name=op.f("ck_acquirer_operation_taken_of_capture")
        ),
        sa.PrimaryKeyConstraint("operation_id", name=op.f("pk_acquirer_operation")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("acquirer_operation", schema=None) as batch_op:
        batch_op.create_index(
            "uq_acquirer_operation_action",
            ["action_id"],
            unique=True,
            sqlite_where=sa.text("action_id IS NOT NULL"),
            postgresql_where=sa.text("action_id IS NOT NULL"),
        )
