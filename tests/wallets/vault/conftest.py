"""A real vault on real files, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.ids import TimeSortedIds
from tests.wallets.vault.shop import Shop
from wallets.vault.embedded import EmbeddedVault, open_embedded_vault


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def ids(clock: ManualClock) -> TimeSortedIds:
    return TimeSortedIds(clock)


@pytest.fixture
def deadline_ms() -> int:
    """How long the vault waits for the acquirer. Modules about silent cards shorten it."""
    return 10_000


@pytest.fixture
async def vault(
    tmp_path: Path, clock: ManualClock, ids: TimeSortedIds, deadline_ms: int
) -> AsyncIterator[EmbeddedVault]:
    vault = await open_embedded_vault(
        tmp_path / "vault",
        clock,
        ids,
        deadline_ms=deadline_ms,
        slow_ms=2 * deadline_ms,
        rehearse=True,
        strict=True,
    )
    yield vault
    await vault.close()


@pytest.fixture
def shop(vault: EmbeddedVault, clock: ManualClock, ids: TimeSortedIds) -> Shop:
    return Shop(vault, clock, ids)
