"""The vault inside the gateway's process: own files, own keys, the simulated acquirer, test cards only."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.kernel.clock import Clock
from gateway.kernel.ids import IdSource
from gateway.kernel.store.sqlite import SqliteStore
from wallets.vault import tables
from wallets.vault.kms import LocalKms
from wallets.vault.providers import simulated_tables
from wallets.vault.providers.simulated import SimulatedAcquirer
from wallets.vault.service import VaultService

_KEK_ID = "card-1"
_MAC_KEY_ID = "fingerprint-1"


class EmbeddedVault(VaultService):
    """`Vault` for one process. It takes only test numbers: a live provider needs a process of its own."""

    def __init__(
        self,
        store: SqliteStore,
        acquirer: SimulatedAcquirer,
        kms: LocalKms,
        clock: Clock,
        ids: IdSource,
        *,
        deadline_ms: int,
    ) -> None:
        assert acquirer.capabilities.test_numbers is not None
        super().__init__(
            store, acquirer, kms, clock, ids, kek_id=_KEK_ID, mac_key_id=_MAC_KEY_ID, deadline_ms=deadline_ms
        )
        self.acquirer = acquirer
        """The outside world of this vault: hosted challenges, and its account of effects for tests."""
        self._own_store = store

    async def close(self) -> None:
        """Finish what waits and close both databases."""
        await self._own_store.close()
        await self.acquirer.close()


async def open_embedded_vault(
    directory: Path,
    clock: Clock,
    ids: IdSource,
    *,
    deadline_ms: int = 10_000,
    slow_ms: int = 2_000,
    rehearse: bool = False,
    strict: bool = False,
) -> EmbeddedVault:
    """Open ``vault.db``, ``acquirer.db`` and ``keys/`` under ``directory``, making what is missing.

    ``deadline_ms`` bounds a call to the acquirer; ``slow_ms`` is how long its slow card takes. Keys are
    only made together with a new database: a database without its keys is an error, since nothing in it
    could be read again. Raises KeyUseError for missing or unprotected keys.
    """
    vault_path, acquirer_path = directory / "vault.db", directory / "acquirer.db"
    kms = await asyncio.to_thread(LocalKms, directory / "keys")
    if not await asyncio.to_thread(vault_path.exists):
        await kms.ensure(kek_id=_KEK_ID, mac_key_id=_MAC_KEY_ID)
    await asyncio.to_thread(tables.create_schema, vault_path)
    await asyncio.to_thread(simulated_tables.create_schema, acquirer_path)
    await kms.check(kek_id=_KEK_ID, mac_key_id=_MAC_KEY_ID)
    acquirer = SimulatedAcquirer(
        SqliteStore(acquirer_path, clock, ids, rehearse=rehearse, strict=strict), clock, slow_ms=slow_ms
    )
    store = SqliteStore(vault_path, clock, ids, rehearse=rehearse, strict=strict)
    return EmbeddedVault(store, acquirer, kms, clock, ids, deadline_ms=deadline_ms)
