"""Gateways for stories, on real sockets: one in this process, or a process of its own that can be killed."""

from __future__ import annotations

import asyncio
import os
import socket
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from gateway.app import Gateway
from gateway.serving import Server, listen, run
from gateway.settings import Settings
from samples.headset.client import Document, Headset, Memory
from tests.support.evidence import Evidence
from tests.support.invariants import violations
from tests.support.lives import PROCESSES, Lives
from tests.support.seed import ATELIER, Seed
from wallets.vault.providers.test_cards import TEST_CARDS_BY_NAME

HOLDER = "Wilhelmina Canary"
"""The name on every card of the stories: it must not be found in any file."""
CONSENT = {
    "kind": "digital_content_start",
    "text_version": "1",
    "locale": "en-GB",
    "at": "2026-01-01T10:00:00Z",
}
QUICK: dict[str, Any] = {
    "dispatch_after_ms": 50,
    "deliver_after_ms": 50,
    "mint_window_ms": 20,
    "acquirer_deadline_ms": 300,
    "acquirer_slow_ms": 100,
}
"""Settings under which the outside world does not keep a test waiting."""


def address(country: str = "DE") -> Document:
    """Return where parcels of the stories go."""
    return {
        "name": "Ada Example",
        "line1": "Hafen 1",
        "postal_code": "10115",
        "city": "City",
        "country": country,
    }


@dataclass
class Customer:
    """A registered customer with a signed-in device and stored cards by the name of the test card."""

    customer_id: str
    token: str
    methods: dict[str, str]
    merchant: str


@dataclass
class Shop:
    """What can be done to a gateway from outside: merchants over HTTP, headsets over sockets."""

    base_url: str
    keys: dict[str, str]
    data_dir: Path
    secrets: set[str] = field(default_factory=set)
    """What must not be found in any file: card numbers, tokens, keys, names of holders."""

    def __post_init__(self) -> None:
        self.secrets |= {HOLDER, *self.keys.values()}
        self.http = httpx.AsyncClient(base_url=self.base_url, timeout=20)

    @property
    def evidence(self) -> Evidence:
        return Evidence(self.data_dir)

    async def merchant(
        self, method: str, path: str, *, merchant: str = ATELIER, key: str | None = None, **given: Any
    ) -> Any:
        """Call the merchant API and return the document; raises for anything but success."""
        headers = {"Authorization": f"Bearer {self.keys[merchant]}"}
        if key is not None:
            headers["Idempotency-Key"] = key
        reply = await self.http.request(method, f"/v1/merchant{path}", headers=headers, **given)
        assert reply.is_success, reply.text
        return reply.json()

    async def customer(self, *cards: str, merchant: str = ATELIER) -> Customer:
        """Register a customer, sign a device in and store test cards by their names."""
        made = await self.merchant(
            "POST", "/customers", merchant=merchant, json={"reference": uuid.uuid4().hex}
        )
        customer_id = made["customer_id"]
        customer = Customer(customer_id, await self.token(customer_id, merchant), {}, merchant)
        for card in cards:
            customer.methods[card] = await self.card(customer, card)
        return customer

    async def token(self, customer_id: str, merchant: str = ATELIER) -> str:
        """Return a token for another device of the customer."""
        issued = await self.merchant(
            "POST", f"/customers/{customer_id}/device-tokens", merchant=merchant, json={}
        )
        self.secrets.add(issued["token"])
        return str(issued["token"])

    async def card(self, customer: Customer, name: str) -> str:
        """Store a test card and return the id of the payment method."""
        number = TEST_CARDS_BY_NAME[name].number
        self.secrets.add(number)
        stored = await self.merchant(
            "POST",
            f"/customers/{customer.customer_id}/payment-methods",
            merchant=customer.merchant,
            json={
                "number": number,
                "expiry_month": 12,
                "expiry_year": 2031,
                "security_code": "7391" if name == "amex" else "739",
                "holder": HOLDER,
            },
        )
        return str(stored["payment_method_id"])

    def headset(self, customer: Customer, *, token: str = "", memory: Memory | None = None) -> Headset:
        """Return a headset of the customer; use it as an async context manager."""
        return Headset(
            self.base_url.replace("http", "ws", 1) + "/v1/connect", token or customer.token, memory=memory
        )

    async def refund(self, order_id: str, *, merchant: str = ATELIER, key: str | None = None) -> Any:
        """Have the merchant give a whole order back."""
        return await self.merchant(
            "POST", f"/orders/{order_id}/refund", merchant=merchant, key=key or str(uuid.uuid4())
        )

    async def books(self, merchant: str = ATELIER) -> dict[tuple[str, str], int]:
        """Return the balances of the merchant's books by account and unit."""
        found = (await self.merchant("GET", "/books", merchant=merchant))["balances"]
        return {(one["account"], one["unit"]): one["amount"] for one in found}

    def effects(self) -> list[str]:
        """Return the kinds of what really happened at the acquirer, sorted."""
        rows = self.evidence.rows(
            "SELECT kind FROM acquirer_operation WHERE outcome = 'succeeded'", database="acquirer"
        )
        return sorted(row["kind"] for row in rows)

    def available(self, sku: str) -> int:
        """Return how many units of a SKU can be sold, over all locations."""
        rows = self.evidence.rows(
            "SELECT sum(on_hand - held - reserved) AS n FROM inventory_pool WHERE kind = 'stock' AND sku = ?",
            sku,
        )
        return int(rows[0]["n"])

    async def at_rest(self, within_s: float = 20.0) -> None:
        """Wait until the gateway has nothing left to do by itself."""
        waiting: list[str] = []
        give_up_at = time.monotonic() + within_s
        while time.monotonic() < give_up_at:
            waiting = await asyncio.to_thread(self.evidence.unfinished)
            if not waiting:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"not at rest after {within_s} s: {waiting}")


