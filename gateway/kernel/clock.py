"""Time as a port, so that tests can hold it still and move it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall clock. Stored times are integer milliseconds since the epoch, UTC."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970-01-01T00:00:00Z."""
        ...


class SystemClock:
    """The machine's clock, never going backwards within one process."""

    def __init__(self) -> None:
        self._latest_ms = 0

    def now_ms(self) -> int:
        # Two threads may both write an older value; the next call mends it. Order inside a
        # database comes from sequence numbers, not from this.
        now = time.time_ns() // 1_000_000
        self._latest_ms = max(self._latest_ms, now)
        return self._latest_ms


class ManualClock:
    """A clock for tests that moves only when told."""

    def __init__(self, start_ms: int = 1_790_000_000_000) -> None:
        self._now_ms = start_ms

    def now_ms(self) -> int:
        return self._now_ms

    def advance(self, milliseconds: int) -> None:
        """Move forward; a negative step is a mistake in the test."""
        assert milliseconds >= 0
        self._now_ms += milliseconds


def utc_datetime(at_ms: int) -> datetime:
    """Return the aware UTC time of a stored millisecond count."""
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC)


def rfc3339(at_ms: int) -> str:
    """Return a stored time as RFC 3339 in UTC with milliseconds, as the wire writes it."""
    seconds, milliseconds = divmod(at_ms, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{milliseconds:03d}Z"


def parse_rfc3339(text: str) -> int:
    """Return milliseconds since the epoch. Raises ValueError without a UTC offset."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no UTC offset")
    return round(moment.timestamp() * 1000)
