"""initial schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "backend_order",
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("backend_reference", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("due_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("reference", name=op.f("pk_backend_order")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("backend_order", schema=None) as batch_op:
        batch_op.create_index(
            "ix_backend_order_due", ["due_at_ms"], unique=False, sqlite_where=sa.text("due_at_ms IS NOT NULL")
        )

    op.create_table(
        "backend_update",
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("carrier", sa.Text(), nullable=True),
        sa.Column("number", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_backend_update")),
    )
