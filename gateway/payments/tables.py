"""Tables of payments, and the gateway's view of the methods that the vault keeps."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, Table, Text

from gateway.kernel.store.schema import metadata

payment_method = Table(
    "payment_method",
    metadata,
    Column("payment_method_id", Text, primary_key=True),
    Column("customer_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("brand", Text, nullable=False),
    Column("last4", Text, nullable=False),
    Column("expiry_month", Integer, nullable=False),
    Column("expiry_year", Integer, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Index("ix_payment_method_customer", "customer_id"),
)

payment_intent = Table(
    "payment_intent",
    metadata,
    Column("intent_id", Text, primary_key=True),
    Column("order_id", Text, nullable=False, unique=True),
    Column("merchant_id", Text, nullable=False),
    Column("customer_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("authorized_minor", BigInteger, nullable=False),
    Column("captured_minor", BigInteger, nullable=False),
    Column("voided_minor", BigInteger, nullable=False),
    Column("refunded_minor", BigInteger, nullable=False),
    Column("authorization_id", Text),
    Column("created_at_ms", BigInteger, nullable=False),
    # The money rules of an intent, held by the database whatever the code does.
    CheckConstraint("captured_minor + voided_minor <= authorized_minor", name="captured_within_authorized"),
    CheckConstraint("refunded_minor <= captured_minor", name="refunded_within_captured"),
    CheckConstraint("authorized_minor <= amount_minor", name="authorized_within_amount"),
    sqlite_with_rowid=False,
)

payment_attempt = Table(
    "payment_attempt",
    metadata,
    Column("attempt_id", Text, primary_key=True),
    Column("intent_id", Text, nullable=False),
    Column("order_id", Text, nullable=False),
    Column("payment_method_id", Text, nullable=False),
    Column("operation_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("decline", Text),
    Column("created_at_ms", BigInteger, nullable=False),
    Index("ix_payment_attempt_order", "order_id"),
    sqlite_with_rowid=False,
)

reconciliation = Table(
    "reconciliation",
    metadata,
    # How far the other side's list of changes has been compared with ours.
    Column("name", Text, primary_key=True),
    Column("cursor", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
)

payment_operation = Table(
    "payment_operation",
    metadata,
    Column("operation_id", Text, primary_key=True),
    Column("order_id", Text, nullable=False),
    Column("attempt_id", Text),
    Column("leg_id", Text),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("target_operation_id", Text),
    Column("provider_reference", Text),
    Column("detail", Text),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("updated_at_ms", BigInteger, nullable=False),
    Index("ix_payment_operation_order", "order_id"),
    sqlite_with_rowid=False,
)
