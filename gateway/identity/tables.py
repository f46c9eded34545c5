"""Tables of customers, devices, device tokens and merchants' API keys. Secrets are kept as hashes."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text

from gateway.kernel.store.schema import metadata

customer = Table(
    "customer",
    metadata,
    Column("customer_id", Text, primary_key=True),
    Column("created_at_ms", BigInteger, nullable=False),
)

merchant_customer = Table(
    "merchant_customer",
    metadata,
    # What a merchant calls a customer of the installation; it may act only for customers it registered.
    Column("merchant_id", Text, primary_key=True),
    Column("reference", Text, primary_key=True),
    Column("customer_id", Text, nullable=False),
    Index("ix_merchant_customer_customer", "customer_id", "merchant_id"),
)

device = Table(
    "device",
    metadata,
    Column("device_id", Text, primary_key=True),
    Column("customer_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Index("ix_device_customer", "customer_id"),
)

device_token = Table(
    "device_token",
    metadata,
    Column("token_digest", Text, primary_key=True),
    Column("device_id", Text, nullable=False),
    Column("customer_id", Text, nullable=False),
    Column("issued_by", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    Column("revoked_at_ms", BigInteger),
    # Where the token may be used, as its issuer says: the virtual world, the checkout or play session.
    Column("world_id", Text),
    Column("session_id", Text),
)

api_key = Table(
    "api_key",
    metadata,
    Column("key_digest", Text, primary_key=True),
    Column("merchant_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("revoked_at_ms", BigInteger),
)

passkey = Table(
    "passkey",
    metadata,
    Column("passkey_id", Text, primary_key=True),
    # What the authenticator calls it, base64url.
    Column("credential_id", Text, nullable=False, unique=True),
    Column("customer_id", Text, nullable=False),
    # COSE key, base64url.
    Column("public_key", Text, nullable=False),
    Column("sign_count", BigInteger, nullable=False),
    # Whether it may leave its device (BE), and whether it has (BS).
    Column("backup_eligible", Integer, nullable=False),
    Column("backed_up", Integer, nullable=False),
    Column("transports", Text, nullable=False),
    Column("aaguid", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("last_used_at_ms", BigInteger),
    Column("revoked_at_ms", BigInteger),
    Column("revoked_because", Text),
    Index("ix_passkey_customer", "customer_id"),
)
