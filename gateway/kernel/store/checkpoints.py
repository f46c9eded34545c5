"""Copying the write-ahead log back into the SQLite file, beside the writer and not within a commit.

Left to itself SQLite does it in the commit that makes the log too long: the callers of that commit wait for
thousands of page writes and an fsync of the file, some 20 ms on a good disk. Here a thread copies while the
writer goes on; the writer itself copies only the few pages that came meanwhile, so that the log can begin
anew, which it does when all of it is copied (https://www.sqlite.org/wal.html, section 2.1).
"""

from __future__ import annotations

import sqlite3
import threading

import structlog

log = structlog.get_logger(__name__)

LONG_LOG_PAGES = 8_000
"""From here on the log is made to begin anew: 32 MB. A busy page is copied once a round: rarely is cheap."""
_COPY_EVERY_S = 1.0
_CHECKPOINT = "PRAGMA wal_checkpoint(PASSIVE)"


class Checkpointer:
    """One thread that copies at most once a second, while there is something new, on its own connection."""

    def __init__(
        self,
        name: str,
        connection: sqlite3.Connection,
        *,
        every_s: float = _COPY_EVERY_S,
        long_log_pages: int = LONG_LOG_PAGES,
    ) -> None:
        self._connection = connection
        self._every_s = every_s
        self._long_log_pages = long_log_pages
        self._news = threading.Event()
        self._closing = threading.Event()
        self._nearly_copied = False
        self._thread = threading.Thread(target=self._work, name=f"{name}-checkpoint", daemon=True)
        self._thread.start()

    def committed(self, writer: sqlite3.Cursor) -> None:
        """Say that there is something new; called in the writer's thread, outside a transaction."""
        if self._nearly_copied:
            self._nearly_copied = False
            self._copy(writer)
        self._news.set()

    def close(self) -> None:
        """End the thread. Waits for a copy under way."""
        self._closing.set()
        self._news.set()
        self._thread.join()

    def _work(self) -> None:
        try:
            while not self._closing.wait(self._every_s):
                self._news.wait()
                self._news.clear()
                if not self._closing.is_set():
                    self._nearly_copied = self._copy(self._connection) > self._long_log_pages
        finally:
            self._connection.close()

    @staticmethod
    def _copy(through: sqlite3.Connection | sqlite3.Cursor) -> int:
        """Copy what nobody reads any more; returns the length of the log in pages."""
        try:
            _busy, pages, _copied = through.execute(_CHECKPOINT).fetchone()
        except sqlite3.Error as error:
            # Nothing is lost, what is not copied stays in the log; a full disk shows in the next commit.
            log.warning("store.checkpoint_failed", error=str(error))
            return 0
        return int(pages)
