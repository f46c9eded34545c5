"""An entry: what a transaction does to one account."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """A signed amount on an account: debit positive, credit negative, in whole units."""

    account: str
    unit: str
    amount: int


def move(unit: str, amount: int, *, debit: str, credit: str) -> tuple[Entry, Entry]:
    """Return the two entries of a simple transfer of ``amount`` from ``credit`` to ``debit``."""
    return Entry(debit, unit, amount), Entry(credit, unit, -amount)
