"""A gateway and its vault as two processes, each of which can be killed, on real sockets."""

from __future__ import annotations

import asyncio
import html
import os
import re
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from gateway.kernel.clock import SystemClock
from gateway.kernel.ids import TimeSortedIds
from gateway.logs import configure
from gateway.settings import Settings
from tests.support.gateway import HOLDER, QUICK, Customer, ServerProcess, free_port
from tests.support.lives import PROCESSES, Lives
from tests.support.seed import Seed
from tests.wallets.vault.sealing import sealed_card
from wallets.vault import credentials
from wallets.vault.http.serving import run
from wallets.vault.http.settings import VaultSettings
from wallets.vault.opening import open_store
from wallets.vault.port import CardEntry, CardKey
from wallets.vault.providers.test_cards import TEST_CARDS_BY_NAME

PROCESSES.set_forkserver_preload(
    [
        "tests.support.gateway",
        "tests.support.vault_apart",
        "wallets.minting.chain.embedded",
        "wallets.custody.local_signer",
    ]
)


def _serve(settings: VaultSettings, log: Path) -> None:
    """What ``vitrine vault serve`` does, with its output in a file."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    configure()
    run(settings)


class VaultHost(Lives):
    """A vault process that can be killed with SIGKILL and started again on the same files and port."""

    serve = staticmethod(_serve)

    def __init__(self, settings: VaultSettings, log: Path) -> None:
        self.begin(settings, log)

    async def answers(self) -> bool:
        async with httpx.AsyncClient() as http:
            return (await http.get(f"{self.settings.base_url}/healthz")).is_success


async def issue(settings: VaultSettings, role: credentials.Role, name: str) -> str:
    """Return a new credential, written into the vault's database."""
    clock = SystemClock()
    store = await asyncio.to_thread(
        open_store, settings.data_dir, settings.database_url, clock, TimeSortedIds(clock)
    )
    secret = credentials.new_secret()
    stored = credentials.digest(secret)
    try:
        await store.write(lambda uow: credentials.issue(uow, stored, role, name))
    finally:
        await store.close()
    return secret


async def entered(http: httpx.AsyncClient, url: str, card: CardEntry) -> httpx.Response:
    """Enter a card on a page, as its script does."""
    page = (await http.get(url)).text
    found = {
        name: html.unescape(value)
        for name, value in re.findall(r'data-(key-id|modulus|exponent|now)="([^"]*)"', page)
    }
    key = CardKey(found["key-id"], found["modulus"], found["exponent"], int(found["now"]))
    return await http.post(url, json={"sealed": sealed_card(key, card, url.rsplit("/", 1)[1])})


class ApartShop(ServerProcess):
    """A gateway process whose vault is another process. Cards are entered on the vault's page."""

    vault: VaultHost

    async def card(self, customer: Customer, name: str) -> str:
        number = TEST_CARDS_BY_NAME[name].number
        self.secrets.add(number)
        opened = await self.merchant(
            "POST", f"/customers/{customer.customer_id}/card-sessions", merchant=customer.merchant, json={}
        )
        code = "7391" if name == "amex" else "739"
        answer = await entered(self.http, opened["url"], CardEntry.typed(number, 12, 2031, code, HOLDER))
        assert answer.is_success, answer.text
        return await self.method(customer, answer.json()["last4"])

    async def method(self, customer: Customer, last4: str, within_s: float = 15) -> str:
        """Wait until the gateway knows the customer's method and return its id."""
        give_up_at = time.monotonic() + within_s
        headers = {"Authorization": f"Bearer {customer.token}"}
        while time.monotonic() < give_up_at:
            known = (await self.http.get("/v1/payment-methods", headers=headers)).json()["methods"]
            for one in known:
                if one["last4"] == last4 and one["payment_method_id"] not in customer.methods.values():
                    return str(one["payment_method_id"])
            await asyncio.sleep(0.05)
        raise AssertionError(f"no method ...{last4} after {within_s} s")

    def gather_evidence(self) -> None:
        """Put the vault's databases beside the gateway's, where the promises are checked."""
        for name in ("vault.db", "acquirer.db"):
            for old in self.data_dir.glob(f"{name}*"):
                old.unlink()
            for file in self.vault.settings.data_dir.glob(f"{name}*"):
                shutil.copy(file, self.data_dir / file.name)


@asynccontextmanager
async def served_apart(seed: Seed, folder: Path, **settings: Any) -> AsyncIterator[ApartShop]:
    """Start a vault process and a gateway process on a copy of the seed; both are gone afterwards."""
    vault = VaultHost(
        VaultSettings(
            data_dir=folder / "vault",
            port=free_port(),
            provider_deadline_ms=QUICK["acquirer_deadline_ms"],
            acquirer_slow_ms=QUICK["acquirer_slow_ms"],
        ),
        folder / "vault.log",
    )
    credential = await issue(vault.settings, credentials.Role.GATEWAY, "story")
    data_dir = await asyncio.to_thread(seed.copy, folder / "data")
    port = free_port()
    shop = ApartShop(f"http://127.0.0.1:{port}", seed.keys, data_dir)
    shop.vault = vault
    shop.secrets.add(credential)
    shop.begin(
        Settings(
            data_dir=data_dir,
            port=port,
            **{
                **QUICK,
                "vault_url": vault.settings.base_url,
                "vault_credential": credential,
                "vault_deadline_ms": 2_000,
                **settings,
            },
        ),
        folder / "server.log",
    )
    vault.start()
    shop.start()
    try:
        await vault.until_ready()
        await shop.until_ready()
        yield shop
    finally:
        await shop.http.aclose()
        shop.destroy()
        vault.destroy()
