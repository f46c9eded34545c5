"""initial schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "vault_allowance",
        sa.Column("allowance_id", sa.Text(), nullable=False),
        sa.Column("payment_method_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("place_id", sa.Text(), nullable=True),
        sa.Column("device_id", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("max_amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("max_uses", sa.Integer(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("used_minor", sa.BigInteger(), nullable=False),
        sa.Column("used_count", sa.Integer(), nullable=False),
        sa.Column("revoked_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "used_count >= 0 AND used_count <= max_uses", name=op.f("ck_vault_allowance_used_count_in_terms")
        ),
        sa.CheckConstraint(
            "used_minor >= 0 AND used_minor <= max_amount_minor",
            name=op.f("ck_vault_allowance_used_minor_in_terms"),
        ),
        sa.PrimaryKeyConstraint("allowance_id", name=op.f("pk_vault_allowance")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "vault_method",
        sa.Column("payment_method_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("brand", sa.Text(), nullable=False),
        sa.Column("last4", sa.Text(), nullable=False),
        sa.Column("expiry_month", sa.Integer(), nullable=False),
        sa.Column("expiry_year", sa.Integer(), nullable=False),
        sa.Column("fingerprint_key_id", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("record_version", sa.Integer(), nullable=False),
        sa.Column("format_version", sa.Integer(), nullable=False),
        sa.Column("kek_id", sa.Text(), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=False),
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("payment_method_id", name=op.f("pk_vault_method")),
        sa.UniqueConstraint(
            "fingerprint_key_id",
            "fingerprint",
            "customer_id",
            name=op.f("uq_vault_method_fingerprint_key_id_fingerprint_customer_id"),
        ),
    )
    with op.batch_alter_table("vault_method", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_vault_method_customer_id"), ["customer_id"], unique=False)

    op.create_table(
        "vault_operation",
        sa.Column("operation_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("request_digest", sa.Text(), nullable=False),
        sa.Column("parent_id", sa.Text(), nullable=True),
        sa.Column("allowance_id", sa.Text(), nullable=True),
        sa.Column("payment_method_id", sa.Text(), nullable=True),
        sa.Column("amount_minor", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("captured_minor", sa.BigInteger(), nullable=False),
        sa.Column("voided_minor", sa.BigInteger(), nullable=False),
        sa.Column("refunded_minor", sa.BigInteger(), nullable=False),
        sa.Column("provider_reference", sa.Text(), nullable=True),
        sa.Column("network_transaction_id", sa.Text(), nullable=True),
        sa.Column("capture_before_ms", sa.BigInteger(), nullable=True),
        sa.Column("decline_code", sa.Text(), nullable=True),
        sa.Column("decline_class", sa.Text(), nullable=True),
        sa.Column("action_id", sa.Text(), nullable=True),
        sa.Column("action_path", sa.Text(), nullable=True),
        sa.Column("refusal", sa.Text(), nullable=True),
        sa.Column("sent_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("changed_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "captured_minor + voided_minor <= amount_minor",
            name=op.f("ck_vault_operation_taken_of_authorization"),
        ),
        sa.CheckConstraint(
            "captured_minor >= 0 AND voided_minor >= 0 AND refunded_minor >= 0",
            name=op.f("ck_vault_operation_taken_positive"),
        ),
        sa.CheckConstraint(
            "refunded_minor <= amount_minor", name=op.f("ck_vault_operation_taken_of_capture")
        ),
        sa.PrimaryKeyConstraint("operation_id", name=op.f("pk_vault_operation")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("vault_operation", schema=None) as batch_op:
        batch_op.create_index("ix_vault_operation_changed", ["changed_at_ms", "operation_id"], unique=False)
        batch_op.create_index(
            "ix_vault_operation_parent",
            ["parent_id"],
            unique=False,
            sqlite_where=sa.text("parent_id IS NOT NULL"),
            postgresql_where=sa.text("parent_id IS NOT NULL"),
        )
