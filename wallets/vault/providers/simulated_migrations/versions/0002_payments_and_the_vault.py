"""payments and the vault."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "acquirer_chargeback",
        sa.Column("operation_id", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("received_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("operation_id", name=op.f("pk_acquirer_chargeback")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("acquirer_operation", schema=None) as batch_op:
        batch_op.add_column(sa.Column("liability", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("decided_at_ms", sa.BigInteger(), nullable=True))
