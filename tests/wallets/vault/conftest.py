"""A real vault on real files, with a clock that the test moves.

What uses the fixture `vault` runs twice: on the vault in this process and on one behind its API, which is
asked over a real socket. So the tests of the port are one contract suite for both. `own_vault` is always the
one in this process, for tests that look behind the port.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.ids import TimeSortedIds
from gateway.kernel.store.sqlite import SqliteStore
from tests.wallets.vault.apart import apart
from tests.wallets.vault.faults import FaultyProvider
from tests.wallets.vault.sealing import one_card_key
from tests.wallets.vault.shop import Shop
from wallets.vault.embedded import EmbeddedVault, open_embedded_vault
from wallets.vault.kms_local import LocalKms
from wallets.vault.service import VaultService


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
async def own_vault(
    tmp_path: Path, clock: ManualClock, ids: TimeSortedIds, deadline_ms: int
) -> AsyncIterator[EmbeddedVault]:
    vault = await open_embedded_vault(
        tmp_path / "vault",
        clock,
        ids,
        deadline_ms=deadline_ms,
        slow_ms=2 * deadline_ms,
        make_card_key=one_card_key,
        rehearse=True,
        strict=True,
    )
    yield vault
    await vault.close()


@pytest.fixture(params=["embedded", "apart"])
async def vault(
    request: pytest.FixtureRequest, own_vault: EmbeddedVault, clock: ManualClock
) -> AsyncIterator[EmbeddedVault]:
    if request.param == "embedded":
        yield own_vault
        return
    async with apart(own_vault, clock) as remote:
        # It has the port's methods and the acquirer, which is what tests of the port use.
        yield cast(EmbeddedVault, remote)


@pytest.fixture
def shop(vault: EmbeddedVault, clock: ManualClock, ids: TimeSortedIds) -> Shop:
    return Shop(vault, clock, ids)


@pytest.fixture
def provider(own_vault: EmbeddedVault) -> FaultyProvider:
    return FaultyProvider(own_vault.acquirer)


@pytest.fixture
async def faulty(
    provider: FaultyProvider, own_vault: EmbeddedVault, tmp_path: Path, clock: ManualClock, ids: TimeSortedIds
) -> AsyncIterator[Shop]:
    """A shop whose vault talks to the acquirer through the faulty provider, on the same files."""
    store = SqliteStore(tmp_path / "vault" / "vault.db", clock, ids, rehearse=True, strict=True)
    kms = LocalKms(tmp_path / "vault" / "keys")
    service = VaultService(store, provider, kms, clock, ids, deadline_ms=250)
    yield Shop(cast(EmbeddedVault, service), clock, ids)
    await store.close()
