"""payments and the vault."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "bank_line",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("line_key", sa.Text(), nullable=False),
        sa.Column("file_hash", sa.Text(), nullable=False),
        sa.Column("booked_on", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("counterparty", sa.Text(), nullable=False),
        sa.Column("outcomes", sa.Text(), nullable=False),
        sa.Column("findings", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=True),
        sa.Column("payout_id", sa.Text(), nullable=True),
        sa.Column("ledger_transaction_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("source", "line_key", name=op.f("pk_bank_line")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("bank_line", schema=None) as batch_op:
        batch_op.create_index("ix_bank_line_file", ["file_hash"], unique=False)
        batch_op.create_index("ix_bank_line_payout", ["provider", "payout_id"], unique=False)

    op.create_table(
        "cash_collection",
        sa.Column("operation_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("staff_id", sa.Text(), nullable=False),
        sa.Column("drawer", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("tendered_minor", sa.BigInteger(), nullable=True),
        sa.Column("restocked", sa.Integer(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("operation_id", name=op.f("pk_cash_collection")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("cash_collection", schema=None) as batch_op:
        batch_op.create_index("ix_cash_collection_order", ["order_id"], unique=False)

    op.create_table(
        "ledger_balance",
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("amount >= 0", name=op.f("ck_ledger_balance_within_limit")),
        sa.PrimaryKeyConstraint("merchant_id", "account", "unit", name=op.f("pk_ledger_balance")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ledger_closing",
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("debits_posted", sa.BigInteger(), nullable=False),
        sa.Column("credits_posted", sa.BigInteger(), nullable=False),
        sa.Column("debits_pending", sa.BigInteger(), nullable=False),
        sa.Column("credits_pending", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "account", "unit", "day", name=op.f("pk_ledger_closing")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ledger_day",
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("transactions", sa.Integer(), nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.Column("root", sa.Text(), nullable=False),
        sa.Column("balances", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("closed_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "day", name=op.f("pk_ledger_day")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "passkey",
        sa.Column("passkey_id", sa.Text(), nullable=False),
        sa.Column("credential_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("backup_eligible", sa.Integer(), nullable=False),
        sa.Column("backed_up", sa.Integer(), nullable=False),
        sa.Column("transports", sa.Text(), nullable=False),
        sa.Column("aaguid", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_used_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("revoked_because", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("passkey_id", name=op.f("pk_passkey")),
        sa.UniqueConstraint("credential_id", name=op.f("uq_passkey_credential_id")),
    )
    with op.batch_alter_table("passkey", schema=None) as batch_op:
        batch_op.create_index("ix_passkey_customer", ["customer_id"], unique=False)

    op.create_table(
        "pay_link",
        sa.Column("pay_link_id", sa.Text(), nullable=False),
        sa.Column("token_digest", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("operation_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("pay_link_id", name=op.f("pk_pay_link")),
        sa.UniqueConstraint("token_digest", name=op.f("uq_pay_link_token_digest")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("pay_link", schema=None) as batch_op:
        batch_op.create_index("ix_pay_link_merchant", ["merchant_id", "pay_link_id"], unique=False)
        batch_op.create_index(
            "ix_pay_link_open",
            ["expires_at_ms"],
            unique=False,
            sqlite_where=sa.text("state = 'open'"),
            postgresql_where=sa.text("state = 'open'"),
        )
        batch_op.create_index("ix_pay_link_order", ["order_id"], unique=False)
        batch_op.create_index(
            "ux_pay_link_paid",
            ["order_id"],
            unique=True,
            sqlite_where=sa.text("state = 'paid'"),
            postgresql_where=sa.text("state = 'paid'"),
        )

    op.create_table(
        "payment_authentication",
        sa.Column("authentication_id", sa.Text(), nullable=False),
        sa.Column("action_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("attempt_id", sa.Text(), nullable=False),
        sa.Column("operation_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("payment_method_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=True),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("payee", sa.Text(), nullable=False),
        sa.Column("nonce", sa.Text(), nullable=False),
        sa.Column("link", sa.Text(), nullable=False),
        sa.Column("provider_url", sa.Text(), nullable=False),
        sa.Column("user_code_digest", sa.Text(), nullable=True),
        sa.Column("passkey_allowed", sa.Integer(), nullable=False),
        sa.Column("enrol_challenge", sa.Text(), nullable=True),
        sa.Column("liability", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("opened_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("decided_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("authentication_id", name=op.f("pk_payment_authentication")),
        sa.UniqueConstraint("action_id", name=op.f("uq_payment_authentication_action_id")),
        sa.UniqueConstraint("operation_id", name=op.f("uq_payment_authentication_operation_id")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("payment_authentication", schema=None) as batch_op:
        batch_op.create_index("ix_payment_authentication_code", ["user_code_digest"], unique=False)
        batch_op.create_index(
            "ix_payment_authentication_method", ["payment_method_id", "decided_at_ms"], unique=False
        )
        batch_op.create_index("ix_payment_authentication_order", ["order_id"], unique=False)

    op.create_table(
        "refund_request",
        sa.Column("refund_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("way", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("done_minor", sa.BigInteger(), nullable=False),
        sa.Column("leg_id", sa.Text(), nullable=True),
        sa.Column("payment_method_id", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("authentication_id", sa.Text(), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("decided_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("ended_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "way = 'original' OR state NOT IN ('approved', 'done', 'failed') OR (decided_by IS NOT NULL AND decided_by <> requested_by)",
            name=op.f("ck_refund_request_two_people"),
        ),
        sa.CheckConstraint(
            "amount_minor > 0 AND done_minor <= amount_minor", name=op.f("ck_refund_request_amounts")
        ),
        sa.PrimaryKeyConstraint("refund_id", name=op.f("pk_refund_request")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("refund_request", schema=None) as batch_op:
        batch_op.create_index("ix_refund_request_merchant", ["merchant_id", "refund_id"], unique=False)
        batch_op.create_index("ix_refund_request_order", ["order_id"], unique=False)
        batch_op.create_index(
            "ix_refund_request_payouts",
            ["customer_id", "decided_at_ms"],
            unique=False,
            sqlite_where=sa.text("way <> 'original'"),
            postgresql_where=sa.text("way <> 'original'"),
        )
        batch_op.create_index(
            "ix_refund_request_waiting",
            ["expires_at_ms"],
            unique=False,
            sqlite_where=sa.text("expires_at_ms IS NOT NULL"),
            postgresql_where=sa.text("expires_at_ms IS NOT NULL"),
        )

    op.create_table(
        "settlement_file",
        sa.Column("file_hash", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("lines", sa.Integer(), nullable=False),
        sa.Column("from_ms", sa.BigInteger(), nullable=False),
        sa.Column("until_ms", sa.BigInteger(), nullable=False),
        sa.Column("imported_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("file_hash", name=op.f("pk_settlement_file")),
    )
    with op.batch_alter_table("settlement_file", schema=None) as batch_op:
        batch_op.create_index("ix_settlement_file_source", ["source", "from_ms"], unique=False)

    op.create_table(
        "settlement_line",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("line_key", sa.Text(), nullable=False),
        sa.Column("file_hash", sa.Text(), nullable=False),
        sa.Column("operation_id", sa.Text(), nullable=True),
        sa.Column("provider_reference", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("gross_minor", sa.BigInteger(), nullable=False),
        sa.Column("fee_minor", sa.BigInteger(), nullable=False),
        sa.Column("net_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("batch", sa.Text(), nullable=False),
        sa.Column("payout_id", sa.Text(), nullable=False),
        sa.Column("occurred_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("available_on", sa.Text(), nullable=False),
        sa.Column("outcomes", sa.Text(), nullable=False),
        sa.Column("findings", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("ledger_transaction_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("source", "line_key", name=op.f("pk_settlement_line")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("settlement_line", schema=None) as batch_op:
        batch_op.create_index("ix_settlement_line_file", ["file_hash"], unique=False)
        batch_op.create_index("ix_settlement_line_operation", ["operation_id", "type"], unique=False)
        batch_op.create_index("ix_settlement_line_payout", ["source", "payout_id"], unique=False)
        batch_op.create_index(
            "ix_settlement_line_reference", ["source", "provider_reference", "type"], unique=False
        )

    with op.batch_alter_table("ledger_transaction", schema=None) as batch_op:
        batch_op.add_column(sa.Column("phase", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("pending_id", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("part", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("pending_left", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("expires_at_ms", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("reverses_id", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("code", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("effective_at_ms", sa.BigInteger(), nullable=True))
        batch_op.drop_index(batch_op.f("ix_ledger_transaction_merchant"))
        batch_op.create_index(
            "ix_ledger_transaction_day", ["merchant_id", "at_ms", "ledger_transaction_id"], unique=False
        )
        batch_op.create_index(
            "ix_ledger_transaction_expiry",
            ["expires_at_ms"],
            unique=False,
            sqlite_where=sa.text("expires_at_ms IS NOT NULL"),
            postgresql_where=sa.text("expires_at_ms IS NOT NULL"),
        )
        batch_op.create_index(
            "uq_ledger_transaction_pending",
            ["pending_id", "part"],
            unique=True,
            sqlite_where=sa.text("pending_id IS NOT NULL"),
            postgresql_where=sa.text("pending_id IS NOT NULL"),
        )
        batch_op.create_index(
            "uq_ledger_transaction_reverses",
            ["reverses_id"],
            unique=True,
            sqlite_where=sa.text("reverses_id IS NOT NULL"),
            postgresql_where=sa.text("reverses_id IS NOT NULL"),
        )

    with op.batch_alter_table("payment_attempt", schema=None) as batch_op:
        batch_op.add_column(sa.Column("exemption", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("liability", sa.Text(), nullable=True))
        batch_op.create_index(
            "ix_payment_attempt_exempted",
            ["payment_method_id", "created_at_ms"],
            unique=False,
            sqlite_where=sa.text("exemption IS NOT NULL"),
            postgresql_where=sa.text("exemption IS NOT NULL"),
        )

    with op.batch_alter_table("payment_intent", schema=None) as batch_op:
        batch_op.add_column(sa.Column("reauthorization_id", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("provider_terms", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("refunding_minor", sa.BigInteger(), server_default="0", nullable=False))

    with op.batch_alter_table("payment_operation", schema=None) as batch_op:
        batch_op.add_column(sa.Column("capture_before_ms", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("network_transaction_id", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("refund_id", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("pay_link_id", sa.Text(), nullable=True))
