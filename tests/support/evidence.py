"""Reading what a gateway left on the disk, beside the gateway: its five databases, read-only.

The gateway may be running (SQLite readers do not block its writer), except for the embedded chain, whose
file belongs to its process alone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Row = dict[str, Any]
MOOT = """((kind = 'payment.resolve' AND EXISTS (
    SELECT 1 FROM payment_operation o WHERE o.operation_id = json_extract(task.payload, '$.operation_id')
    AND o.state IN ('succeeded', 'declined', 'failed')))
    OR (kind = 'payment.renew' AND NOT EXISTS (
    SELECT 1 FROM customer_order c WHERE c.order_id = task.subject AND c.state = 'confirmed')))"""
"""A task from which nothing follows now: its operation has been answered meanwhile, or it would look at
the authorization of an order that has ended."""


class Evidence:
    """The databases under one data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir

    def rows(self, query: str, *values: Any, database: str = "gateway") -> list[Row]:
        """Return the rows of a query on one of the databases, as dictionaries."""
        with self._open(database) as connection:
            return [dict(row) for row in connection.execute(query, values)]

    def count(self, table: str, where: str = "1", *values: Any, database: str = "gateway") -> int:
        """Return how many rows of a table match."""
        return int(
            self.rows(f"SELECT count(*) AS n FROM {table} WHERE {where}", *values, database=database)[0]["n"]
        )

    def sizes(self, *databases: str) -> dict[str, int]:
        """Return the number of rows of every table, to see whether anything was written.

        The audit trail and the count of declined cards are left out: they are there to be written when
        something is refused.
        """
        found = {}
        for database in databases or ("gateway", "vault", "acquirer", "backend"):
            tables = self.rows("SELECT name FROM sqlite_master WHERE type = 'table'", database=database)
            for table in tables:
                if table["name"].startswith(("vault_audit", "vault_card_decline")):
                    continue
                found[f"{database}.{table['name']}"] = self.count(table["name"], database=database)
        return found

    def unfinished(self) -> list[str]:
        """Return what the gateway still has to do by itself; empty once everything has come to rest."""
        waiting = [
            f"{row['n']} {row['kind']} tasks {row['state']}"
            for row in self.rows(
                f"SELECT kind, state, count(*) AS n FROM task WHERE state <> 'parked' AND NOT {MOOT} "
                "GROUP BY kind, state"
            )
        ]
        for what, where in (
            ("mint", "state IN ('queued', 'claimed', 'sent', 'minted')"),
            ("mint", "return_state IN ('requested', 'sent')"),
            ("fulfillment_order", "state IN ('created', 'sent', 'accepted', 'dispatched')"),
        ):
            number = self.count(what, where)
            if number:
                waiting.append(f"{number} {what} {where}")
        return waiting

    @contextmanager
    def _open(self, database: str) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(f"file:{self.data_dir / database}.db?mode=ro", uri=True, timeout=10)
        connection.row_factory = sqlite3.Row
        try:
            yield connection
        finally:
            connection.close()
