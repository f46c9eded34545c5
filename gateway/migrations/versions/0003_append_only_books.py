"""Books that only grow: triggers against changing and deleting; what was memo becomes pending.

SQLite has no triggers that wait for the commit, so there a transaction's sum is checked where it is written
and again every night; on PostgreSQL the database checks it at commit.
"""

from __future__ import annotations

import itertools
import time

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_TABLES = ("ledger_transaction", "ledger_entry", "ledger_day", "ledger_closing")

_POSTGRES = (
    """
CREATE FUNCTION ledger_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$""",
    """
CREATE FUNCTION ledger_sums_to_zero() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    entries integer;
    off integer;
BEGIN
    SELECT coalesce(sum(number), 0), count(*) FILTER (WHERE total <> 0) INTO entries, off FROM (
        SELECT count(*) AS number, sum(amount) AS total FROM ledger_entry
        WHERE ledger_transaction_id = NEW.ledger_transaction_id GROUP BY unit
    ) AS units;
    IF entries < 2 OR off > 0 THEN
        RAISE EXCEPTION 'ledger transaction % has % entries, % units do not sum to zero',
            NEW.ledger_transaction_id, entries, off USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$""",
    """
CREATE CONSTRAINT TRIGGER ledger_transaction_balanced AFTER INSERT ON ledger_transaction
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_sums_to_zero()""",
    """
CREATE CONSTRAINT TRIGGER ledger_entry_balanced AFTER INSERT ON ledger_entry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_sums_to_zero()""",
)


def upgrade() -> None:
    connection = op.get_bind()
    _limits(connection)
    _memo_to_pending(connection)
    if connection.dialect.name == "postgresql":
        for statement in _POSTGRES:
            connection.execute(sa.text(statement))
        for table in _TABLES:
            connection.exec_driver_sql(
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
                "FOR EACH ROW EXECUTE FUNCTION ledger_append_only()"
            )
            connection.exec_driver_sql(
                f"CREATE TRIGGER {table}_kept BEFORE TRUNCATE ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION ledger_append_only()"
            )
        return
    # REPLACE deletes without asking a trigger unless triggers are recursive: nothing here replaces rows.
    for table in _TABLES:
        for change in ("update", "delete"):
            connection.exec_driver_sql(
                f"CREATE TRIGGER {table}_no_{change} BEFORE {change.upper()} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )


def _limits(connection: sa.Connection) -> None:
    """Stock that can be sold has a limit from now on: what there is of it is counted once."""
    connection.execute(
        sa.text(
            "INSERT INTO ledger_balance (merchant_id, account, unit, amount) "
            "SELECT merchant_id, account, unit, sum(amount) FROM ledger_entry "
            "JOIN ledger_transaction USING (ledger_transaction_id) WHERE account LIKE 'stock:available:%' "
            "GROUP BY merchant_id, account, unit HAVING sum(amount) > 0"
        )
    )


def _memo_to_pending(connection: sa.Connection) -> None:
    """Bring the memo accounts to zero and reserve what providers hold as pending amounts."""
    now_ms = time.time_ns() // 1_000_000
    numbers = itertools.count(1)
    transaction = sa.table(
        "ledger_transaction",
        *map(
            sa.column,
            (
                "ledger_transaction_id",
                "kind",
                "merchant_id",
                "order_id",
                "at_ms",
                "phase",
                "pending_id",
                "part",
                "pending_left",
            ),
        ),
    )
    entry = sa.table(
        "ledger_entry",
        *map(sa.column, ("ledger_transaction_id", "position", "account", "unit", "amount")),
    )

    def write(
        kind: str,
        merchant_id: str,
        order_id: str | None,
        pending: dict[str, object],
        entries: list[tuple[str, str, int]],
    ) -> None:
        name = f"ltx_{now_ms:012x}{next(numbers):016x}"
        row = {"kind": kind, "merchant_id": merchant_id, "order_id": order_id, "at_ms": now_ms}
        connection.execute(sa.insert(transaction).values(ledger_transaction_id=name, **row, **pending))
        for position, (account, unit, amount) in enumerate(entries):
            connection.execute(
                sa.insert(entry).values(
                    ledger_transaction_id=name, position=position, account=account, unit=unit, amount=amount
                )
            )

    memo: dict[str, list[tuple[str, str, int]]] = {}
    for merchant_id, account, unit, amount in connection.execute(
        sa.text(
            "SELECT merchant_id, account, unit, sum(amount) FROM ledger_entry "
            "JOIN ledger_transaction USING (ledger_transaction_id) "
            "WHERE account IN ('memo:authorized', 'memo:authorized_contra', "
            "'memo:orders_due', 'memo:orders_due_contra') "
            "GROUP BY merchant_id, account, unit HAVING sum(amount) <> 0 ORDER BY 1, 2, 3"
        )
    ).all():
        memo.setdefault(merchant_id, []).append((account, unit, -int(amount)))
    for merchant_id, entries in memo.items():
        write("books.memo_closed", merchant_id, None, {}, entries)
    for held in connection.execute(
        sa.text(
            "SELECT merchant_id, order_id, currency, authorization_id, "
            "authorized_minor - captured_minor - voided_minor AS held FROM payment_intent "
            "WHERE authorization_id IS NOT NULL AND authorized_minor > captured_minor + voided_minor"
        )
    ).all():
        write(
            "payment.authorized",
            held.merchant_id,
            held.order_id,
            {"phase": "pending", "pending_id": held.authorization_id, "part": 0, "pending_left": held.held},
            [
                ("asset:clearing:simulated", held.currency, held.held),
                ("liability:deferred_revenue", held.currency, -held.held),
            ],
        )
