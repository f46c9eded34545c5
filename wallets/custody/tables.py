"""Tables of custody, in the gateway's database."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Table, Text

from gateway.kernel.store.schema import metadata

custody_account = Table(
    "custody_account",
    metadata,
    Column("customer_id", Text, primary_key=True),
    Column("account_index", BigInteger, nullable=False, unique=True),
    # Null only between taking an index and deriving its address.
    Column("address", Text, unique=True),
    Column("created_at_ms", BigInteger, nullable=False),
)
