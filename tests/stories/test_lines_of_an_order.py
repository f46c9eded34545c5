"""Lines that are all or nothing: what one loses is taken back whole, and other lines do not notice."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.buying import buy, ended, legs, show, told
from tests.support.gateway import OpenGateway, opened
from tests.support.seed import SAMPLES, Seed, make_seed
from tests.support.stopping import parcels
from wallets.vault.port import Capture, OperationResult


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Seed:
    """The first sample merchant, whose plant is sold with its entitlement or not at all."""
    folder = tmp_path_factory.mktemp("catalog") / "atelier-nord"
    shutil.copytree(SAMPLES / "atelier-nord", folder)
    plant = folder / "products" / "monstera.yaml"
    plant.write_text(plant.read_text().replace("failure_policy: either", "failure_policy: all_or_nothing"))
    return make_seed(tmp_path_factory.mktemp("strict") / "data", folder)


class HeldCapture:
    """Keeps captures back until `go`; ``reached`` tells that one is under way."""

    def __init__(self, shop: OpenGateway) -> None:
        self.reached, self.go = asyncio.Event(), asyncio.Event()
        self._capture = shop.gateway.vault.capture
        shop.gateway.vault.capture = self._held

    async def _held(self, request: Capture) -> OperationResult:
        self.reached.set()
        await self.go.wait()
        return await self._capture(request)


def _states(order: dict[str, Any]) -> dict[str, str]:
    return {kind: leg["state"] for kind, leg in legs(order).items()}


async def test_an_entitlement_captured_after_its_parcel_was_refused_stays_revoked(
    strict: Seed, tmp_path: Path
) -> None:
    async with opened(strict, tmp_path / "data", dispatch_after_ms=60_000) as shop:
        customer = await shop.customer("visa")
        held = HeldCapture(shop)
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, "MONSTERA:bundle")
            await asyncio.wait_for(held.reached.wait(), 10)
            (parcel,) = await parcels(shop, order_id)
            await shop.gateway.backend.refuse(parcel, "Withered.")
            await headset.event("order.leg_failed", order_id=order_id)
            held.go.set()
            assert (await ended(headset, order_id))["type"] == "order.refunded"
            assert _states(await show(headset, order_id)) == {"entitle": "returned", "ship": "failed"}
            types = told(headset, order_id)
            assert types.count("entitlement.granted") == types.count("entitlement.revoked") == 1
            items = (await headset.command("wallet.list"))["items"]
            assert [item["state"] for item in items] == ["returned"]
        assert [row["state"] for row in shop.evidence.rows("SELECT state FROM entitlement")] == ["revoked"]
        await shop.check()


async def test_a_line_that_fails_leaves_the_parcel_of_another_line_alone(
    strict: Seed, tmp_path: Path
) -> None:
    async with opened(strict, tmp_path / "data", dispatch_after_ms=60_000) as shop:
        customer = await shop.customer("visa")
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, "MONSTERA:bundle", "HALM-CHAIR:physical")
            both = await parcels(shop, order_id, 2)
            content = {
                row["sku"]: row["fulfillment_order_id"]
                for row in shop.evidence.rows("SELECT sku, fulfillment_order_id FROM fulfillment_line")
            }
            assert sorted(content) == ["HALM-CHAIR", "MONSTERA"] and set(content.values()) == set(both)
            await headset.event("payment.captured", order_id=order_id)
            await shop.gateway.backend.refuse(content["MONSTERA"], "Withered.")
            await headset.event("payment.refunded", order_id=order_id)
            await shop.gateway.backend.pick(content["HALM-CHAIR"])
            await shop.gateway.backend.dispatch(content["HALM-CHAIR"])
            assert (await ended(headset, order_id))["type"] == "order.completed"
            lines = (await show(headset, order_id))["lines"]
            assert {line["sku"]: sorted(leg["state"] for leg in line["legs"]) for line in lines} == {
                "MONSTERA": ["failed", "returned"],
                "HALM-CHAIR": ["captured"],
            }
        await shop.check()


async def test_a_parcel_the_backend_cancels_by_itself_takes_the_token_of_its_line_back(
    seed: Seed, tmp_path: Path
) -> None:
    async with opened(seed, tmp_path / "data", dispatch_after_ms=60_000) as shop:
        customer = await shop.customer("visa")
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, "KUPPEL-LAMP:bundle")
            (parcel,) = await parcels(shop, order_id)
            await headset.event("payment.captured", order_id=order_id)
            await shop.gateway.backend.cancel(parcel)
            assert (await ended(headset, order_id))["type"] == "order.refunded"
            assert _states(await show(headset, order_id)) == {"mint": "returned", "ship": "failed"}
            await headset.event("order.leg_failed", order_id=order_id)
        await shop.check()
        assert shop.effects() == ["authorize", "capture", "refund", "void"]


async def test_a_token_whose_capture_fails_calls_the_parcel_of_its_line_back(
    seed: Seed, tmp_path: Path
) -> None:
    async with opened(seed, tmp_path / "data", dispatch_after_ms=60_000) as shop:
        customer = await shop.customer("capture_declined")
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, "KUPPEL-LAMP:bundle", card="capture_declined")
            assert (await ended(headset, order_id))["type"] == "order.canceled"
            assert _states(await show(headset, order_id)) == {"mint": "returned", "ship": "canceled"}
        await shop.check()
        assert shop.effects() == ["authorize", "void"]
