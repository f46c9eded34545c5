"""P8: killed just before and just after each named point, a purchase has exactly one effect.

The client keeps its key and asks again; the process starts again on the same files. Whatever the point, the
acquirer shows each effect once, the books are balanced, one token is minted and the client gets the same id.
"""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.faults.recovery_victim import AFTER, BEFORE, POINTS, serve_on, serve_until
from tests.support.buying import ended, order_body, quote
from tests.support.gateway import ServerProcess, served
from tests.support.invariants import violations
from tests.support.seed import Seed
from tests.support.stopping import parcels

REFUNDS = ("refund_sent", "refund_recorded")
RENEWALS = ("reauthorized_at_the_provider", "reauthorization_recorded", "old_authorization_voided")
PAID_FIRST = ("paid_first", "asked_to_mint")
"""Purchases into wallets outside are killed there: tests/stories/test_wallets_outside.py."""
PURCHASES = [point for point in POINTS if point not in (*REFUNDS, *RENEWALS, *PAID_FIRST)]


async def finish(server: ServerProcess) -> list[str]:
    """Let everything come to rest and check every promise; returns what the acquirer did."""
    await server.at_rest(within_s=30)
    await asyncio.to_thread(server.terminate)
    found = await asyncio.to_thread(violations, server.data_dir, secrets=server.secrets)
    assert not found, "\n".join(map(str, found))
    return server.effects()


@pytest.mark.timeout(90)
@pytest.mark.parametrize("when", [BEFORE, AFTER])
@pytest.mark.parametrize("point", PURCHASES)
async def test_p8_a_purchase_killed_at_a_point_has_one_effect(
    point: str, when: str, seed: Seed, tmp_path: Path
) -> None:
    async with served(seed, tmp_path) as server:
        customer = await server.customer("visa")
        await asyncio.to_thread(server.terminate)
        server.start(serve_until, point, when, False)
        await server.until_ready()
        key = str(uuid.uuid4())
        async with server.headset(customer) as headset:
            buying = asyncio.create_task(_buy(headset, customer.methods["visa"], key))
            await server.kills_itself()
            server.start(serve_on, False)
            order_id = await asyncio.wait_for(buying, 30)
            assert (await ended(headset, order_id, within_s=30))["type"] == "order.completed"
            again = await _place(headset, key)
            assert again["order_id"] == order_id and again["replayed"]
            types = [event["type"] for event in headset.events]
            assert types.count("token.minted") == types.count("payment.captured") == 1
        assert await finish(server) == ["authorize", "capture"]
        assert server.evidence.count("customer_order") == 1


_BODIES: dict[str, Any] = {}


async def _buy(headset: Any, method: str, key: str) -> str:
    quoted = await quote(headset, "KUPPEL-LAMP:digital", key=f"quote-{key}")
    _BODIES[key] = order_body(quoted, method)
    return str((await _place(headset, key))["order_id"])


async def _place(headset: Any, key: str) -> Any:
    return await headset.command("order.place", _BODIES[key], key=key)


@pytest.mark.timeout(90)
@pytest.mark.parametrize("when", [BEFORE, AFTER])
@pytest.mark.parametrize("point", REFUNDS)
async def test_p8_a_refund_killed_at_a_point_goes_back_once(
    point: str, when: str, seed: Seed, tmp_path: Path
) -> None:
    async with served(seed, tmp_path) as server:
        customer = await server.customer("visa")
        async with server.headset(customer) as headset:
            order_id = await _buy(headset, customer.methods["visa"], str(uuid.uuid4()))
            await ended(headset, order_id)
        await asyncio.to_thread(server.terminate)
        server.start(serve_until, point, when, False)
        await server.until_ready()
        wish = {"amount_minor": 300, "reason": "scratched", "staff_id": "erin"}
        path = f"/orders/{order_id}/refunds"
        first = await server.merchant("POST", path, key="one", json=wish)
        await server.kills_itself()
        server.start(serve_on, False)
        await server.until_ready()
        again = await server.merchant("POST", path, key="one", json=wish)
        assert again["refund_id"] == first["refund_id"] and again["replayed"]
        assert await finish(server) == ["authorize", "capture", "refund"]
        (row,) = server.evidence.rows("SELECT * FROM refund_request")
        assert (row["state"], row["done_minor"]) == ("done", 300)


@pytest.mark.timeout(90)
@pytest.mark.parametrize("when", [BEFORE, AFTER])
@pytest.mark.parametrize("point", RENEWALS)
async def test_p8_a_reauthorization_killed_at_a_point_stands_once(
    point: str, when: str, seed: Seed, tmp_path: Path
) -> None:
    async with served(seed, tmp_path, dispatch_after_ms=600_000) as server:
        customer = await server.customer("visa")
        await asyncio.to_thread(server.terminate)
        server.start(serve_until, point, when, True)
        await server.until_ready()
        async with server.headset(customer) as headset:
            quoted = await quote(headset, "FJORD-MUG:physical")
            placed = await headset.command("order.place", order_body(quoted, customer.methods["visa"]))
            order_id = placed["order_id"]
            await server.kills_itself()
            server.start(serve_on, True)
            await server.until_ready()
            await headset.event("payment.reauthorized", order_id=order_id)
            assert await parcels(server, order_id)
            await headset.command("order.cancel", {"order_id": order_id})
            assert (await ended(headset, order_id))["type"] == "order.canceled"
        effects = await finish(server)
        # Both authorizations are void in the end, whatever was lost on the way.
        assert effects == ["authorize", "authorize", "void", "void"]
