"""A vault behind its API on a real socket of this process, and the client that talks to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.kernel.clock import Clock
from tests.wallets.vault.sealing import sealed_card
from wallets.vault import credentials
from wallets.vault.credentials import Role
from wallets.vault.embedded import EmbeddedVault
from wallets.vault.http.access import Access
from wallets.vault.http.api import create_vault_api
from wallets.vault.http.card_pages import CardPages
from wallets.vault.http.operating import Operating
from wallets.vault.http.serving import VaultServer
from wallets.vault.http.settings import VaultSettings
from wallets.vault.listening import listen
from wallets.vault.port import CardEntry, StoredMethod
from wallets.vault.remote import RemoteVault


class ApartVault(RemoteVault):
    """A remote vault for tests of the port: a card is encrypted here, as a browser would.

    ``vault`` is what answers, for tests that look behind the port.
    """

    def __init__(self, url: str, credential: str, vault: EmbeddedVault) -> None:
        super().__init__(url, credential)
        self.url = url
        self.vault = vault
        self.acquirer = vault.acquirer

    async def tokenize(self, customer_id: str, card: CardEntry) -> StoredMethod:
        return await self.store_sealed_card(
            customer_id, sealed_card(await self.card_key(), card, customer_id)
        )


async def issued(vault: EmbeddedVault, role: Role = Role.GATEWAY, name: str = "tests") -> str:
    """Return a new credential."""
    secret = credentials.new_secret()
    stored = credentials.digest(secret)
    await vault.store.write(lambda uow: credentials.issue(uow, stored, role, name))
    return secret


@asynccontextmanager
async def served(vault: EmbeddedVault, clock: Clock) -> AsyncIterator[str]:
    """Serve the vault's API and pages; yields the base address."""
    listening = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    access = Access(vault.store, clock)
    routes = [*Operating(vault, access).routes(), *CardPages(vault.intake).routes()]
    api = create_vault_api(vault, access, routes, pages_url=url)
    vault.intake.pages_url = url
    server = VaultServer(api, VaultSettings(), listening)
    # Signals belong to the test runner.
    serving = asyncio.create_task(server._serve(sockets=[listening]))
    while not server.started:
        await asyncio.sleep(0.002)
    try:
        yield url
    finally:
        server.stop()
        await serving
        await access.close()


@asynccontextmanager
async def apart(vault: EmbeddedVault, clock: Clock) -> AsyncIterator[ApartVault]:
    """Serve the vault and yield a client of it."""
    async with served(vault, clock) as url:
        known = await vault.store.read(credentials.listed)
        name = f"tests-{len(known)}" if any(one.name == "tests" for one in known) else "tests"
        remote = ApartVault(url, await issued(vault, name=name), vault)
        try:
            yield remote
        finally:
            await remote.close()
