"""The browser that was sent to the issuer."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    with op.batch_alter_table("payment_authentication", schema=None) as batch_op:
        batch_op.add_column(sa.Column("sent_browser", sa.Text(), nullable=True))
