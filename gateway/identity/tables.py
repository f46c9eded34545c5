"""Tables of customers, devices, device tokens, API keys, worlds and what players let them see.

Secrets are kept as hashes.
"""

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

wallet_page = Table(
    "wallet_page",
    metadata,
    # A customer's look into their wallet from a browser: first an address, then one browser's session.
    Column("page_digest", Text, primary_key=True),
    Column("customer_id", Text, nullable=False),
    # Of the address, and once it was opened of the session.
    Column("expires_at_ms", BigInteger, nullable=False),
    Column("session_digest", Text, unique=True),
    Column("created_at_ms", BigInteger, nullable=False),
    Index("ix_wallet_page_customer", "customer_id"),
)

world = Table(
    "world",
    metadata,
    # The name that device tokens and allowances bind to as well: one world, one name.
    Column("world_id", Text, primary_key=True),
    Column("title", Text, nullable=False),
    # Null: the world asks, and is told nothing.
    Column("webhook_url", Text),
    # Its server said that it is gone, or never answered: nothing is sent until an operator says so.
    Column("webhook_stopped_at_ms", BigInteger),
    Column("webhook_stopped_because", Text),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("closed_at_ms", BigInteger),
)

world_key = Table(
    "world_key",
    metadata,
    Column("key_digest", Text, primary_key=True),
    Column("world_id", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    # Set when a key has been replaced; null: valid until then.
    Column("expires_at_ms", BigInteger),
    Index("ix_world_key_world", "world_id"),
)

world_consent = Table(
    "world_consent",
    metadata,
    Column("customer_id", Text, primary_key=True),
    Column("world_id", Text, primary_key=True),
    # What the world calls the customer: random, another one in every world, the same for ever in this one.
    Column("player_id", Text, nullable=False, unique=True),
    # Hides the ids of legs from the world, so that two worlds cannot compare them. No credential.
    Column("item_key", Text, nullable=False),
    Column("scopes", Text, nullable=False),  # JSON list
    Column("device_id", Text),
    Column("allowed_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger),
    Column("revoked_at_ms", BigInteger),
    # The number of the world's latest notice when it began: earlier ones are of before, whatever clocks say.
    Column("after_seq", BigInteger, nullable=False),
    Index("ix_world_consent_world", "world_id", "player_id"),
    sqlite_with_rowid=False,
)
