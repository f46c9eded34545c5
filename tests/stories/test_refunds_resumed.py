"""Refunds that do not go through at once: parcels under way, refusals, tasks that ran out of attempts."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.kernel.errors import UnavailableError
from gateway.kernel.tasks.queue import parked_tasks
from samples.headset.client import Document, Headset
from tests.support.buying import buy, ended, legs, show, told, until
from tests.support.gateway import OpenGateway, opened
from tests.support.seed import Seed
from tests.support.stopping import parcels
from wallets.vault.providers.test_cards import PAYERS_BY_NAME


async def test_a_refund_asked_for_while_a_parcel_is_packed_gives_it_back_once_it_is_captured(
    seed: Seed, tmp_path: Path
) -> None:
    async with opened(seed, tmp_path / "data", dispatch_after_ms=60_000) as shop:
        customer = await shop.customer("visa")
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, "KUPPEL-LAMP:bundle")
            (parcel,) = await parcels(shop, order_id)
            await headset.event("payment.captured", order_id=order_id)
            backend = shop.gateway.backend
            backend._pace = replace(backend._pace, automatic=False)  # what was picked stays so
            await backend.pick(parcel)
            await shop.refund(order_id, key="once")
            await headset.event("order.cancel_refused", order_id=order_id, within_s=5)
            await backend.dispatch(parcel)
            await backend.deliver(parcel)
            last = await headset.event("order.refunded", order_id=order_id)
            assert last["body"]["refunded"]["amount_minor"] == 19600
            assert {kind: leg["state"] for kind, leg in legs(await show(headset, order_id)).items()} == {
                "mint": "returned",
                "ship": "returned",
            }
            again = await shop.refund(order_id, key="once")
            assert (again["state"], again["replayed"]) == ("refunded", True)
        await shop.check()
        assert shop.effects() == ["authorize", "capture", "capture", "refund", "refund"]


async def _stuck(headset: Headset, order_id: str, times: int) -> None:
    async def so_often() -> bool:
        return told(headset, order_id).count("payment.stuck") == times

    await until(so_often)


@pytest.mark.parametrize("item", ["HALM-CHAIR:digital", "KUPPEL-LAMP:digital"])
async def test_a_declined_refund_can_be_asked_for_again_until_it_goes_through(
    item: str, shop: OpenGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer = await shop.customer("refund_declined")
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, item, card="refund_declined")
        await ended(headset, order_id)
        for times in (1, 2):
            await shop.refund(order_id)
            await _stuck(headset, order_id, times)
        monkeypatch.setitem(PAYERS_BY_NAME, "refund_declined", PAYERS_BY_NAME["visa"])
        await shop.refund(order_id)
        await headset.event("order.refunded", order_id=order_id)
        types = told(headset, order_id)
        assert types.count("entitlement.revoked") + types.count("token.returned") == 1
    await shop.check()
    assert shop.effects() == ["authorize", "capture", "refund"]


async def test_a_refund_under_way_is_not_begun_twice(seed: Seed, tmp_path: Path) -> None:
    async with opened(seed, tmp_path / "data") as shop:
        go = asyncio.Event()
        refund = shop.gateway.vault.refund

        async def held(request: Any) -> Any:
            await go.wait()
            return await refund(request)

        shop.gateway.vault.refund = held
        customer = await shop.customer("visa")
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, "HALM-CHAIR:digital")
            await ended(headset, order_id)
            await shop.refund(order_id)
            again = await shop.http.post(
                f"/v1/merchant/orders/{order_id}/refund",
                headers={"Authorization": f"Bearer {shop.keys['atelier-nord']}", "Idempotency-Key": "again"},
            )
            assert (again.status_code, again.json()["code"]) == (409, "order.not_refundable")
            go.set()
            await headset.event("order.refunded", order_id=order_id)
        await shop.check()
        assert shop.effects() == ["authorize", "capture", "refund"]


async def test_a_parked_refund_runs_again_when_an_operator_says_so(shop: OpenGateway) -> None:
    customer = await shop.customer("visa")

    async def away(request: Any) -> Any:
        raise UnavailableError("vault.unavailable", "The vault does not answer.")

    runner = shop.gateway.runner
    runner._kinds["payment.refund"] = replace(runner._kinds["payment.refund"], most_attempts=1)
    shop.gateway.vault.refund = away
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "HALM-CHAIR:digital")
        await ended(headset, order_id)
        await shop.refund(order_id)
        stuck: Document = await headset.event("payment.stuck", order_id=order_id)
        assert stuck["body"]["task"] == "payment.refund"
    (parked,) = await shop.gateway.context.store.read(parked_tasks)
    await shop.stop()
    unknown = await asyncio.to_thread(_tasks, shop.data_dir, "--retry", "tsk_unknown")
    assert unknown.exit_code == 1
    listed = await asyncio.to_thread(_tasks, shop.data_dir)
    assert parked.task_id in listed.output and "1 parked" in listed.output
    retried = await asyncio.to_thread(_tasks, shop.data_dir, "--retry", parked.task_id)
    assert retried.exit_code == 0 and "1 open, 0 parked" in retried.output
    await shop.restart()
    await shop.check()
    assert shop.effects() == ["authorize", "capture", "refund"]
    assert shop.evidence.rows("SELECT state FROM customer_order") == [{"state": "refunded"}]


def _tasks(data_dir: Path, *given: str) -> Any:
    return CliRunner().invoke(app, ["tasks", "--data-dir", str(data_dir), *given])
