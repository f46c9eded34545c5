"""A ledger on a file of its own for property tests, which cannot use fixtures."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.kernel.clock import Clock
from gateway.kernel.store.sqlite import SqliteStore
from tests.support.stores import gateway_store


@asynccontextmanager
async def memory_store(clock: Clock | None = None) -> AsyncIterator[SqliteStore]:
    """Open a store that is gone afterwards."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        async with gateway_store(Path(folder), clock) as store:
            yield store
