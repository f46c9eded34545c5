"""What one order writes: the rows that differ between two dumps of the gateway's database.

The shape is taken from the running gateway, not written down here, so it stays true when tables change.
"""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Key = tuple[Any, ...]
Dump = dict[str, dict[Key, dict[str, Any]]]
"""Rows by table and primary key."""

ID = re.compile(r"\b([a-z]{2,8})_([0-9a-f]{28,32})\b")
"""Ids and keys, alone or inside JSON text."""


@dataclass(frozen=True, slots=True)
class Write:
    """One row written: inserted as a whole, or some columns of the row with this key changed."""

    table: str
    inserts: bool
    values: dict[str, Any]
    key: dict[str, Any]

    @property
    def sql(self) -> str:
        """Return the statement with positional parameters: the values, then the key."""
        if self.inserts:
            marks = ", ".join("?" * len(self.values))
            return f'INSERT INTO "{self.table}" ({", ".join(self.values)}) VALUES ({marks})'
        changes = ", ".join(f"{column} = ?" for column in self.values)
        where = " AND ".join(f"{column} = ?" for column in self.key)
        return f'UPDATE "{self.table}" SET {changes} WHERE {where}'


def read_only(path: Path) -> sqlite3.Connection:
    """Open a database without ever writing to it."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    connection.row_factory = sqlite3.Row
    return connection


def dump(connection: sqlite3.Connection) -> Dump:
    """Return every row of every table, from one committed state."""
    connection.execute("BEGIN")
    try:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: _rows(connection, name) for name in names if not name.startswith("sqlite_")}
    finally:
        connection.execute("COMMIT")


def ids_in(dumped: Dump) -> set[str]:
    """Return all ids that occur anywhere."""
    return {
        found.group()
        for table in dumped.values()
        for row in table.values()
        for value in row.values()
        if isinstance(value, str)
        for found in ID.finditer(value)
    }


def writes_between(before: Dump, after: Dump, key_columns: dict[str, list[str]]) -> list[Write]:
    """Return what was written, updates first. Raises ValueError for a deleted row: orders delete none."""
    updates: list[Write] = []
    inserts: list[Write] = []
    for table, rows in after.items():
        old = before[table]
        if old.keys() - rows.keys():
            raise ValueError(f"rows of {table} were deleted")
        for key, row in rows.items():
            was = old.get(key)
            if was is None:
                inserts.append(Write(table, True, row, {}))
                continue
            changed = {column: value for column, value in row.items() if was[column] != value}
            if changed:
                updates.append(Write(table, False, changed, dict(zip(key_columns[table], key, strict=True))))
    return updates + inserts


def key_columns(connection: sqlite3.Connection, table: str) -> list[str]:
    """Return the columns of the primary key, in its order."""
    columns = [row for row in connection.execute(f'PRAGMA table_info("{table}")') if row["pk"]]
    return [row["name"] for row in sorted(columns, key=lambda row: int(row["pk"]))]


def _rows(connection: sqlite3.Connection, table: str) -> dict[Key, dict[str, Any]]:
    keys = key_columns(connection, table)
    rows = [dict(row) for row in connection.execute(f'SELECT * FROM "{table}"')]
    return {tuple(row[column] for column in keys): row for row in rows}
