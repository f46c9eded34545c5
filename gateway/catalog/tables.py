"""Tables of the catalog. JSON columns hold what is only ever read as a whole."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Integer, Table, Text, UniqueConstraint

from gateway.kernel.store.schema import metadata

merchant = Table(
    "merchant",
    metadata,
    Column("merchant_id", Text, primary_key=True),
    Column("slug", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("country", Text, nullable=False),
    Column("settings", Text, nullable=False),  # JSON: currencies, tax, shipping
    Column("created_at_ms", BigInteger, nullable=False),
    Column("updated_at_ms", BigInteger, nullable=False),
)

merchant_location = Table(
    "merchant_location",
    metadata,
    Column("location_id", Text, primary_key=True),
    Column("merchant_id", Text, ForeignKey("merchant.merchant_id"), nullable=False),
    Column("code", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("country", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    UniqueConstraint("merchant_id", "code"),
)

place = Table(
    "place",
    metadata,
    Column("place_id", Text, primary_key=True),
    Column("merchant_id", Text, ForeignKey("merchant.merchant_id"), nullable=False),
    Column("code", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),  # JSON: text per locale
    Column("geo_fence", Text),  # JSON
    Column("placements", Text, nullable=False),  # JSON
    UniqueConstraint("merchant_id", "code"),
)

product = Table(
    "product",
    metadata,
    Column("product_id", Text, primary_key=True),
    Column("merchant_id", Text, ForeignKey("merchant.merchant_id"), nullable=False),
    Column("handle", Text, nullable=False),
    Column("title", Text, nullable=False),  # JSON: text per locale
    Column("description", Text, nullable=False),  # JSON: text per locale
    Column("failure_policy", Text, nullable=False),
    Column("tax", Text, nullable=False),  # JSON: part kind -> tax category
    Column("active", Integer, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("updated_at_ms", BigInteger, nullable=False),
    UniqueConstraint("merchant_id", "handle"),
)

variant = Table(
    "variant",
    metadata,
    Column("variant_id", Text, primary_key=True),
    Column("merchant_id", Text, nullable=False),
    Column("product_id", Text, ForeignKey("product.product_id"), nullable=False, index=True),
    Column("sku", Text, nullable=False),
    Column("position", Integer, nullable=False),
    Column("active", Integer, nullable=False),
    Column("title", Text, nullable=False),  # JSON: text per locale; empty: the product's
    Column("options", Text, nullable=False),  # JSON
    Column("formats", Text, nullable=False),  # JSON: format -> {"digital_share_percent": n} or {}
    Column("asset_id", Text),
    Column("digital", Text),  # JSON
    Column("physical", Text),  # JSON
    # Given once, kept for ever: it is the token's id on the chain.
    Column("token_number", BigInteger, unique=True),
    # SHA-256 of the merchant's own picture; null: the one drawn from the model.
    Column("picture_id", Text),
    UniqueConstraint("merchant_id", "sku"),
    CheckConstraint("token_number IS NULL OR token_number > 0", name="token_number_positive"),
)

variant_price = Table(
    "variant_price",
    metadata,
    Column("variant_id", Text, ForeignKey("variant.variant_id"), primary_key=True),
    Column("format", Text, primary_key=True),
    Column("currency", Text, primary_key=True),
    Column("amount_minor", BigInteger, nullable=False),
    CheckConstraint("amount_minor >= 0", name="amount_not_negative"),
)

stock_seed = Table(
    "stock_seed",
    metadata,
    # Which declared stock was handed to the inventory: it is a starting count, never a correction.
    Column("merchant_id", Text, primary_key=True),
    Column("sku", Text, primary_key=True),
    Column("location_id", Text, primary_key=True),
    Column("seeded_at_ms", BigInteger, nullable=False),
)

asset = Table(
    "asset",
    metadata,
    Column("asset_id", Text, primary_key=True),  # SHA-256 of the bytes, hex
    Column("media_type", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("extents_m", Text, nullable=False),  # JSON: [x, y, z]
    Column("triangles", Integer, nullable=False),
    Column("watertight", Integer, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    # SHA-256 of its picture; empty where none can be drawn, null where none was tried.
    Column("picture_id", Text),
)

token_document = Table(
    "token_document",
    metadata,
    # What a token says of itself, for ever. Its address is the hash of its bytes.
    Column("sha256", Text, primary_key=True),
    Column("item_number", BigInteger, nullable=False),
    Column("serial", BigInteger, nullable=False),  # 0: the edition
    Column("document", Text, nullable=False),  # canonical JSON
    Column("published_at_ms", BigInteger, nullable=False),
    UniqueConstraint("item_number", "serial"),
)

catalog_counter = Table(
    "catalog_counter",
    metadata,
    # "version" counts imports; "token_number" is the last ERC-1155 id given.
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)
