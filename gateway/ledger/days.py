"""Days of the books: calendar days of Coordinated Universal Time, written ``2026-11-22``."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

DAY_MS = 86_400_000
_EPOCH = date(1970, 1, 1)


def day_of(at_ms: int) -> str:
    """Return the day of a moment (milliseconds since the epoch)."""
    return (_EPOCH + timedelta(days=at_ms // DAY_MS)).isoformat()


def start_of(day: str) -> int:
    """Return the first millisecond of a day."""
    return (date.fromisoformat(day) - _EPOCH).days * DAY_MS


def end_of(day: str) -> int:
    """Return the first millisecond after a day."""
    return start_of(day) + DAY_MS


def next_day(day: str) -> str:
    """Return the day after."""
    return (date.fromisoformat(day) + timedelta(days=1)).isoformat()


def time_of(at_ms: int) -> datetime:
    """Return a moment with its time zone."""
    return datetime.fromtimestamp(at_ms // 1000, UTC).replace(microsecond=at_ms % 1000 * 1000)