class OpenGateway(Shop):
    """A gateway in this process, served on a real socket."""

    gateway: Gateway
    _settings: Settings
    _serving: asyncio.Task[None] | None = None
    _server: Server

    async def start(self, settings: Settings) -> None:
        """Open and serve; after `stop` the same port and files are used again."""
        listening = listen("127.0.0.1", settings.port)
        self._settings = settings
        self.gateway = await Gateway.open(settings, checked=True)
        self._server = Server(self.gateway, listening)
        # Signals belong to the test runner.
        self._serving = asyncio.create_task(self._server._serve(sockets=[listening]))
        while not self._server.started:
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Close as an operator would; a second call does nothing."""
        if self._serving is not None:
            self._server.stop()
            await self._serving
            self._serving = None
            await self.gateway.close()

    async def restart(self, **changes: Any) -> None:
        """Stop and open again on the same files, with some settings changed."""
        await self.stop()
        await self.start(replace(self._settings, **changes))

    async def check(self, *, at_rest: bool = True) -> None:
        """Wait for rest, close, and fail with every broken promise that the files show."""
        if at_rest:
            await self.at_rest()
        await self.stop()
        found = await asyncio.to_thread(violations, self.data_dir, secrets=self.secrets, at_rest=at_rest)
        assert not found, "\n".join(map(str, found))


@asynccontextmanager
async def opened(seed: Seed, data_dir: Path, **settings: Any) -> AsyncIterator[OpenGateway]:
    """Open a gateway on a copy of the seed. Settings are quick unless given."""
    await asyncio.to_thread(seed.copy, data_dir)
    port = free_port()
    shop = OpenGateway(f"http://127.0.0.1:{port}", seed.keys, data_dir)
    await shop.start(Settings(data_dir=data_dir, port=port, **{**QUICK, **settings}))
    try:
        yield shop
    finally:
        await shop.http.aclose()
        await shop.stop()


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- A process of its own ---------------------------------------------------------------------------

# Everything is imported once, in a process without threads, so that a restart costs no imports.
PROCESSES.set_forkserver_preload(
    ["tests.support.gateway", "wallets.minting.chain.embedded", "wallets.custody.local_signer"]
)


def _serve(settings: Settings, log: Path) -> None:
    """What ``vitrine serve`` does, with its output in a file."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    run(settings)


class ServerProcess(Lives, Shop):
    """A gateway process that can be killed with SIGKILL and started again on the same files and port."""

    serve = staticmethod(_serve)

    async def answers(self) -> bool:
        return (await self.http.get("/readyz")).is_success


@asynccontextmanager
async def served(seed: Seed, folder: Path, **settings: Any) -> AsyncIterator[ServerProcess]:
    """Start a gateway process on a copy of the seed, in ``folder``; it is gone afterwards."""
    data_dir = await asyncio.to_thread(seed.copy, folder / "data")
    port = free_port()
    shop = ServerProcess(f"http://127.0.0.1:{port}", seed.keys, data_dir)
    shop.begin(Settings(data_dir=data_dir, port=port, **{**QUICK, **settings}), folder / "server.log")
    shop.start()
    try:
        await shop.until_ready()
        yield shop
    finally:
        await shop.http.aclose()
        shop.destroy()
