"""What a token says of itself, pictures of models, and pages that show a wallet."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "token_document",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("item_number", sa.BigInteger(), nullable=False),
        sa.Column("serial", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("published_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_token_document")),
        sa.UniqueConstraint("item_number", "serial", name=op.f("uq_token_document_item_number_serial")),
    )
    op.create_table(
        "wallet_page",
        sa.Column("page_digest", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("session_digest", sa.Text(), nullable=True),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("page_digest", name=op.f("pk_wallet_page")),
        sa.UniqueConstraint("session_digest", name=op.f("uq_wallet_page_session_digest")),
    )
    with op.batch_alter_table("wallet_page", schema=None) as batch_op:
        batch_op.create_index("ix_wallet_page_customer", ["customer_id"], unique=False)
    with op.batch_alter_table("asset", schema=None) as batch_op:
        batch_op.add_column(sa.Column("picture_id", sa.Text(), nullable=True))
    with op.batch_alter_table("variant", schema=None) as batch_op:
        batch_op.add_column(sa.Column("picture_id", sa.Text(), nullable=True))
    with op.batch_alter_table("mint", schema=None) as batch_op:
        batch_op.create_index("ix_mint_item", ["item_number", "serial"], unique=False)
