"""The nightly job (L4): days that are over are closed, and what does not add up is told."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.kernel.clock import ManualClock
from gateway.ledger.balances import last_closed_day
from gateway.ledger.days import DAY_MS, day_of
from gateway.orders import background
from gateway.orders.background import Background
from tests.ledger.trading_day import MERCHANT, trade
from tests.support.damage import unguard
from tests.support.stores import gateway_store


async def test_l4_the_nightly_job_closes_days_and_tells_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "_BOOKS_S", 0.0)
    clock = ManualClock()
    async with gateway_store(tmp_path, clock) as store:
        nothing: Any = None
        job = Background(store, *[nothing] * (Background.__init__.__code__.co_argcount - 2))
        for number in range(2):
            await trade(store, clock, 30, seed=number, first=number * 30)
            day = day_of(clock.now_ms())
            clock.advance(DAY_MS)
            with capture_logs() as logs:
                await job._keep_books()
            assert await store.read(lambda reader: last_closed_day(reader, MERCHANT)) == day
            assert [entry["event"] for entry in logs] == ["books.day_closed"]
        connection = sqlite3.connect(tmp_path / "gateway.db")
        unguard(connection)
        connection.execute("UPDATE ledger_entry SET amount = amount + 1 WHERE account = 'asset:bank:main'")
        connection.commit()
        connection.close()
        await trade(store, clock, 30, seed=3, first=60)
        clock.advance(DAY_MS)
        with capture_logs() as logs:
            await job._keep_books()
        assert "books.problem" in {entry["event"] for entry in logs}
