"""The sample catalog's data directory, made once, and a gateway for each story."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.gateway import OpenGateway, opened
from tests.support.seed import Seed, make_seed


@pytest.fixture(scope="session")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Seed:
    return make_seed(tmp_path_factory.mktemp("seed") / "data")


@pytest.fixture
async def shop(seed: Seed, tmp_path: Path) -> AsyncIterator[OpenGateway]:
    """A gateway under quick settings. A story ends with ``await shop.check()``."""
    async with opened(seed, tmp_path / "data") as found:
        yield found
