"""Tables of minting, in the gateway's database."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from gateway.kernel.store.schema import metadata

mint = Table(
    "mint",
    metadata,
    Column("leg_id", Text, primary_key=True),
    Column("order_id", Text, nullable=False, index=True),
    Column("merchant_id", Text, nullable=False),
    Column("recipient", Text, nullable=False, index=True),
    Column("receiver", Text, nullable=False),  # plain, code or unknown
    Column("holder_key", Text),
    Column("item_number", BigInteger, nullable=False),
    Column("serial", BigInteger),
    Column("amount", BigInteger, nullable=False),
    Column("token_id", Text, nullable=False),  # a decimal uint256
    Column("state", Text, nullable=False),
    Column("purchase_number", BigInteger),
    Column("tx_id", Text, ForeignKey("chain_tx.tx_id")),
    Column("attempts", Integer, nullable=False),
    Column("skip_reason", Text),
    Column("return_state", Text, nullable=False),
    Column("return_tx_id", Text, ForeignKey("chain_tx.tx_id")),
    Column("return_attempts", Integer, nullable=False),
    Column("queued_at_ms", BigInteger, nullable=False),
    Column("claimed_at_ms", BigInteger),
    Column("minted_at_ms", BigInteger),
    Column("ended_at_ms", BigInteger),
    Column("returned_at_ms", BigInteger),
    # Which mint made this copy, and whether an edition was sold at all: for what tokens say of themselves.
    Index("ix_mint_item", "item_number", "serial"),
    # Partial indexes: a mint leaves the queue's index when it is claimed and is in none of these at rest.
    Index("ix_mint_queue", "receiver", "queued_at_ms", sqlite_where=text("state = 'queued'"),
          postgresql_where=text("state = 'queued'")),
    Index("ix_mint_tx", "tx_id", sqlite_where=text("tx_id IS NOT NULL"),
          postgresql_where=text("tx_id IS NOT NULL")),
    Index("ux_mint_purchase_number", "purchase_number", unique=True,
          sqlite_where=text("purchase_number IS NOT NULL"),
          postgresql_where=text("purchase_number IS NOT NULL")),
    Index("ix_mint_held", "merchant_id", "queued_at_ms", sqlite_where=text("state = 'held'"),
          postgresql_where=text("state = 'held'")),
    Index("ix_mint_parked", "leg_id", sqlite_where=text("state = 'parked'"),
          postgresql_where=text("state = 'parked'")),
    Index("ix_mint_return_queue", "leg_id", sqlite_where=text("return_state = 'requested'"),
          postgresql_where=text("return_state = 'requested'")),
    Index("ix_mint_return_tx", "return_tx_id", sqlite_where=text("return_tx_id IS NOT NULL"),
          postgresql_where=text("return_tx_id IS NOT NULL")),
)  # fmt: skip

chain_tx = Table(
    "chain_tx",
    metadata,
    Column("tx_id", Text, primary_key=True),
    Column("chain_id", BigInteger, nullable=False),
    Column("lane", Text, nullable=False),
    Column("nonce", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("contract", Text, nullable=False),  # the address called, or for a deployment the one to come
    Column("calldata", LargeBinary, nullable=False),
    Column("gas", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("failure", Text),
    Column("mined_hash", Text),
    Column("block_number", BigInteger),
    Column("block_hash", Text),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("signed_at_ms", BigInteger),
    Column("ended_at_ms", BigInteger),
    # JSON: merchant -> its part of the gas, as it was set aside when the mints were claimed.
    Column("gas_shares", Text),
    Column("gas_used", BigInteger),  # of the receipt that ended it
    UniqueConstraint("lane", "nonce"),
    Index("ix_chain_tx_open", "lane", "nonce",
          sqlite_where=text("state IN ('claimed', 'signed', 'mined')"),
          postgresql_where=text("state IN ('claimed', 'signed', 'mined')")),
)  # fmt: skip

chain_tx_bytes = Table(
    # Every signed form of a transaction: the first, then one per fee bump. All share its nonce, so at most
    # one can ever be in a block, and a receipt may come for any of them.
    "chain_tx_bytes",
    metadata,
    Column("tx_id", Text, ForeignKey("chain_tx.tx_id"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("tx_hash", Text, nullable=False, unique=True),
    Column("raw", LargeBinary, nullable=False),
    Column("max_fee", Text, nullable=False),  # wei per gas, decimal
    Column("priority_fee", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
)

token_item = Table(
    "token_item",
    metadata,
    Column("item_number", BigInteger, primary_key=True),
    Column("sku", Text, nullable=False),
    Column("cap", Text),  # a decimal; null is an open edition
    Column("numbered", Integer, nullable=False),
    Column("uri", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("tx_id", Text, ForeignKey("chain_tx.tx_id")),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("own_contract_id", Text, ForeignKey("own_contract.contract_id")),  # null: our own contract
    Column("first_token_id", Text),  # a decimal; its id on the merchant's contract, null: as on ours
    Index("ix_token_item_new", "item_number", sqlite_where=text("state = 'new'"),
          postgresql_where=text("state = 'new'")),
)  # fmt: skip

own_contract = Table(
    # A contract that a merchant deployed and lets us mint on.
    "own_contract",
    metadata,
    Column("contract_id", Text, primary_key=True),
    Column("merchant_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("chain_id", BigInteger, nullable=False),
    Column("address", Text, nullable=False),
    Column("standard", Text, nullable=False),
    Column("call", Text, nullable=False),  # a signature
    Column("arguments", Text, nullable=False),  # JSON: placeholders and literals
    Column("data", LargeBinary, nullable=False),
    Column("gas", BigInteger),  # the limit of one mint; null: the usual one
    Column("updated_at_ms", BigInteger, nullable=False),
    UniqueConstraint("merchant_id", "name"),
    Index("ix_own_contract_address", "chain_id", "address"),
)

gas_limit = Table(
    # Merchants with a limit of their own.
    "gas_limit",
    metadata,
    Column("merchant_id", Text, primary_key=True),
    Column("per_day", BigInteger, nullable=False),  # 0: any
)

gas_day = Table(
    "gas_day",
    metadata,
    Column("merchant_id", Text, primary_key=True),
    Column("day", BigInteger, primary_key=True),  # days since the epoch, UTC
    Column("reserved", BigInteger, nullable=False),  # estimates of what is open
    Column("used", BigInteger, nullable=False),
)

token_contract = Table(
    "token_contract",
    metadata,
    Column("chain_id", BigInteger, primary_key=True),
    Column("address", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("tx_id", Text, ForeignKey("chain_tx.tx_id"), nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
)

mint_lane = Table(
    "mint_lane",
    metadata,
    Column("lane", Text, primary_key=True),  # "<chain id>:<key>"
    Column("address", Text, nullable=False),
    Column("next_nonce", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("tx_id", Text, ForeignKey("chain_tx.tx_id")),
)

mint_sequence = Table(
    # Dense purchase numbers: neighbours share a storage word of the contract, which makes them cheap.
    "mint_sequence",
    metadata,
    Column("name", Text, primary_key=True),
    Column("next_number", BigInteger, nullable=False),
)
