"""Tables of settlement: files that were imported, and their lines with what comparing found."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text

from gateway.kernel.store.schema import metadata

settlement_file = Table(
    "settlement_file",
    metadata,
    Column("file_hash", Text, primary_key=True),
    # The provider or the bank account.
    Column("source", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("lines", Integer, nullable=False),
    # The time that it tells everything about; milliseconds, the end not included.
    Column("from_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
    Column("imported_at_ms", BigInteger, nullable=False),
    Index("ix_settlement_file_source", "source", "from_ms"),
)

settlement_line = Table(
    "settlement_line",
    metadata,
    Column("source", Text, primary_key=True),
    Column("line_key", Text, primary_key=True),
    Column("file_hash", Text, nullable=False),
    Column("operation_id", Text),
    Column("provider_reference", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("gross_minor", BigInteger, nullable=False),
    Column("fee_minor", BigInteger, nullable=False),
    Column("net_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("batch", Text, nullable=False),
    Column("payout_id", Text, nullable=False),
    Column("occurred_at_ms", BigInteger, nullable=False),
    Column("available_on", Text, nullable=False),
    # Outcomes, separated by commas, and what was expected, as a document.
    Column("outcomes", Text, nullable=False),
    Column("findings", Text, nullable=False),
    Column("merchant_id", Text, nullable=False),
    Column("ledger_transaction_id", Text),
    Index("ix_settlement_line_file", "file_hash"),
    Index("ix_settlement_line_operation", "operation_id", "type"),
    Index("ix_settlement_line_reference", "source", "provider_reference", "type"),
    Index("ix_settlement_line_payout", "source", "payout_id"),
    sqlite_with_rowid=False,
)

bank_line = Table(
    "bank_line",
    metadata,
    Column("source", Text, primary_key=True),
    Column("line_key", Text, primary_key=True),
    Column("file_hash", Text, nullable=False),
    Column("booked_on", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("reference", Text, nullable=False),
    Column("counterparty", Text, nullable=False),
    Column("outcomes", Text, nullable=False),
    Column("findings", Text, nullable=False),
    # Of the payout that explains it.
    Column("provider", Text),
    Column("payout_id", Text),
    # What was posted while no payout explained it; reversed when one does.
    Column("ledger_transaction_id", Text),
    Index("ix_bank_line_file", "file_hash"),
    Index("ix_bank_line_payout", "provider", "payout_id"),
    sqlite_with_rowid=False,
)
