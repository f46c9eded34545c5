"""A database with custody's tables, on a clock that is moved by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.events.log import EventLog
from gateway.kernel.ids import TimeSortedIds
from gateway.kernel.store.schema import metadata
from gateway.kernel.store.sqlite import SqliteStore, connect


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def custody_store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteStore]:
    path = tmp_path / "gateway.db"
    raw, core = connect(path)
    metadata.create_all(core)
    core.close()
    raw.close()
    opened = SqliteStore(path, clock, TimeSortedIds(clock), event_log=EventLog(), strict=True, rehearse=True)
    yield opened
    await opened.close()
