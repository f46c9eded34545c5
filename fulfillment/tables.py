"""Tables of stock, editions, holds and fulfillment orders, in the gateway's database."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, Table, Text, text

from gateway.kernel.store.schema import metadata


def _partial(name: str, *columns: str, where: str) -> Index:
    """An index of the few rows that match: finished holds pile up, open ones do not."""
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


inventory_pool = Table(
    "inventory_pool",
    metadata,
    Column("pool_id", Text, primary_key=True),
    Column("merchant_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("sku", Text, nullable=False),
    Column("location_code", Text),
    Column("on_hand", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("reserved", BigInteger, nullable=False),
    # Copies of an edition that are out. 0 for stock: what was shipped is no longer counted.
    Column("issued", BigInteger, nullable=False),
    Column("numbered", Integer, nullable=False),
    Column("next_serial", BigInteger, nullable=False),
    CheckConstraint("held >= 0 AND reserved >= 0 AND issued >= 0", name="not_negative"),
    CheckConstraint("on_hand >= held + reserved", name="covers_promises"),
    Index("ix_inventory_pool_sku", "merchant_id", "sku"),
    # Every statement but lists finds a pool by its id: one tree instead of two.
    sqlite_with_rowid=False,
)

inventory_hold = Table(
    "inventory_hold",
    metadata,
    Column("hold_id", Text, primary_key=True),
    Column("pool_id", Text, nullable=False),
    Column("quote_id", Text, nullable=False),
    Column("order_id", Text),
    Column("ref", Text, nullable=False),
    Column("customer_id", Text, nullable=False),
    Column("device_id", Text),
    Column("quantity", BigInteger, nullable=False),
    Column("consumed", BigInteger, nullable=False),
    Column("released", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    CheckConstraint(
        "quantity > 0 AND consumed >= 0 AND released >= 0 AND consumed + released <= quantity",
        name="sums",
    ),
    Index("ix_inventory_hold_quote", "quote_id"),
    _partial("ix_inventory_hold_order", "order_id", where="order_id IS NOT NULL"),
    _partial("ix_inventory_hold_account", "customer_id", where="state = 'held'"),
    _partial("ix_inventory_hold_device", "device_id", where="state = 'held'"),
    _partial("ix_inventory_hold_held", "expires_at_ms", where="state = 'held'"),
    _partial("ix_inventory_hold_reserved", "expires_at_ms", where="state = 'reserved'"),
)

inventory_serial = Table(
    "inventory_serial",
    metadata,
    Column("pool_id", Text, primary_key=True),
    Column("serial", BigInteger, primary_key=True),
    Column("state", Text, nullable=False),
    Column("hold_id", Text),
    Index("ix_inventory_serial_hold", "hold_id"),
    _partial("ix_inventory_serial_free", "pool_id", "serial", where="state = 'free'"),
    sqlite_with_rowid=False,
)

inventory_adjustment = Table(
    "inventory_adjustment",
    metadata,
    Column("adjustment_id", Text, primary_key=True),
    Column("pool_id", Text, nullable=False),
    # Change of what is on hand. On hand = the sum of these - what holds of the pool consumed.
    Column("delta", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    # The caller's name for why; a second adjustment of the same name changes nothing.
    Column("reference", Text),
    Column("at_ms", BigInteger, nullable=False),
    Index("ux_inventory_adjustment_reference", "pool_id", "reference", unique=True),
)

fulfillment_order = Table(
    "fulfillment_order",
    metadata,
    Column("fulfillment_order_id", Text, primary_key=True),
    Column("order_id", Text, nullable=False),
    Column("merchant_id", Text, nullable=False),
    Column("location_code", Text, nullable=False),
    Column("backend", Text, nullable=False),
    Column("backend_reference", Text),
    Column("ship_to", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("tracking_carrier", Text),
    Column("tracking_number", Text),
    Column("tracking_url", Text),
    Column("reason", Text),
    # What the backend said against a state it had already ended; see shipments.record_update.
    Column("contradiction", Text),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("sent_at_ms", BigInteger),
    Column("accepted_at_ms", BigInteger),
    Column("dispatched_at_ms", BigInteger),
    Column("delivered_at_ms", BigInteger),
    Column("closed_at_ms", BigInteger),
    Index("ix_fulfillment_order_order", "order_id"),
)

fulfillment_line = Table(
    "fulfillment_line",
    metadata,
    Column("fulfillment_order_id", Text, primary_key=True),
    Column("leg_id", Text, primary_key=True),
    Column("sku", Text, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("title", Text, nullable=False),
    Column("hold_id", Text),
    sqlite_with_rowid=False,
)

backend_cursor = Table(
    "backend_cursor",
    metadata,
    Column("backend", Text, primary_key=True),
    Column("cursor", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
)
