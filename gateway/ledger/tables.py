"""Tables of the books. Transactions, entries, closed days and closings are only ever added: triggers of the
database refuse to change or delete them (migration 0003). `ledger_balance` is the one that is updated: it
holds what the limits of accounts are checked against, and is rebuilt and compared every night.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, Table, Text, text

from gateway.kernel.store.schema import metadata

APPEND_ONLY = ("ledger_transaction", "ledger_entry", "ledger_day", "ledger_closing")

ledger_transaction = Table(
    "ledger_transaction",
    metadata,
    Column("ledger_transaction_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("merchant_id", Text, nullable=False),
    Column("order_id", Text),
    Column("at_ms", BigInteger, nullable=False),
    # Null: posted in one step. Else what it does to a pending amount: pending, post, void, expire.
    Column("phase", Text),
    # The amount that is reserved, named by whoever reserved it (an authorization's operation id).
    Column("pending_id", Text),
    # 0, 1, 2 ...: each change of a pending amount follows exactly one other, so none is resolved twice.
    Column("part", Integer),
    # What is still reserved after this part.
    Column("pending_left", BigInteger),
    Column("expires_at_ms", BigInteger),
    # The transaction that this one takes back, and why.
    Column("reverses_id", Text),
    Column("code", Text),
    # When it counts for the bank or the provider, if that is not when it was posted.
    Column("effective_at_ms", BigInteger),
    Index("ix_ledger_transaction_day", "merchant_id", "at_ms", "ledger_transaction_id"),
    Index(
        "uq_ledger_transaction_pending",
        "pending_id",
        "part",
        unique=True,
        sqlite_where=text("pending_id IS NOT NULL"),
        postgresql_where=text("pending_id IS NOT NULL"),
    ),
    Index(
        "uq_ledger_transaction_reverses",
        "reverses_id",
        unique=True,
        sqlite_where=text("reverses_id IS NOT NULL"),
        postgresql_where=text("reverses_id IS NOT NULL"),
    ),
    Index(
        "ix_ledger_transaction_expiry",
        "expires_at_ms",
        sqlite_where=text("expires_at_ms IS NOT NULL"),
        postgresql_where=text("expires_at_ms IS NOT NULL"),
    ),
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

ledger_balance = Table(
    "ledger_balance",
    metadata,
    # Only accounts with a limit: how much there is on the account's normal side.
    Column("merchant_id", Text, primary_key=True),
    Column("account", Text, primary_key=True),
    Column("unit", Text, primary_key=True),
    Column("amount", BigInteger, nullable=False),
    CheckConstraint("amount >= 0", name="within_limit"),
    sqlite_with_rowid=False,
)

ledger_day = Table(
    "ledger_day",
    metadata,
    # A day (UTC, ISO 8601) that is over. Days without a transaction have no row.
    Column("merchant_id", Text, primary_key=True),
    Column("day", Text, primary_key=True),
    Column("transactions", Integer, nullable=False),
    Column("entries", Integer, nullable=False),
    # Merkle root over the day's transactions (RFC 6962, section 2.1), hex.
    Column("root", Text, nullable=False),
    # Over the day's closing balances.
    Column("balances", Text, nullable=False),
    # Over the hash of the day before, this day's root and balances: the chain.
    Column("hash", Text, nullable=False),
    Column("closed_at_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

ledger_closing = Table(
    "ledger_closing",
    metadata,
    # What an account that was posted to on a day stood at when the day ended.
    Column("merchant_id", Text, primary_key=True),
    Column("account", Text, primary_key=True),
    Column("unit", Text, primary_key=True),
    Column("day", Text, primary_key=True),
    Column("debits_posted", BigInteger, nullable=False),
    Column("credits_posted", BigInteger, nullable=False),
    Column("debits_pending", BigInteger, nullable=False),
    Column("credits_pending", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
