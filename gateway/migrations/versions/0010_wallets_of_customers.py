"""Wallets that customers linked, and accounts whose key they took."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    with op.batch_alter_table("custody_account", schema=None) as batch_op:
        batch_op.add_column(sa.Column("exported_at_ms", sa.BigInteger(), nullable=True))
    op.create_table(
        "linked_wallet",
        sa.Column("wallet_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("linked_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("unlinked_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("wallet_id", name=op.f("pk_linked_wallet")),
    )
    op.create_index(
        "ux_linked_wallet_address",
        "linked_wallet",
        ["chain_id", "address"],
        unique=True,
        sqlite_where=sa.text("unlinked_at_ms IS NULL"),
        postgresql_where=sa.text("unlinked_at_ms IS NULL"),
    )
    op.create_index("ix_linked_wallet_customer", "linked_wallet", ["customer_id", "wallet_id"])
    op.create_table(
        "wallet_challenge",
        sa.Column("nonce", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("used_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("nonce", name=op.f("pk_wallet_challenge")),
    )
    op.create_index("ix_wallet_challenge_customer", "wallet_challenge", ["customer_id", "expires_at_ms"])
    op.create_table(
        "key_export",
        sa.Column("export_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("challenge", sa.Text(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("passkey_id", sa.Text(), nullable=True),
        sa.Column("exported_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("export_id", name=op.f("pk_key_export")),
    )
    op.create_index("ix_key_export_customer", "key_export", ["customer_id", "expires_at_ms"])
