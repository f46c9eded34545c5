"""A shop whose lanes work on a chain that is played; tests on real chains open their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_chain import FakeChain
from tests.wallets.minting.lane_world import world


@pytest.fixture
def chain() -> FakeChain:
    return FakeChain()


@pytest.fixture
async def shop(tmp_path: Path, chain: FakeChain) -> Any:
    async with world(tmp_path, chain) as opened:
        yield opened
