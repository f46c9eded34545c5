"""Tables of the books: transactions and their entries. Rows are only ever added."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text

from gateway.kernel.store.schema import metadata

ledger_transaction = Table(
    "ledger_transaction",
    metadata,
    Column("ledger_transaction_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("merchant_id", Text, nullable=False),
    Column("order_id", Text),
    Column("at_ms", BigInteger, nullable=False),
    Index("ix_ledger_transaction_merchant", "merchant_id", "ledger_transaction_id"),
    sqlite_with_rowid=False,
)

ledger_entry = Table(
    "ledger_entry",
    metadata,
    Column("ledger_transaction_id", Text, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("account", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
