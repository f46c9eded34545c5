"""The acquirer, the vault, the order backend and the chain fail before and after they acted, all at once."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from fulfillment.backends.port import BackendUnavailableError
from gateway.kernel.errors import UnavailableError
from samples.headset.client import CommandError
from tests.faults.unreliable import Weather
from tests.support.buying import buy, show
from tests.support.gateway import OpenGateway, opened
from tests.support.seed import Seed
from wallets.minting.chain.port import ChainUnavailable
from wallets.vault.providers.port import NoAnswerError

ITEMS = (
    "KUPPEL-LAMP:digital",
    "FJORD-MUG:physical",
    "KUPPEL-LAMP:bundle",
    "HALM-CHAIR:digital",
    "MOSS-MUG:bundle",
    "DUSK-PRINT:digital",
)
CUSTOMERS, ORDERS_EACH = 6, 6


def spoil_everything(shop: OpenGateway, weather: Weather) -> None:
    gateway = shop.gateway
    vault = gateway.vault
    weather.spoil(vault.acquirer, lambda: NoAnswerError("lost"), "authorize", "find")
    weather.spoil(
        vault,
        lambda: UnavailableError("vault.unavailable", "The vault does not answer."),
        "authorize",
        "capture",
        "void",
        "refund",
        "operation",
        "abandon",
    )
    weather.spoil(
        gateway.backend,
        lambda: BackendUnavailableError("fulfillment.unavailable", "The order backend did not answer."),
        "create",
        "cancel",
        "updates",
    )


def spoil_chain(shop: OpenGateway, weather: Weather) -> None:
    minting = shop.gateway.minting
    assert minting is not None
    # Every lane talks to the one client of the process.
    client = minting._lanes[0]._client
    weather.spoil(
        client, lambda: ChainUnavailable("away"), "send_raw", "receipt", "nonce", "head", "block_hash", "fees"
    )


@pytest.mark.parametrize("chosen", [1, 2])
async def test_every_order_ends_once_whatever_the_outside_does(
    chosen: int, seed: Seed, tmp_path: Path
) -> None:
    chance, weather = random.Random(chosen), Weather(chosen)
    async with opened(seed, tmp_path / "data") as shop:
        customers = [await shop.customer("visa") for _ in range(CUSTOMERS)]
        spoil_everything(shop, weather)
        spoil_chain(shop, weather)

        async def shop_on(number: int) -> list[str]:
            customer, orders = customers[number], []
            async with shop.headset(customer) as headset:
                for turn in range(ORDERS_EACH):
                    orders.append(await buy(headset, customer, ITEMS[(number + turn) % len(ITEMS)]))
                    await asyncio.sleep(chance.uniform(0, 0.3))
                    if chance.random() < 0.25:
                        try:
                            await headset.command("order.cancel", {"order_id": orders[-1]})
                        except CommandError as refused:
                            assert refused.code == "order.not_cancelable"
            return orders

        made = await asyncio.gather(*(shop_on(number) for number in range(CUSTOMERS)))
        await asyncio.sleep(1.5)
        assert weather.failures > 30
        weather.fair = True
        await shop.at_rest(within_s=40)
        for customer, orders in zip(customers, made, strict=True):
            async with shop.headset(customer) as headset:
                for order_id in orders:
                    order = await show(headset, order_id)
                    waits = order["payment"]["state"] == "requires_payment_method"
                    assert order["state"] in ("completed", "canceled") or waits, order
        await shop.check()
