"""payments and the vault."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "vault_attempt",
        sa.Column("operation_id", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=True),
        sa.Column("account_reference", sa.Text(), nullable=True),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("advice", sa.Text(), nullable=True),
        sa.Column("blocks", sa.Text(), nullable=True),
        sa.Column("counts", sa.Integer(), nullable=False),
        sa.Column("wait_until_ms", sa.BigInteger(), nullable=True),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("initiation", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("operation_id", name=op.f("pk_vault_attempt")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("vault_attempt", schema=None) as batch_op:
        batch_op.create_index(
            "ix_vault_attempt_account",
            ["account_reference", "at_ms"],
            unique=False,
            sqlite_where=sa.text("account_reference IS NOT NULL"),
            postgresql_where=sa.text("account_reference IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_vault_attempt_fingerprint",
            ["fingerprint", "at_ms"],
            unique=False,
            sqlite_where=sa.text("fingerprint IS NOT NULL"),
            postgresql_where=sa.text("fingerprint IS NOT NULL"),
        )

    op.create_table(
        "vault_audit",
        sa.Column(
            "audit_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("actor_role", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("audit_id", name=op.f("pk_vault_audit")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "vault_audit_seal",
        sa.Column("seal_no", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("row_count", sa.Integer(), nullable=False),
        sa.Column("last_id", sa.BigInteger(), nullable=False),
        sa.Column("links", sa.LargeBinary(), nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sa.Column("mac_key_id", sa.Text(), nullable=False),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seal_no", name=op.f("pk_vault_audit_seal")),
    )
    op.create_table(
        "vault_card_entry",
        sa.Column("entry_id", sa.Text(), nullable=False),
        sa.Column("payment_method_id", sa.Text(), nullable=False),
        sa.Column("entered_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("entry_id", name=op.f("pk_vault_card_entry")),
    )
    with op.batch_alter_table("vault_card_entry", schema=None) as batch_op:
        batch_op.create_index("ix_vault_card_entry_entered", ["entered_at_ms", "entry_id"], unique=False)

    op.create_table(
        "vault_card_key",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("modulus", sa.Text(), nullable=False),
        sa.Column("exponent", sa.Text(), nullable=False),
        sa.Column("format_version", sa.Integer(), nullable=False),
        sa.Column("kek_id", sa.Text(), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=False),
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_vault_card_key")),
    )
    with op.batch_alter_table("vault_card_key", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_vault_card_key_created_at_ms"), ["created_at_ms"], unique=False)

    op.create_table(
        "vault_card_session",
        sa.Column("session_digest", sa.LargeBinary(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("return_url", sa.Text(), nullable=True),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("busy_until_ms", sa.BigInteger(), nullable=False),
        sa.Column("payment_method_id", sa.Text(), nullable=True),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("session_digest", name=op.f("pk_vault_card_session")),
    )
    with op.batch_alter_table("vault_card_session", schema=None) as batch_op:
        batch_op.create_index("ix_vault_card_session_expires", ["expires_at_ms"], unique=False)

    op.create_table(
        "vault_cash_operation",
        sa.Column("operation_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column("parent_id", sa.Text(), nullable=True),
        sa.Column("amount_minor", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("tendered_minor", sa.BigInteger(), nullable=True),
        sa.Column("rounding_minor", sa.BigInteger(), nullable=True),
        sa.Column("change_minor", sa.BigInteger(), nullable=True),
        sa.Column("confirmed_by", sa.Text(), nullable=True),
        sa.Column("received_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("decided_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("operation_id", name=op.f("pk_vault_cash_operation")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("vault_cash_operation", schema=None) as batch_op:
        batch_op.create_index(
            "ix_vault_cash_operation_open",
            ["received_at_ms"],
            unique=False,
            sqlite_where=sa.text("outcome = 'pending'"),
            postgresql_where=sa.text("outcome = 'pending'"),
        )

    op.create_table(
        "vault_credential",
        sa.Column("credential_id", sa.Text(), nullable=False),
        sa.Column("secret_digest", sa.LargeBinary(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("credential_id", name=op.f("pk_vault_credential")),
        sa.UniqueConstraint("secret_digest", name=op.f("uq_vault_credential_secret_digest")),
    )
    op.create_table(
        "vault_delegated_token",
        sa.Column("allowance_id", sa.Text(), nullable=False),
        sa.Column("payment_method_id", sa.Text(), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("forget_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("allowance_id", name=op.f("pk_vault_delegated_token")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("vault_delegated_token", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_vault_delegated_token_forget_at_ms"), ["forget_at_ms"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_vault_delegated_token_payment_method_id"), ["payment_method_id"], unique=False
        )

    op.create_table(
        "vault_guardian_approval",
        sa.Column("approval_id", sa.Text(), nullable=False),
        sa.Column("allowance_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("guardian_id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("max_amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("operation_id", sa.Text(), nullable=True),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("changed_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("approval_id", name=op.f("pk_vault_guardian_approval")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("vault_guardian_approval", schema=None) as batch_op:
        batch_op.create_index("ix_vault_guardian_approval_order", ["allowance_id", "order_id"], unique=False)

    op.create_table(
        "vault_idempotency",
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("mac_key_id", sa.Text(), nullable=False),
        sa.Column("body_mac", sa.LargeBinary(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("claim", sa.Integer(), nullable=False),
        sa.Column("claimed_until_ms", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("principal", "path", "idempotency_key", name=op.f("pk_vault_idempotency")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("vault_idempotency", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_vault_idempotency_created_at_ms"), ["created_at_ms"], unique=False
        )
        batch_op.create_index(
            "ix_vault_idempotency_unanswered",
            ["claimed_until_ms"],
            unique=False,
            sqlite_where=sa.text("status IS NULL"),
            postgresql_where=sa.text("status IS NULL"),
        )

    op.create_table(
        "vault_key",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("changed_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_vault_key")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("vault_key", schema=None) as batch_op:
        batch_op.create_index(
            "uq_vault_key_current",
            ["purpose"],
            unique=True,
            sqlite_where=sa.text("state = 'current'"),
            postgresql_where=sa.text("state = 'current'"),
        )
        batch_op.create_index(
            "uq_vault_key_retiring",
            ["purpose"],
            unique=True,
            sqlite_where=sa.text("state = 'retiring'"),
            postgresql_where=sa.text("state = 'retiring'"),
        )

    op.create_table(
        "vault_sealed_card",
        sa.Column("token_digest", sa.LargeBinary(), nullable=False),
        sa.Column("seen_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("token_digest", name=op.f("pk_vault_sealed_card")),
    )
    with op.batch_alter_table("vault_sealed_card", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_vault_sealed_card_seen_at_ms"), ["seen_at_ms"], unique=False)

    op.create_table(
        "vault_voucher",
        sa.Column("voucher_id", sa.Text(), nullable=False),
        sa.Column("code_digest", sa.LargeBinary(), nullable=False),
        sa.Column("last4", sa.Text(), nullable=False),
        sa.Column("issued_minor", sa.BigInteger(), nullable=False),
        sa.Column("balance_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("balance_minor <= issued_minor", name=op.f("ck_vault_voucher_balance_was_issued")),
        sa.CheckConstraint("balance_minor >= 0", name=op.f("ck_vault_voucher_balance_positive")),
        sa.PrimaryKeyConstraint("voucher_id", name=op.f("pk_vault_voucher")),
        sa.UniqueConstraint("code_digest", name=op.f("uq_vault_voucher_code_digest")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "vault_voucher_operation",
        sa.Column("operation_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column("parent_id", sa.Text(), nullable=True),
        sa.Column("voucher_id", sa.Text(), nullable=True),
        sa.Column("amount_minor", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("taken_minor", sa.BigInteger(), nullable=False),
        sa.Column("received_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "taken_minor >= 0 AND taken_minor <= amount_minor",
            name=op.f("ck_vault_voucher_operation_taken_in_amount"),
        ),
        sa.PrimaryKeyConstraint("operation_id", name=op.f("pk_vault_voucher_operation")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "vault_wallet_payload",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("stored_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_vault_wallet_payload")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "vault_webhook",
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("operation_id", sa.Text(), nullable=True),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("body_digest", sa.LargeBinary(), nullable=False),
        sa.Column("received_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("processed_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("provider", "event_id", name=op.f("pk_vault_webhook")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("vault_webhook", schema=None) as batch_op:
        batch_op.create_index(
            "ix_vault_webhook_open",
            ["received_at_ms"],
            unique=False,
            sqlite_where=sa.text("state != 'processed'"),
            postgresql_where=sa.text("state != 'processed'"),
        )

    with op.batch_alter_table("vault_allowance", schema=None) as batch_op:
        batch_op.add_column(sa.Column("not_before_ms", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("session_id", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("world_id", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("device_key", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("category", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("max_item_minor", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("max_per_hour_minor", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("guardian_id", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("guardian_above_minor", sa.BigInteger(), nullable=True))

    with op.batch_alter_table("vault_method", schema=None) as batch_op:
        batch_op.add_column(sa.Column("account_reference", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("provider", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("removed_at_ms", sa.BigInteger(), nullable=True))
        batch_op.alter_column("fingerprint_key_id", existing_type=sa.TEXT(), nullable=True)
        batch_op.alter_column("fingerprint", existing_type=sa.BLOB(), nullable=True)
        batch_op.alter_column("kek_id", existing_type=sa.TEXT(), nullable=True)
        batch_op.alter_column("wrapped_key", existing_type=sa.BLOB(), nullable=True)
        batch_op.alter_column("nonce", existing_type=sa.BLOB(), nullable=True)
        batch_op.alter_column("ciphertext", existing_type=sa.BLOB(), nullable=True)
        batch_op.create_index("ix_vault_method_kek", ["kek_id", "payment_method_id"], unique=False)

    with op.batch_alter_table("vault_operation", schema=None) as batch_op:
        batch_op.add_column(sa.Column("provider", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("refused_limit", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("decline_advice", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("order_id", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("initiation", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("hour_minor", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("approval_id", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("account_reference", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("liability", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("replaced_minor", sa.BigInteger(), nullable=True))
        batch_op.create_index(
            "ix_vault_operation_hour",
            ["allowance_id", "sent_at_ms"],
            unique=False,
            sqlite_where=sa.text("hour_minor IS NOT NULL"),
            postgresql_where=sa.text("hour_minor IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_vault_operation_reference",
            ["provider_reference"],
            unique=False,
            sqlite_where=sa.text("provider_reference IS NOT NULL"),
            postgresql_where=sa.text("provider_reference IS NOT NULL"),
        )
