"""initial schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "api_key",
        sa.Column("key_digest", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("key_digest", name=op.f("pk_api_key")),
    )
    op.create_table(
        "asset",
        sa.Column("asset_id", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("extents_m", sa.Text(), nullable=False),
        sa.Column("triangles", sa.Integer(), nullable=False),
        sa.Column("watertight", sa.Integer(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("asset_id", name=op.f("pk_asset")),
    )
    op.create_table(
        "backend_cursor",
        sa.Column("backend", sa.Text(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("backend", name=op.f("pk_backend_cursor")),
    )
    op.create_table(
        "catalog_counter",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_catalog_counter")),
    )
    op.create_table(
        "chain_tx",
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("nonce", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("contract", sa.Text(), nullable=False),
        sa.Column("calldata", sa.LargeBinary(), nullable=False),
        sa.Column("gas", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("mined_hash", sa.Text(), nullable=True),
        sa.Column("block_number", sa.BigInteger(), nullable=True),
        sa.Column("block_hash", sa.Text(), nullable=True),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("signed_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("ended_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("tx_id", name=op.f("pk_chain_tx")),
        sa.UniqueConstraint("lane", "nonce", name=op.f("uq_chain_tx_lane_nonce")),
    )
    with op.batch_alter_table("chain_tx", schema=None) as batch_op:
        batch_op.create_index(
            "ix_chain_tx_open",
            ["lane", "nonce"],
            unique=False,
            sqlite_where=sa.text("state IN ('claimed', 'signed', 'mined')"),
            postgresql_where=sa.text("state IN ('claimed', 'signed', 'mined')"),
        )

    op.create_table(
        "consent",
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("text_version", sa.Text(), nullable=False),
        sa.Column("locale", sa.Text(), nullable=False),
        sa.Column("given_at", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=True),
        sa.Column("recorded_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("order_id", "kind", name=op.f("pk_consent")),
    )
    op.create_table(
        "custody_account",
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("account_index", sa.BigInteger(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("customer_id", name=op.f("pk_custody_account")),
        sa.UniqueConstraint("account_index", name=op.f("uq_custody_account_account_index")),
        sa.UniqueConstraint("address", name=op.f("uq_custody_account_address")),
    )
    op.create_table(
        "customer",
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("customer_id", name=op.f("pk_customer")),
    )
    op.create_table(
        "customer_order",
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("merchant_slug", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=True),
        sa.Column("quote_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("country", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("total_minor", sa.BigInteger(), nullable=False),
        sa.Column("tax_minor", sa.BigInteger(), nullable=False),
        sa.Column("shipping_minor", sa.BigInteger(), nullable=False),
        sa.Column("ship_to", sa.Text(), nullable=True),
        sa.Column("refund_requested", sa.Integer(), nullable=False),
        sa.Column("pay_until_ms", sa.BigInteger(), nullable=True),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("order_id", name=op.f("pk_customer_order")),
        sa.UniqueConstraint("quote_id", name=op.f("uq_customer_order_quote_id")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("customer_order", schema=None) as batch_op:
        batch_op.create_index("ix_customer_order_customer", ["customer_id", "order_id"], unique=False)
        batch_op.create_index("ix_customer_order_merchant", ["merchant_id", "order_id"], unique=False)
        batch_op.create_index(
            "ix_customer_order_unpaid",
            ["pay_until_ms"],
            unique=False,
            sqlite_where=sa.text("pay_until_ms IS NOT NULL"),
            postgresql_where=sa.text("pay_until_ms IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_customer_order_unpaid_of",
            ["customer_id"],
            unique=False,
            sqlite_where=sa.text("state = 'placed'"),
            postgresql_where=sa.text("state = 'placed'"),
        )

    op.create_table(
        "device",
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("device_id", name=op.f("pk_device")),
    )
    with op.batch_alter_table("device", schema=None) as batch_op:
        batch_op.create_index("ix_device_customer", ["customer_id"], unique=False)

    op.create_table(
        "device_token",
        sa.Column("token_digest", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("issued_by", sa.Text(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("token_digest", name=op.f("pk_device_token")),
    )
    op.create_table(
        "entitlement",
        sa.Column("leg_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("granted_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("leg_id", name=op.f("pk_entitlement")),
    )
    with op.batch_alter_table("entitlement", schema=None) as batch_op:
        batch_op.create_index("ix_entitlement_customer", ["customer_id"], unique=False)

    op.create_table(
        "event",
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("stream", "seq", name=op.f("pk_event")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "fulfillment_line",
        sa.Column("fulfillment_order_id", sa.Text(), nullable=False),
        sa.Column("leg_id", sa.Text(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("hold_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("fulfillment_order_id", "leg_id", name=op.f("pk_fulfillment_line")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "fulfillment_order",
        sa.Column("fulfillment_order_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("location_code", sa.Text(), nullable=False),
        sa.Column("backend", sa.Text(), nullable=False),
        sa.Column("backend_reference", sa.Text(), nullable=True),
        sa.Column("ship_to", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tracking_carrier", sa.Text(), nullable=True),
        sa.Column("tracking_number", sa.Text(), nullable=True),
        sa.Column("tracking_url", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("contradiction", sa.Text(), nullable=True),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("sent_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("accepted_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("dispatched_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("delivered_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("closed_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("fulfillment_order_id", name=op.f("pk_fulfillment_order")),
    )
    with op.batch_alter_table("fulfillment_order", schema=None) as batch_op:
        batch_op.create_index("ix_fulfillment_order_order", ["order_id"], unique=False)

    op.create_table(
        "idempotency",
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("principal", "operation", "key", name=op.f("pk_idempotency")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "inventory_adjustment",
        sa.Column("adjustment_id", sa.Text(), nullable=False),
        sa.Column("pool_id", sa.Text(), nullable=False),
        sa.Column("delta", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("adjustment_id", name=op.f("pk_inventory_adjustment")),
    )
    with op.batch_alter_table("inventory_adjustment", schema=None) as batch_op:
        batch_op.create_index("ux_inventory_adjustment_reference", ["pool_id", "reference"], unique=True)

    op.create_table(
        "inventory_hold",
        sa.Column("hold_id", sa.Text(), nullable=False),
        sa.Column("pool_id", sa.Text(), nullable=False),
        sa.Column("quote_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=True),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=True),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("consumed", sa.BigInteger(), nullable=False),
        sa.Column("released", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "quantity > 0 AND consumed >= 0 AND released >= 0 AND consumed + released <= quantity",
            name=op.f("ck_inventory_hold_sums"),
        ),
        sa.PrimaryKeyConstraint("hold_id", name=op.f("pk_inventory_hold")),
    )
    with op.batch_alter_table("inventory_hold", schema=None) as batch_op:
        batch_op.create_index(
            "ix_inventory_hold_account",
            ["customer_id"],
            unique=False,
            sqlite_where=sa.text("state = 'held'"),
            postgresql_where=sa.text("state = 'held'"),
        )
        batch_op.create_index(
            "ix_inventory_hold_device",
            ["device_id"],
            unique=False,
            sqlite_where=sa.text("state = 'held'"),
            postgresql_where=sa.text("state = 'held'"),
        )
        batch_op.create_index(
            "ix_inventory_hold_held",
            ["expires_at_ms"],
            unique=False,
            sqlite_where=sa.text("state = 'held'"),
            postgresql_where=sa.text("state = 'held'"),
        )
        batch_op.create_index(
            "ix_inventory_hold_order",
            ["order_id"],
            unique=False,
            sqlite_where=sa.text("order_id IS NOT NULL"),
            postgresql_where=sa.text("order_id IS NOT NULL"),
        )
        batch_op.create_index("ix_inventory_hold_quote", ["quote_id"], unique=False)
        batch_op.create_index(
            "ix_inventory_hold_reserved",
            ["expires_at_ms"],
            unique=False,
            sqlite_where=sa.text("state = 'reserved'"),
            postgresql_where=sa.text("state = 'reserved'"),
        )

    op.create_table(
        "inventory_pool",
        sa.Column("pool_id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("location_code", sa.Text(), nullable=True),
        sa.Column("on_hand", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False),
        sa.Column("reserved", sa.BigInteger(), nullable=False),
        sa.Column("issued", sa.BigInteger(), nullable=False),
        sa.Column("numbered", sa.Integer(), nullable=False),
        sa.Column("next_serial", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "held >= 0 AND reserved >= 0 AND issued >= 0", name=op.f("ck_inventory_pool_not_negative")
        ),
        sa.CheckConstraint("on_hand >= held + reserved", name=op.f("ck_inventory_pool_covers_promises")),
        sa.PrimaryKeyConstraint("pool_id", name=op.f("pk_inventory_pool")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("inventory_pool", schema=None) as batch_op:
        batch_op.create_index("ix_inventory_pool_sku", ["merchant_id", "sku"], unique=False)

    op.create_table(
        "inventory_serial",
        sa.Column("pool_id", sa.Text(), nullable=False),
        sa.Column("serial", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("hold_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("pool_id", "serial", name=op.f("pk_inventory_serial")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("inventory_serial", schema=None) as batch_op:
        batch_op.create_index(
            "ix_inventory_serial_free",
            ["pool_id", "serial"],
            unique=False,
            sqlite_where=sa.text("state = 'free'"),
            postgresql_where=sa.text("state = 'free'"),
        )
        batch_op.create_index("ix_inventory_serial_hold", ["hold_id"], unique=False)

    op.create_table(
        "ledger_entry",
        sa.Column("ledger_transaction_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("ledger_transaction_id", "position", name=op.f("pk_ledger_entry")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ledger_transaction",
        sa.Column("ledger_transaction_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=True),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("ledger_transaction_id", name=op.f("pk_ledger_transaction")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("ledger_transaction", schema=None) as batch_op:
        batch_op.create_index(
            "ix_ledger_transaction_merchant", ["merchant_id", "ledger_transaction_id"], unique=False
        )

    op.create_table(
        "leg",
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("leg_id", sa.Text(), nullable=False),
        sa.Column("line_position", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("tax_minor", sa.BigInteger(), nullable=False),
        sa.Column("tax_country", sa.Text(), nullable=False),
        sa.Column("tax_category", sa.Text(), nullable=False),
        sa.Column("tax_rate_bps", sa.Integer(), nullable=False),
        sa.Column("tax_source", sa.Text(), nullable=False),
        sa.Column("hold_id", sa.Text(), nullable=True),
        sa.Column("location_code", sa.Text(), nullable=True),
        sa.Column("item_number", sa.BigInteger(), nullable=True),
        sa.Column("numbered", sa.Integer(), nullable=False),
        sa.Column("capture_operation_id", sa.Text(), nullable=True),
        sa.Column("token", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "amount_minor >= 0 AND tax_minor >= 0 AND tax_minor <= amount_minor", name=op.f("ck_leg_amounts")
        ),
        sa.PrimaryKeyConstraint("order_id", "position", name=op.f("pk_leg")),
        sa.UniqueConstraint("leg_id", name=op.f("uq_leg_leg_id")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "merchant",
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("country", sa.Text(), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", name=op.f("pk_merchant")),
        sa.UniqueConstraint("slug", name=op.f("uq_merchant_slug")),
    )
    op.create_table(
        "merchant_customer",
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "reference", name=op.f("pk_merchant_customer")),
    )
    with op.batch_alter_table("merchant_customer", schema=None) as batch_op:
        batch_op.create_index("ix_merchant_customer_customer", ["customer_id", "merchant_id"], unique=False)

    op.create_table(
        "mint_sequence",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("next_number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_mint_sequence")),
    )
    op.create_table(
        "order_line",
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("line_id", sa.Text(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("failure_policy", sa.Text(), nullable=False),
        sa.Column("quantity_original", sa.Integer(), nullable=False),
        sa.Column("quantity_current", sa.Integer(), nullable=False),
        sa.Column("quantity_fulfilled", sa.Integer(), nullable=False),
        sa.Column("unit_price_minor", sa.BigInteger(), nullable=False),
        sa.Column("total_minor", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("order_id", "position", name=op.f("pk_order_line")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "payment_attempt",
        sa.Column("attempt_id", sa.Text(), nullable=False),
        sa.Column("intent_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("payment_method_id", sa.Text(), nullable=False),
        sa.Column("operation_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("decline", sa.Text(), nullable=True),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("attempt_id", name=op.f("pk_payment_attempt")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("payment_attempt", schema=None) as batch_op:
        batch_op.create_index("ix_payment_attempt_order", ["order_id"], unique=False)

    op.create_table(
        "payment_intent",
        sa.Column("intent_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("authorized_minor", sa.BigInteger(), nullable=False),
        sa.Column("captured_minor", sa.BigInteger(), nullable=False),
        sa.Column("voided_minor", sa.BigInteger(), nullable=False),
        sa.Column("refunded_minor", sa.BigInteger(), nullable=False),
        sa.Column("authorization_id", sa.Text(), nullable=True),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "authorized_minor <= amount_minor", name=op.f("ck_payment_intent_authorized_within_amount")
        ),
        sa.CheckConstraint(
            "captured_minor + voided_minor <= authorized_minor",
            name=op.f("ck_payment_intent_captured_within_authorized"),
        ),
        sa.CheckConstraint(
            "refunded_minor <= captured_minor", name=op.f("ck_payment_intent_refunded_within_captured")
        ),
        sa.PrimaryKeyConstraint("intent_id", name=op.f("pk_payment_intent")),
        sa.UniqueConstraint("order_id", name=op.f("uq_payment_intent_order_id")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "payment_method",
        sa.Column("payment_method_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("brand", sa.Text(), nullable=False),
        sa.Column("last4", sa.Text(), nullable=False),
        sa.Column("expiry_month", sa.Integer(), nullable=False),
        sa.Column("expiry_year", sa.Integer(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("payment_method_id", name=op.f("pk_payment_method")),
    )
    with op.batch_alter_table("payment_method", schema=None) as batch_op:
        batch_op.create_index("ix_payment_method_customer", ["customer_id"], unique=False)

    op.create_table(
        "payment_operation",
        sa.Column("operation_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("attempt_id", sa.Text(), nullable=True),
        sa.Column("leg_id", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("target_operation_id", sa.Text(), nullable=True),
        sa.Column("provider_reference", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("operation_id", name=op.f("pk_payment_operation")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("payment_operation", schema=None) as batch_op:
        batch_op.create_index("ix_payment_operation_order", ["order_id"], unique=False)

    op.create_table(
        "quote",
        sa.Column("quote_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=True),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("total_minor", sa.BigInteger(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("total_minor >= 0", name=op.f("ck_quote_total_not_negative")),
        sa.PrimaryKeyConstraint("quote_id", name=op.f("pk_quote")),
    )
    op.create_table(
        "reconciliation",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_reconciliation")),
    )
    op.create_table(
        "stock_seed",
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("location_id", sa.Text(), nullable=False),
        sa.Column("seeded_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "sku", "location_id", name=op.f("pk_stock_seed")),
    )
    op.create_table(
        "stream",
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("stream", name=op.f("pk_stream")),
    )
    op.create_table(
        "task",
        sa.Column("task_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("due_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("lease_until_ms", sa.BigInteger(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_task")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("task", schema=None) as batch_op:
        batch_op.create_index("ix_task_state_due", ["state", "due_at_ms"], unique=False)
        batch_op.create_index(
            "ux_task_running",
            ["subject", "kind"],
            unique=True,
            sqlite_where=sa.text("state = 'running'"),
            postgresql_where=sa.text("state = 'running'"),
        )

    op.create_table(
        "chain_tx_bytes",
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("tx_hash", sa.Text(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("max_fee", sa.Text(), nullable=False),
        sa.Column("priority_fee", sa.Text(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tx_id"],
            ["chain_tx.tx_id"],
        ),
        sa.PrimaryKeyConstraint("tx_id", "attempt", name=op.f("pk_chain_tx_bytes")),
        sa.UniqueConstraint("tx_hash", name=op.f("uq_chain_tx_bytes_tx_hash")),
    )
    op.create_table(
        "merchant_location",
        sa.Column("location_id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("country", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["merchant_id"],
            ["merchant.merchant_id"],
        ),
        sa.PrimaryKeyConstraint("location_id", name=op.f("pk_merchant_location")),
        sa.UniqueConstraint("merchant_id", "code", name=op.f("uq_merchant_location_merchant_id_code")),
    )
    op.create_table(
        "mint",
        sa.Column("leg_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("holder_key", sa.Text(), nullable=True),
        sa.Column("item_number", sa.BigInteger(), nullable=False),
        sa.Column("serial", sa.BigInteger(), nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("token_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("purchase_number", sa.BigInteger(), nullable=True),
        sa.Column("tx_id", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("skip_reason", sa.Text(), nullable=True),
        sa.Column("return_state", sa.Text(), nullable=False),
        sa.Column("return_tx_id", sa.Text(), nullable=True),
        sa.Column("return_attempts", sa.Integer(), nullable=False),
        sa.Column("queued_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("claimed_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("minted_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("ended_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("returned_at_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["return_tx_id"],
            ["chain_tx.tx_id"],
        ),
        sa.ForeignKeyConstraint(
            ["tx_id"],
            ["chain_tx.tx_id"],
        ),
        sa.PrimaryKeyConstraint("leg_id", name=op.f("pk_mint")),
    )
    with op.batch_alter_table("mint", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_mint_order_id"), ["order_id"], unique=False)
        batch_op.create_index(
            "ix_mint_queue",
            ["receiver", "queued_at_ms"],
            unique=False,
            sqlite_where=sa.text("state = 'queued'"),
            postgresql_where=sa.text("state = 'queued'"),
        )
        batch_op.create_index(batch_op.f("ix_mint_recipient"), ["recipient"], unique=False)
        batch_op.create_index(
            "ix_mint_return_queue",
            ["leg_id"],
            unique=False,
            sqlite_where=sa.text("return_state = 'requested'"),
            postgresql_where=sa.text("return_state = 'requested'"),
        )
        batch_op.create_index(
            "ix_mint_return_tx",
            ["return_tx_id"],
            unique=False,
            sqlite_where=sa.text("return_tx_id IS NOT NULL"),
            postgresql_where=sa.text("return_tx_id IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_mint_tx",
            ["tx_id"],
            unique=False,
            sqlite_where=sa.text("tx_id IS NOT NULL"),
            postgresql_where=sa.text("tx_id IS NOT NULL"),
        )
        batch_op.create_index(
            "ux_mint_purchase_number",
            ["purchase_number"],
            unique=True,
            sqlite_where=sa.text("purchase_number IS NOT NULL"),
            postgresql_where=sa.text("purchase_number IS NOT NULL"),
        )

    op.create_table(
        "mint_lane",
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("next_nonce", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tx_id", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tx_id"],
            ["chain_tx.tx_id"],
        ),
        sa.PrimaryKeyConstraint("lane", name=op.f("pk_mint_lane")),
    )
    op.create_table(
        "place",
        sa.Column("place_id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("geo_fence", sa.Text(), nullable=True),
        sa.Column("placements", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["merchant_id"],
            ["merchant.merchant_id"],
        ),
        sa.PrimaryKeyConstraint("place_id", name=op.f("pk_place")),
        sa.UniqueConstraint("merchant_id", "code", name=op.f("uq_place_merchant_id_code")),
    )
    op.create_table(
        "product",
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("handle", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("failure_policy", sa.Text(), nullable=False),
        sa.Column("tax", sa.Text(), nullable=False),
        sa.Column("active", sa.Integer(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["merchant_id"],
            ["merchant.merchant_id"],
        ),
        sa.PrimaryKeyConstraint("product_id", name=op.f("pk_product")),
        sa.UniqueConstraint("merchant_id", "handle", name=op.f("uq_product_merchant_id_handle")),
    )
    op.create_table(
        "token_contract",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tx_id"],
            ["chain_tx.tx_id"],
        ),
        sa.PrimaryKeyConstraint("chain_id", name=op.f("pk_token_contract")),
    )
    op.create_table(
        "token_item",
        sa.Column("item_number", sa.BigInteger(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("cap", sa.Text(), nullable=True),
        sa.Column("numbered", sa.Integer(), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tx_id", sa.Text(), nullable=True),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tx_id"],
            ["chain_tx.tx_id"],
        ),
        sa.PrimaryKeyConstraint("item_number", name=op.f("pk_token_item")),
    )
    with op.batch_alter_table("token_item", schema=None) as batch_op:
        batch_op.create_index(
            "ix_token_item_new",
            ["item_number"],
            unique=False,
            sqlite_where=sa.text("state = 'new'"),
            postgresql_where=sa.text("state = 'new'"),
        )

    op.create_table(
        "variant",
        sa.Column("variant_id", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("active", sa.Integer(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("formats", sa.Text(), nullable=False),
        sa.Column("asset_id", sa.Text(), nullable=True),
        sa.Column("digital", sa.Text(), nullable=True),
        sa.Column("physical", sa.Text(), nullable=True),
        sa.Column("token_number", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "token_number IS NULL OR token_number > 0", name=op.f("ck_variant_token_number_positive")
        ),
        sa.ForeignKeyConstraint(
            ["product_id"],
            ["product.product_id"],
        ),
        sa.PrimaryKeyConstraint("variant_id", name=op.f("pk_variant")),
        sa.UniqueConstraint("merchant_id", "sku", name=op.f("uq_variant_merchant_id_sku")),
        sa.UniqueConstraint("token_number", name=op.f("uq_variant_token_number")),
    )
    with op.batch_alter_table("variant", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_variant_product_id"), ["product_id"], unique=False)

    op.create_table(
        "variant_price",
        sa.Column("variant_id", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("amount_minor >= 0", name=op.f("ck_variant_price_amount_not_negative")),
        sa.ForeignKeyConstraint(
            ["variant_id"],
            ["variant.variant_id"],
        ),
        sa.PrimaryKeyConstraint("variant_id", "format", "currency", name=op.f("pk_variant_price")),
    )
