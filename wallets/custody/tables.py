"""Tables of custody, in the gateway's database."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text, text

from gateway.kernel.store.schema import metadata

custody_account = Table(
    "custody_account",
    metadata,
    Column("customer_id", Text, primary_key=True),
    Column("account_index", BigInteger, nullable=False, unique=True),
    # Null only between taking an index and deriving its address.
    Column("address", Text, unique=True),
    Column("created_at_ms", BigInteger, nullable=False),
    # Since when its owner has the key too: tokens in it can no longer be taken back by us alone.
    Column("exported_at_ms", BigInteger),
)

linked_wallet = Table(
    "linked_wallet",
    metadata,
    Column("wallet_id", Text, primary_key=True),
    Column("customer_id", Text, nullable=False),
    Column("chain_id", BigInteger, nullable=False),
    Column("address", Text, nullable=False),
    Column("kind", Text, nullable=False),
    # The evidence: what was signed (EIP-4361), and the signature as hex digits.
    Column("message", Text, nullable=False),
    Column("signature", Text, nullable=False),
    Column("linked_at_ms", BigInteger, nullable=False),
    Column("unlinked_at_ms", BigInteger),
    # One owner at a time.
    Index(
        "ux_linked_wallet_address",
        "chain_id",
        "address",
        unique=True,
        sqlite_where=text("unlinked_at_ms IS NULL"),
        postgresql_where=text("unlinked_at_ms IS NULL"),
    ),
    Index("ix_linked_wallet_customer", "customer_id", "wallet_id"),
)

wallet_challenge = Table(
    "wallet_challenge",
    metadata,
    # The nonce of the message.
    Column("nonce", Text, primary_key=True),
    Column("customer_id", Text, nullable=False),
    # Who asked; nobody else can answer.
    Column("device_id", Text, nullable=False),
    Column("chain_id", BigInteger, nullable=False),
    Column("address", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    Column("used_at_ms", BigInteger),
    Index("ix_wallet_challenge_customer", "customer_id", "expires_at_ms"),
)

key_export = Table(
    "key_export",
    metadata,
    # The record of who was given a key when, on which passkey's word; never the key.
    Column("export_id", Text, primary_key=True),
    Column("customer_id", Text, nullable=False),
    Column("device_id", Text, nullable=False),
    Column("address", Text, nullable=False),
    # The public key that the private one is encrypted to (JWK).
    Column("recipient", Text, nullable=False),
    # What the passkey signs, as hex digits.
    Column("challenge", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    Column("passkey_id", Text),
    Column("exported_at_ms", BigInteger),
    Index("ix_key_export_customer", "customer_id", "expires_at_ms"),
)
