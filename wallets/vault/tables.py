"""The vault's own database. Nothing in it can pay without the keys, which are kept elsewhere."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

from gateway.kernel.migrate import upgrade_sqlite
from gateway.kernel.store.schema import NAMING

metadata = MetaData(naming_convention=NAMING)

method = Table(
    "vault_method",
    metadata,
    Column("payment_method_id", Text, primary_key=True),
    Column("customer_id", Text, nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("brand", Text, nullable=False),
    Column("last4", Text, nullable=False),
    Column("expiry_month", Integer, nullable=False),
    Column("expiry_year", Integer, nullable=False),
    Column("fingerprint_key_id", Text, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    # The record: see `wallets.vault.crypto`. Its version counts up when the card gets a new expiry.
    Column("record_version", Integer, nullable=False),
    Column("format_version", Integer, nullable=False),
    Column("kek_id", Text, nullable=False),
    Column("wrapped_key", LargeBinary, nullable=False),
    Column("nonce", LargeBinary, nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    UniqueConstraint("fingerprint_key_id", "fingerprint", "customer_id"),
)

allowance = Table(
    "vault_allowance",
    metadata,
    Column("allowance_id", Text, primary_key=True),
    # The terms. All empty when a revocation came before the grant.
    Column("payment_method_id", Text, nullable=False),
    Column("customer_id", Text, nullable=False),
    Column("merchant_id", Text, nullable=False),
    Column("order_id", Text),
    Column("channel", Text, nullable=False),
    Column("place_id", Text),
    Column("device_id", Text),
    Column("reason", Text, nullable=False),
    Column("max_amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("max_uses", Integer, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    # What was spent: authorizations that were not declined, failed or voided.
    Column("used_minor", BigInteger, nullable=False),
    Column("used_count", Integer, nullable=False),
    Column("revoked_at_ms", BigInteger),
    Column("created_at_ms", BigInteger, nullable=False),
    CheckConstraint("used_minor >= 0 AND used_minor <= max_amount_minor", name="used_minor_in_terms"),
    CheckConstraint("used_count >= 0 AND used_count <= max_uses", name="used_count_in_terms"),
    sqlite_with_rowid=False,
)

operation = Table(
    "vault_operation",
    metadata,
    Column("operation_id", Text, primary_key=True),
    Column("kind", Text),
    Column("state", Text, nullable=False),
    Column("request_digest", Text, nullable=False),
    Column("parent_id", Text),
    Column("allowance_id", Text),
    Column("payment_method_id", Text),
    Column("amount_minor", BigInteger),
    Column("currency", Text),
    # What later operations took of this one, those in flight included: of an authorization by captures
    # and voids, of a capture by refunds.
    Column("captured_minor", BigInteger, nullable=False),
    Column("voided_minor", BigInteger, nullable=False),
    Column("refunded_minor", BigInteger, nullable=False),
    # What the provider answered.
    Column("provider_reference", Text),
    Column("network_transaction_id", Text),
    Column("capture_before_ms", BigInteger),
    Column("decline_code", Text),
    Column("decline_class", Text),
    Column("action_id", Text),
    Column("action_path", Text),
    Column("refusal", Text),
    Column("sent_at_ms", BigInteger, nullable=False),
    Column("changed_at_ms", BigInteger, nullable=False),
    CheckConstraint(
        "captured_minor >= 0 AND voided_minor >= 0 AND refunded_minor >= 0", name="taken_positive"
    ),
    CheckConstraint("captured_minor + voided_minor <= amount_minor", name="taken_of_authorization"),
    CheckConstraint("refunded_minor <= amount_minor", name="taken_of_capture"),
    sqlite_with_rowid=False,
)

Index("ix_vault_operation_changed", operation.c.changed_at_ms, operation.c.operation_id)
Index(
    "ix_vault_operation_parent",
    operation.c.parent_id,
    sqlite_where=operation.c.parent_id.is_not(None),
    postgresql_where=operation.c.parent_id.is_not(None),
)


def create_schema(path: Path) -> None:
    """Bring a SQLite file up to this version's tables, making it if it does not exist."""
    upgrade_sqlite(path, Path(__file__).parent / "migrations")
