"""Who pays an attempt through a link, and how often a link was used to enter a card."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    with op.batch_alter_table("payment_attempt", schema=None) as batch_op:
        batch_op.add_column(sa.Column("payer", sa.Text(), nullable=True))
    with op.batch_alter_table("pay_link", schema=None) as batch_op:
        batch_op.add_column(sa.Column("card_entries", sa.Integer(), server_default="0", nullable=False))
    # So far a link was its own payer.
    op.get_bind().execute(
        sa.text(
            "UPDATE payment_attempt SET payer = (SELECT 'payer_' || o.pay_link_id FROM payment_operation o "
            "WHERE o.operation_id = payment_attempt.operation_id) WHERE EXISTS (SELECT 1 "
            "FROM payment_operation o WHERE o.operation_id = payment_attempt.operation_id "
            "AND o.pay_link_id IS NOT NULL)"
        )
    )
