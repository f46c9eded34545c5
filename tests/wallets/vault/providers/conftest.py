"""A stand per adapter."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.wallets.vault.providers.stands import SERVERS, STANDS, Stand


@pytest.fixture(params=list(STANDS))
async def stand(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stand]:
    async with STANDS[request.param](tmp_path) as made:
        yield made


@pytest.fixture(scope="session", autouse=True)
def shared_servers() -> Iterator[None]:
    yield
    SERVERS.stop()
