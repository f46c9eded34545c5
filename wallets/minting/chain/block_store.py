"""The embedded chain's blocks and state in one SQLite file, under py-evm's database interface.

Writes gather in memory while a block is made and reach the file in one transaction, so the file always ends
with a whole block. Not for several threads: only the embedded chain's worker uses it.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from eth.db.backends.base import BaseDB

_CACHE_ENTRIES = 50_000  # trie nodes of at most 0.5 kB each, so some 40 MB


class SqliteBlocks(BaseDB):  # type: ignore[misc]  # py-evm is seen untyped
    """Opens or creates the file and holds it alone; sqlite3.OperationalError if another process has it."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=0.0)
        # Exclusive: two processes that build on the same head would each lose the other's blocks.
        self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._connection.execute("PRAGMA journal_mode = WAL")
        # FULL: a block that was answered for must survive the loss of power, not only of the process.
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("BEGIN EXCLUSIVE")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS entry (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
        )
        self._connection.execute("COMMIT")
        self._stored: dict[bytes, bytes] = {}
        self._pending: dict[bytes, bytes | None] = {}

    @property
    def is_empty(self) -> bool:
        """True before the first flush of a new file."""
        return self._connection.execute("SELECT 1 FROM entry LIMIT 1").fetchone() is None

    def __getitem__(self, key: bytes) -> bytes:
        if key in self._pending:
            value = self._pending[key]
            if value is None:
                raise KeyError(key)
            return value
        value = self._stored.get(key)
        if value is None:
            row = self._connection.execute("SELECT value FROM entry WHERE key = ?", (key,)).fetchone()
            if row is None:
                raise KeyError(key)
            value = bytes(row[0])
            self._remember(key, value)
        return value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._pending[key] = value

    def __delitem__(self, key: bytes) -> None:
        self._pending[key] = None

    def _exists(self, key: bytes) -> bool:
        try:
            self[key]
        except KeyError:
            return False
        return True

    def _remember(self, key: bytes, value: bytes) -> None:
        if len(self._stored) >= _CACHE_ENTRIES:
            self._stored.clear()
        self._stored[key] = value

    def flush(self) -> None:
        """Write what is pending in one transaction and wait until it is on the disk.

        Raises sqlite3.Error if that fails; then nothing was written and the pending writes are kept.
        """
        changed = [(key, value) for key, value in self._pending.items() if value is not None]
        deleted = [(key,) for key, value in self._pending.items() if value is None]
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            # Sorted, so that neighbours in the table's tree are written together.
            self._connection.executemany("INSERT OR REPLACE INTO entry VALUES (?, ?)", sorted(changed))
            self._connection.executemany("DELETE FROM entry WHERE key = ?", deleted)
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        for key, value in changed:
            self._remember(key, value)
        for (key,) in deleted:
            self._stored.pop(key, None)
        self._pending.clear()

    def discard(self) -> None:
        """Forget what is pending: the chain is again at its last whole block."""
        self._pending.clear()

    def close(self) -> None:
        """Close the file. Pending writes are lost."""
        self._connection.close()
