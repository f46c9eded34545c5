"""Inserts that bind only the columns a new row has a value for: half the price of binding them all."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table, bindparam
from sqlalchemy.dialects import postgresql, sqlite

from gateway.kernel.store.statements import Statement


def insert_named(table: Table, columns: str, **constants: int) -> Statement:
    """Insert the named columns (separated by blanks) and constants, unless a unique key is taken.

    The columns that are left out become NULL. The row count says whether the row was inserted.
    """
    values: dict[str, Any] = {**{name: bindparam(name) for name in columns.split()}, **constants}
    return Statement(
        {
            "sqlite": sqlite.insert(table).values(values).on_conflict_do_nothing(),
            "postgresql": postgresql.insert(table).values(values).on_conflict_do_nothing(),
        }
    )
