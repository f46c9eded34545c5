"""Books of some days for the exports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.kernel.clock import ManualClock
from gateway.ledger.closing import close_days
from gateway.ledger.days import DAY_MS, day_of, start_of
from gateway.ledger.exports.model import Book
from tests.ledger.trading_day import MERCHANT, trade
from tests.support.stores import gateway_store

START = start_of("2026-12-30") + 3_600_000


def book_of(store: object, first: str, last: str) -> Book:
    return Book(store, MERCHANT, "acme", 'Acme "Lamps" & Söhne', "EUR", "DE", first, last)


@pytest.fixture
async def books(tmp_path: Path) -> AsyncIterator[object]:
    """Four days over the end of a year with some trade; all but the last are closed."""
    clock = ManualClock(START)
    async with gateway_store(tmp_path, clock) as store:
        for number in range(4):
            await trade(store, clock, 120, seed=number, first=number * 120)
            clock.advance(start_of(day_of(clock.now_ms())) + DAY_MS + 3_600_000 - clock.now_ms())
        await close_days(store)
        yield store
