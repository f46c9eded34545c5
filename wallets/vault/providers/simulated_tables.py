"""The simulated acquirer's own database. It knows cards by the name of the test card, never by number."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, MetaData, Table, Text

from gateway.kernel.migrate import upgrade_sqlite
from gateway.kernel.store.schema import NAMING

metadata = MetaData(naming_convention=NAMING)

operation = Table(
    "acquirer_operation",
    metadata,
    Column("operation_id", Text, primary_key=True),  # the vault's id is the idempotency key
    Column("kind", Text),
    Column("parent_id", Text),
    Column("card", Text),
    Column("amount_minor", BigInteger),
    Column("currency", Text),
    Column("outcome", Text, nullable=False),
    Column("network_code", Text),
    Column("failure", Text),
    Column("capture_before_ms", BigInteger),
    Column("action_id", Text),
    Column("captured_minor", BigInteger, nullable=False),
    Column("voided_minor", BigInteger, nullable=False),
    Column("refunded_minor", BigInteger, nullable=False),
    Column("received_at_ms", BigInteger, nullable=False),
    # Who bears fraud, for an authorization.
    Column("liability", Text),
    # Of what is decided later than it is received, such as a direct debit.
    Column("decided_at_ms", BigInteger),
    CheckConstraint("captured_minor + voided_minor <= amount_minor", name="taken_of_authorization"),
    CheckConstraint("refunded_minor <= amount_minor", name="taken_of_capture"),
    sqlite_with_rowid=False,
)

Index(
    "uq_acquirer_operation_action",
    operation.c.action_id,
    unique=True,
    sqlite_where=operation.c.action_id.is_not(None),
    postgresql_where=operation.c.action_id.is_not(None),
)

chargeback = Table(
    "acquirer_chargeback",
    metadata,
    # One per capture: the issuer takes all of it back.
    Column("operation_id", Text, primary_key=True),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("received_at_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)


def create_schema(path: Path) -> None:
    """Bring a SQLite file up to this version's tables, making it if it does not exist."""
    upgrade_sqlite(path, Path(__file__).parent / "simulated_migrations")
