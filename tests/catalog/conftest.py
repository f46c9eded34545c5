"""A gateway database with the catalog's tables, a place for models, and merchants written as files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import gateway.catalog.tables  # noqa: F401 - declares the tables
from gateway.catalog.assets import AssetStore
from gateway.kernel.clock import ManualClock
from gateway.kernel.ids import CountingIds
from gateway.kernel.store.schema import metadata
from gateway.kernel.store.sqlite import SqliteStore, connect
from tests.catalog.merchants import Folder


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    path = tmp_path / "gateway.db"
    raw, core = connect(path)
    metadata.create_all(core)
    core.close()
    raw.close()
    opened = SqliteStore(path, ManualClock(), CountingIds(), strict=True, rehearse=True)
    yield opened
    await opened.close()


@pytest.fixture
def assets(tmp_path: Path) -> AssetStore:
    return AssetStore(tmp_path / "assets")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "shop")
