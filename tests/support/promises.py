"""A broken promise, and the words checks share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.support.evidence import Row


@dataclass(frozen=True)
class Violation:
    """Which promise is broken, where, and how."""

    promise: str
    subject: str
    detail: str

    def __str__(self) -> str:
        return f"{self.promise}: {self.subject}: {self.detail}"


def by(rows: Iterable[Row], column: str) -> dict[Any, list[Row]]:
    """Group rows by a column."""
    grouped: dict[Any, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row[column], []).append(row)
    return grouped


def total(rows: Iterable[Row], column: str = "amount_minor") -> int:
    """Sum a column."""
    return sum(row[column] for row in rows)
