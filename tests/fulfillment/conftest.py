"""A gateway database for each test of stock and shipments: SQLite, and PostgreSQL when it is installed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fulfillment import tables
from gateway.kernel.clock import ManualClock
from gateway.kernel.store.unit import Store
from tests.support.databases import Database, postgres_of, store_of

_TABLES = [
    tables.inventory_pool,
    tables.inventory_hold,
    tables.inventory_serial,
    tables.inventory_adjustment,
    tables.fulfillment_order,
    tables.fulfillment_line,
    tables.backend_cursor,
]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="session")
def fulfillment_database() -> Database:
    return postgres_of(_TABLES)


@pytest.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Store]:
    postgres = request.getfixturevalue("fulfillment_database") if request.param == "postgresql" else None
    async with store_of(_TABLES, clock, tmp_path, postgres) as opened:
        yield opened
