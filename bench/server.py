"""The gateway under measurement, as a process: ``python -m bench.server '<ServerPlan as JSON>'``.

It is the ordinary composition root on an ordinary socket; only limits that would stop a load test are raised.
When it is ready it prints one line of JSON: its address, its process id and the customers it signed in.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog
import uvloop

from bench.goods import MERCHANT
from bench.lifetime import on_end_of_input
from bench.sockets import allow_many_sockets
from fulfillment.model import HoldLimits
from gateway.app import Gateway
from gateway.commands import merchant as commands
from gateway.identity.model import MerchantPrincipal
from gateway.kernel.interpreter import tune
from gateway.serving import Server, listen
from gateway.sessions.core import SessionLimits
from gateway.settings import Settings
from wallets.vault.port import CardEntry
from wallets.vault.providers.port import AuthorizeOrder, ProviderAnswer
from wallets.vault.providers.test_cards import VISA

_PROVISIONED_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """What the server does before it says that it is ready."""

    data_dir: str
    catalog: str
    """A merchant's folder to import; empty: imported already."""
    workers: bool
    customers: int
    """How many to register and sign in; each with one card where ``cards``."""
    cards: bool = True
    times_provider: bool = False
    """Whether to write down, at the end, how long the acquirer took to authorize each order."""

    def text(self) -> str:
        """Return the plan as the command line argument."""
        return json.dumps(asdict(self))


def settings_of(plan: ServerPlan, port: int) -> Settings:
    """Return settings without limits that a single shopper needs and a load test does not."""
    return Settings(
        data_dir=Path(plan.data_dir),
        port=port,
        workers=plan.workers,
        dispatch_after_ms=100,
        deliver_after_ms=100,
        quote_valid_ms=3_600_000,
        most_unpaid=0,
        pay_within_ms=3_600_000,
        limits=SessionLimits(
            in_flight=1_000,
            commands_per_second=1_000_000,
            burst=1_000_000,
            connections_per_account=100,
            heartbeat_ms=600_000,
            auth_timeout_ms=60_000,
        ),
        holds=HoldLimits(None, None, None, None),
    )


async def run(plan: ServerPlan) -> None:
    """Serve until the process is told to stop."""
    listening = listen("127.0.0.1", 0)
    gateway = await Gateway.open(settings_of(plan, listening.getsockname()[1]))
    tune()
    provider_s = _timed(gateway) if plan.times_provider else None
    try:
        if plan.catalog:
            await commands.import_catalog(gateway.context, Path(plan.catalog))
        customers = await _provision(gateway, plan)
        ready = {
            "url": gateway.settings.base_url.replace("http", "ws", 1) + "/v1/connect",
            "customers": customers,
        }
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        server = Server(gateway, listening)
        on_end_of_input(server.stop)
        await server.run_until_stopped()
    finally:
        await gateway.close()
        if provider_s is not None:
            await asyncio.to_thread(provider_times(Path(plan.data_dir)).write_text, json.dumps(provider_s))


def provider_times(data_dir: Path) -> Path:
    """Return the file with the acquirer's seconds by order id."""
    return data_dir / "provider_times.json"


def _timed(gateway: Gateway) -> dict[str, float]:
    """Time the acquirer's authorizations; returns what is filled meanwhile."""
    seconds: dict[str, float] = {}
    assert gateway.embedded_vault is not None
    acquirer = gateway.embedded_vault.acquirer
    authorize = acquirer.authorize

    async def timed(order: AuthorizeOrder) -> ProviderAnswer:
        began = time.perf_counter()
        try:
            return await authorize(order)
        finally:
            seconds[order.order_id] = time.perf_counter() - began

    setattr(acquirer, "authorize", timed)  # noqa: B010  # an adapter around one method of one object
    return seconds


async def _provision(gateway: Gateway, plan: ServerPlan) -> list[dict[str, Any]]:
    context = gateway.context
    who = MerchantPrincipal(context.catalog.current.merchant_by_slug(MERCHANT).merchant_id)
    at_once = asyncio.Semaphore(_PROVISIONED_AT_ONCE)

    async def one(number: int) -> dict[str, Any]:
        async with at_once:
            customer_id = await commands.register(context, who, f"customer-{number}")
            issued = await commands.issue_token(context, who, customer_id, kind="headset", name="bench")
            method = None
            if plan.cards:
                card = CardEntry.typed(VISA, 12, 2035, "123")
                method = (await commands.add_card(context, customer_id, card))["payment_method_id"]
        return {"customer_id": customer_id, "token": issued.token, "payment_method_id": method}

    return list(await asyncio.gather(*(one(number) for number in range(plan.customers))))


if __name__ == "__main__":
    allow_many_sockets()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    uvloop.run(run(ServerPlan(**json.loads(sys.argv[1]))))
