"""Tokens that are paid before they are minted, and when they may be."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    with op.batch_alter_table("leg", schema=None) as batch_op:
        batch_op.add_column(sa.Column("wallet_id", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("recipient", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("mint_not_before_ms", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("paid_first", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("delivered_at_ms", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("due_at_ms", sa.BigInteger(), nullable=True))
        batch_op.create_index(
            "ix_leg_due",
            ["due_at_ms"],
            unique=False,
            sqlite_where=sa.text("due_at_ms IS NOT NULL"),
            postgresql_where=sa.text("due_at_ms IS NOT NULL"),
        )
    with op.batch_alter_table("consent", schema=None) as batch_op:
        batch_op.add_column(sa.Column("session_id", sa.Text(), nullable=True))
        # Null for what was given before confirmations were kept.
        batch_op.add_column(sa.Column("confirmed_at_ms", sa.BigInteger(), nullable=True))
