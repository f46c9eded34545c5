"""Tables of quotes, orders, lines and legs, consents, entitlements and idempotency keys."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, Table, Text, text

from gateway.kernel.store.schema import metadata

idempotency = Table(
    "idempotency",
    metadata,
    Column("principal", Text, primary_key=True),
    Column("operation", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("request_hash", Text, nullable=False),
    Column("result", Text, nullable=False),  # JSON: the id of what was made, never the whole reply
    Column("at_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

quote = Table(
    "quote",
    metadata,
    Column("quote_id", Text, primary_key=True),
    Column("customer_id", Text, nullable=False),
    Column("device_id", Text),
    Column("merchant_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("total_minor", BigInteger, nullable=False),
    Column("plan", Text, nullable=False),  # JSON: see plan.py
    Column("expires_at_ms", BigInteger, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    CheckConstraint("total_minor >= 0", name="total_not_negative"),
)

order = Table(
    "customer_order",
    metadata,
    Column("order_id", Text, primary_key=True),
    Column("merchant_id", Text, nullable=False),
    Column("merchant_slug", Text, nullable=False),
    Column("customer_id", Text, nullable=False),
    Column("device_id", Text),
    Column("channel", Text, nullable=False),
    Column("place", Text),
    Column("quote_id", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("country", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("total_minor", BigInteger, nullable=False),
    Column("tax_minor", BigInteger, nullable=False),
    Column("shipping_minor", BigInteger, nullable=False),
    Column("ship_to", Text),
    # A refund of the whole order was asked for: what is captured later goes back too.
    Column("refund_requested", Integer, nullable=False),
    # Until when the reservation waits for payment; null once it is paid for or given up.
    Column("pay_until_ms", BigInteger),
    Column("created_at_ms", BigInteger, nullable=False),
    Index("ix_customer_order_customer", "customer_id", "order_id"),
    Index("ix_customer_order_merchant", "merchant_id", "order_id"),
    Index(
        "ix_customer_order_unpaid_of",
        "customer_id",
        sqlite_where=text("state = 'placed'"),
        postgresql_where=text("state = 'placed'"),
    ),
    Index(
        "ix_customer_order_unpaid",
        "pay_until_ms",
        sqlite_where=text("pay_until_ms IS NOT NULL"),
        postgresql_where=text("pay_until_ms IS NOT NULL"),
    ),
    sqlite_with_rowid=False,
)

order_line = Table(
    "order_line",
    metadata,
    Column("order_id", Text, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("line_id", Text, nullable=False),
    Column("sku", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("format", Text, nullable=False),
    Column("failure_policy", Text, nullable=False),
    # Lines are never deleted: original stays, current is what is still wanted, fulfilled what was given.
    Column("quantity_original", Integer, nullable=False),
    Column("quantity_current", Integer, nullable=False),
    Column("quantity_fulfilled", Integer, nullable=False),
    Column("unit_price_minor", BigInteger, nullable=False),
    Column("total_minor", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

leg = Table(
    "leg",
    metadata,
    Column("order_id", Text, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("leg_id", Text, nullable=False, unique=True),
    Column("line_position", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("sku", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("tax_minor", BigInteger, nullable=False),
    Column("tax_country", Text, nullable=False),
    Column("tax_category", Text, nullable=False),
    Column("tax_rate_bps", Integer, nullable=False),
    Column("tax_source", Text, nullable=False),
    Column("hold_id", Text),
    Column("location_code", Text),
    Column("item_number", BigInteger),
    Column("numbered", Integer, nullable=False),
    Column("capture_operation_id", Text),
    Column("token", Text),  # JSON: chain id, contract, token id, serial, transaction
    # Which linked wallet was chosen; null for the customer's own account here.
    Column("wallet_id", Text),
    # The address outside that it is minted to, as it was when it was chosen; null where we hold the key.
    Column("recipient", Text),
    # Not delivered before: the period to withdraw runs. Null for at once.
    Column("mint_not_before_ms", BigInteger),
    # Its share is captured before it is delivered, and when that was done.
    Column("paid_first", Integer, nullable=False),
    Column("delivered_at_ms", BigInteger),
    # When a leg that waits is looked at: the period is over, or the time to choose another wallet is. Of a
    # leg that is being paid first: when its customer withdrew.
    Column("due_at_ms", BigInteger),
    CheckConstraint("amount_minor >= 0 AND tax_minor >= 0 AND tax_minor <= amount_minor", name="amounts"),
    Index(
        "ix_leg_due",
        "due_at_ms",
        sqlite_where=text("due_at_ms IS NOT NULL"),
        postgresql_where=text("due_at_ms IS NOT NULL"),
    ),
    sqlite_with_rowid=False,
)

consent = Table(
    "consent",
    metadata,
    Column("order_id", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("customer_id", Text, nullable=False),
    Column("text_version", Text, nullable=False),
    Column("locale", Text, nullable=False),
    Column("given_at", Text, nullable=False),
    Column("device_id", Text),
    Column("session_id", Text),
    Column("recorded_at_ms", BigInteger, nullable=False),
    # When its confirmation was written to the customer's stream and receipt.
    Column("confirmed_at_ms", BigInteger),
)

entitlement = Table(
    "entitlement",
    metadata,
    Column("leg_id", Text, primary_key=True),
    Column("customer_id", Text, nullable=False),
    Column("order_id", Text, nullable=False),
    Column("sku", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("granted_at_ms", BigInteger, nullable=False),
    Index("ix_entitlement_customer", "customer_id"),
)
