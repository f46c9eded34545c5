"""One connection to PostgreSQL: connecting again after a loss, and what its errors mean to the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.adapt import Loader
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import NullPool

from gateway.kernel.store.batch import LostConnectionError, TransientError

_TRANSIENT = ("40001", "40P01")
"""serialization_failure, deadlock_detected (PostgreSQL, appendix A)."""
_LOST = ("08", "57P", "25P03")
"""connection_exception, operator intervention, idle_in_transaction_session_timeout."""


class _Numeric(Loader):
    """Every column is an integer or text, so a numeric is a sum of integers: an int on SQLite, too."""

    def load(self, data: Any) -> Any:
        return int(bytes(data))


class _Cursor(psycopg.Cursor[Any]):
    """A cursor that tells a lost connection and a request to run again apart from errors of a statement."""

    def execute(self, *arguments: Any, **options: Any) -> Any:
        try:
            return super().execute(*arguments, **options)
        except psycopg.Error as error:
            _raise_understood(error, self.connection)
            raise

    def executemany(self, *arguments: Any, **options: Any) -> None:
        try:
            super().executemany(*arguments, **options)
        except psycopg.Error as error:
            _raise_understood(error, self.connection)
            raise


def _raise_understood(error: psycopg.Error, raw: psycopg.Connection[Any]) -> None:
    state = error.sqlstate or ""
    if state in _TRANSIENT:
        raise TransientError(str(error)) from error
    if raw.closed or state.startswith(_LOST):
        raw.close()  # never used again, also if the socket is still open
        raise LostConnectionError(str(error)) from error


class Link:
    """A driver connection in autocommit mode with a Core connection on it; made again after a loss."""

    def __init__(self, conninfo: str, settings: Sequence[str]) -> None:
        self._conninfo = conninfo
        self._settings = "; ".join(settings)
        self._raw: psycopg.Connection[Any] | None = None
        self._core: Connection | None = None
        self._engine = create_engine(
            "postgresql+psycopg://",
            creator=lambda: self._raw,
            poolclass=NullPool,
            pool_reset_on_return=None,
            isolation_level="AUTOCOMMIT",
            use_native_hstore=False,
            hide_parameters=True,
        )
        self.cursor: psycopg.Cursor[Any]

    @property
    def core(self) -> Connection:
        assert self._core is not None
        return self._core

    @property
    def status(self) -> TransactionStatus:
        if self._raw is None:
            return TransactionStatus.UNKNOWN
        return TransactionStatus(self._raw.pgconn.transaction_status)

    def ensure(self) -> None:
        """Connect unless connected. Raises LostConnectionError when the server cannot be reached."""
        if self._raw is not None and not self._raw.closed:
            return
        self.drop()
        try:
            raw: psycopg.Connection[Any] = psycopg.connect(
                self._conninfo, autocommit=True, cursor_factory=_Cursor, connect_timeout=5
            )
        except psycopg.Error as error:
            raise LostConnectionError(str(error)) from error
        raw.prepared_max = 1000  # more than we have statements
        raw.adapters.register_loader("numeric", _Numeric)
        self._raw = raw
        self.cursor = raw.cursor()
        self.cursor.execute(self._settings)
        self._core = self._engine.connect()

    def send(self, sql: str) -> tuple[Any, ...] | None:
        """Run several statements in one round trip and return the first row of the last one, if any."""
        cursor = self.cursor
        cursor.execute(sql)
        while cursor.nextset():
            pass
        return cursor.fetchone() if cursor.description else None

    def rollback(self) -> None:
        """Leave the open transaction, if any. Never raises: what cannot be rolled back is dropped."""
        try:
            if self.status not in (TransactionStatus.IDLE, TransactionStatus.UNKNOWN):
                self.cursor.execute("ROLLBACK")
        except (psycopg.Error, LostConnectionError):
            self.drop()

    def drop(self) -> None:
        """Forget the connection; the server rolls back what was open."""
        core, self._core = self._core, None
        raw, self._raw = self._raw, None
        if core is not None:
            core.invalidate()
            core.close()
        if raw is not None:
            raw.close()
