"""Writing to a database behind its guards: what someone with the file could do."""

from __future__ import annotations

import sqlite3


def unguard(connection: sqlite3.Connection) -> None:
    """Take the triggers and check constraints out of the way."""
    connection.execute("PRAGMA ignore_check_constraints = ON")
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
