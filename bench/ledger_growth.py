"""What a capture costs in the books when they are old: a million rows against a thousand.

Two databases of the gateway differ only in how much the ledger holds. Both get the same captures through the
store, as the purchase process posts them: the amount out of what is reserved, then the delivery that earns
it. Segments take turns, so what else the machine does meets both sides alike.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from bench.figures import Figure
from bench.run import Run
from gateway.app import MIGRATIONS
from gateway.kernel.clock import SystemClock
from gateway.kernel.ids import TimeSortedIds
from gateway.kernel.migrate import upgrade_sqlite
from gateway.kernel.store.sqlite import SqliteStore
from gateway.kernel.store.unit import UnitOfWork
from gateway.ledger import accounts, pending
from gateway.ledger.entries import Entry
from gateway.ledger.posting import post

_ROWS_OF_ORDER = 13
"""Three transactions of money and one of goods, with nine entries."""
_SMALL = 1_000
_MERCHANT = "mer_bench"
_SEED = """
WITH RECURSIVE orders(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM orders WHERE n + 1 < :orders),
parts(p, kind, phase) AS (VALUES (0, 'payment.authorized', 'pending'), (1, 'payment.captured', 'post'),
    (2, 'leg.delivered', NULL), (3, 'shipment.dispatched', NULL))
INSERT INTO ledger_transaction (ledger_transaction_id, kind, merchant_id, order_id, at_ms, phase, pending_id,
    part, pending_left)
SELECT printf('ltx_%012x%016x', :began + n * 10 + p, n), kind, :merchant, printf('ord_%028x', n),
    :began + n * 10 + p, phase, iif(phase IS NULL, NULL, printf('op_%028x', n)), iif(phase IS NULL, NULL, p),
    iif(phase IS NULL, NULL, iif(p = 0, 5000, 0))
FROM orders, parts ORDER BY n, p
"""
_SEED_ENTRIES = """
WITH RECURSIVE orders(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM orders WHERE n + 1 < :orders),
entries(p, position, account, unit, amount) AS (VALUES
    (0, 0, 'asset:clearing:simulated', 'EUR', 5000), (0, 1, 'liability:deferred_revenue', 'EUR', -5000),
    (1, 0, 'asset:clearing:simulated', 'EUR', 5000), (1, 1, 'liability:deferred_revenue', 'EUR', -5000),
    (2, 0, 'liability:deferred_revenue', 'EUR', 5000), (2, 1, 'income:revenue:goods_standard', 'EUR', -4202),
    (2, 2, 'liability:vat:DE:1900', 'EUR', -798),
    (3, 0, 'goods:delivered', 'sku:LAMP', 1), (3, 1, 'stock:reserved:BERLIN', 'sku:LAMP', -1))
INSERT INTO ledger_entry
SELECT printf('ltx_%012x%016x', :began + n * 10 + p, n), position, account, unit, amount
FROM orders, entries ORDER BY n, p, position
"""


@dataclass
class _Books:
    """One database; captures are numbered on."""

    store: SqliteStore
    next_order: int

    async def reserve(self, count: int) -> range:
        """Reserve amounts that can be captured; returns the orders' numbers."""
        orders = range(self.next_order, self.next_order + count)
        self.next_order += count
        await asyncio.gather(*(self.store.write(partial(_reserve, number=number)) for number in orders))
        return orders

    async def capture(self, orders: range) -> float:
        """Capture them, all waiting together; returns seconds."""
        began = time.perf_counter()
        await asyncio.gather(*(self.store.write(partial(_capture, number=number)) for number in orders))
        return time.perf_counter() - began


async def measure(run: Run) -> list[Figure]:
    """Return the figure of growth; the books are checked afterwards."""
    scale = run.scale
    async with AsyncExitStack() as closing:
        small = await closing.enter_async_context(_books(run.folder / "small.db", _SMALL))
        large = await closing.enter_async_context(_books(run.folder / "large.db", scale.ledger_rows))
        ratios, costs = [], []
        for segment in range(scale.ledger_segments + 1):
            sides = (small, large) if segment % 2 else (large, small)
            seconds: dict[int, float] = {}
            for books in sides:
                orders = await books.reserve(scale.ledger_each)
                seconds[id(books)] = await books.capture(orders)
            if segment == 0:
                continue
            ratios.append(seconds[id(large)] / seconds[id(small)])
            costs.append((seconds[id(large)], seconds[id(small)]))
    large_us, small_us = (median(cost[side] for cost in costs) / scale.ledger_each * 1e6 for side in (0, 1))
    return [
        Figure(
            "capture_cost_growth",
            median(ratios),
            "ratio",
            1.2,
            "lower",
            f"posting a capture and its delivery (2 transactions, 5 entries) through the store, SQLite, "
            f"{scale.ledger_each} waiting together: {large_us:.0f} us each at {scale.ledger_rows:,} ledger "
            f"rows, {small_us:.0f} us at {_SMALL:,}; median of {scale.ledger_segments} interleaved pairs",
        )
    ]


@asynccontextmanager
async def _books(path: Path, rows: int) -> AsyncIterator[_Books]:
    await asyncio.to_thread(_seed, path, rows)
    clock = SystemClock()
    store = SqliteStore(path, clock, TimeSortedIds(clock))
    try:
        yield _Books(store, 10**9)
    finally:
        await store.close()


def _seed(path: Path, rows: int) -> None:
    """Write orders as they look when they are over, up to now, ten milliseconds apart."""
    upgrade_sqlite(path, MIGRATIONS)
    orders = max(1, rows // _ROWS_OF_ORDER)
    values: dict[str, Any] = {
        "orders": orders,
        "merchant": _MERCHANT,
        "began": time.time_ns() // 1_000_000 - orders * 10,
    }
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("BEGIN")
    connection.execute(_SEED, values)
    connection.execute(_SEED_ENTRIES, values)
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _reserve(uow: UnitOfWork, number: int) -> None:
    pending.reserve(
        uow,
        "payment.authorized",
        _MERCHANT,
        f"ord_{number:028x}",
        f"op_{number:028x}",
        unit="EUR",
        amount=5000,
        debit=accounts.clearing("simulated"),
        credit=accounts.DEFERRED_REVENUE,
    )


def _capture(uow: UnitOfWork, number: int) -> None:
    held = pending.reservation(uow, f"op_{number:028x}")
    assert held is not None
    pending.post_pending(uow, "payment.captured", held.pending_id, 5000, keep_rest=True, known=held)
    earned = (
        Entry(accounts.DEFERRED_REVENUE, "EUR", 5000),
        Entry(accounts.revenue("goods_standard"), "EUR", -4202),
        Entry(accounts.vat_payable("DE", 1900), "EUR", -798),
    )
    post(uow, "leg.delivered", _MERCHANT, f"ord_{number:028x}", earned)
