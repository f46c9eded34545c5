"""A gateway database on disk with every table, made once and copied, and a strict store on it."""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.app import MIGRATIONS
from gateway.kernel.clock import Clock, ManualClock
from gateway.kernel.events.log import EventLog
from gateway.kernel.ids import TimeSortedIds
from gateway.kernel.migrate import upgrade_sqlite
from gateway.kernel.store.sqlite import SqliteStore


@functools.cache
def _template() -> Path:
    path = Path(tempfile.mkdtemp(prefix="vitrine-schema-")) / "gateway.db"
    upgrade_sqlite(path, MIGRATIONS)
    return path


@asynccontextmanager
async def gateway_store(directory: Path, clock: Clock | None = None) -> AsyncIterator[SqliteStore]:
    """Open a strict, rehearsing store with the gateway's tables in ``directory``."""
    path = directory / "gateway.db"
    shutil.copy(_template(), path)
    its_clock = clock or ManualClock()
    store = SqliteStore(
        path, its_clock, TimeSortedIds(its_clock), event_log=EventLog(), strict=True, rehearse=True
    )
    try:
        yield store
    finally:
        await store.close()
