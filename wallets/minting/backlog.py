"""How many mints wait, and for what. Counted along partial indexes that mints at rest are not in."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import func, select

from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader
from wallets.minting.model import MintState
from wallets.minting.tables import mint


class Backlog(NamedTuple):
    """Counts: of what the lanes take next, of what waits for gas of the next day, and for a person."""

    queued: int
    held: int
    parked: int


_COUNTS = [
    Statement(select(func.count().label("count")).select_from(mint).where(mint.c.state == state.value))
    for state in (MintState.QUEUED, MintState.HELD, MintState.PARKED)
]


def mints_that_wait(reader: Reader) -> Backlog:
    """Return how many mints wait."""
    found = [reader.row(statement) for statement in _COUNTS]
    return Backlog(*(0 if row is None else row.count for row in found))
