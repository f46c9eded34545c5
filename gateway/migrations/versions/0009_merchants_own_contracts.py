"""Merchants' own contracts, and what their mints cost."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "own_contract",
        sa.Column("contract_id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("standard", sa.Text(), nullable=False),
        sa.Column("call", sa.Text(), nullable=False),
        sa.Column("arguments", sa.Text(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("gas", sa.BigInteger(), nullable=True),
        sa.Column("updated_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("contract_id", name=op.f("pk_own_contract")),
        sa.UniqueConstraint("merchant_id", "name", name=op.f("uq_own_contract_merchant_id_name")),
    )
    op.create_index("ix_own_contract_address", "own_contract", ["chain_id", "address"])
    op.create_table(
        "gas_limit",
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("per_day", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", name=op.f("pk_gas_limit")),
    )
    op.create_table(
        "gas_day",
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("reserved", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "day", name=op.f("pk_gas_day")),
    )
    with op.batch_alter_table("token_item", schema=None) as batch_op:
        batch_op.add_column(sa.Column("own_contract_id", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("first_token_id", sa.Text(), nullable=True))
        batch_op.create_foreign_key(
            op.f("fk_token_item_own_contract_id_own_contract"),
            "own_contract",
            ["own_contract_id"],
            ["contract_id"],
        )
    with op.batch_alter_table("chain_tx", schema=None) as batch_op:
        batch_op.add_column(sa.Column("gas_shares", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("gas_used", sa.BigInteger(), nullable=True))
    for name, columns, state in (
        ("ix_mint_held", ["merchant_id", "queued_at_ms"], "held"),
        ("ix_mint_parked", ["leg_id"], "parked"),
    ):
        where = sa.text(f"state = '{state}'")
        op.create_index(name, "mint", columns, sqlite_where=where, postgresql_where=where)
