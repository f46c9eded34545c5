"""A request to the acquirer that was lost on the way is found missing and asked for anew, under a new id."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.buying import buy, ended, told
from tests.support.challenges import bank_page
from tests.support.gateway import OpenGateway, opened
from tests.support.seed import Seed
from wallets.vault.port import OperationKind
from wallets.vault.providers.port import NoAnswerError


def lose_the_first(shop: OpenGateway, kind: OperationKind) -> list[str]:
    """Lose the first request of a kind before the acquirer sees it; returns what was lost, as it happens."""
    acquirer = shop.gateway.vault.acquirer
    deliver = acquirer._follow_up
    lost: list[str] = []

    async def follow_up(wanted: OperationKind, order: Any) -> Any:
        if wanted is kind and not lost:
            lost.append(order.operation_id)
            await asyncio.sleep(60)  # the caller's deadline ends it
        return await deliver(wanted, order)

    # The outside world fails here and nowhere else: one method of the simulated acquirer is replaced.
    acquirer._follow_up = follow_up
    return lost


async def test_a_lost_capture_is_taken_with_a_second_request(seed: Seed, tmp_path: Path) -> None:
    async with opened(seed, tmp_path / "data") as shop:
        lost = lose_the_first(shop, OperationKind.CAPTURE)
        customer = await shop.customer("visa")
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, "KUPPEL-LAMP:digital")
            last = await ended(headset, order_id)
            assert last["type"] == "order.completed"
            assert told(headset, order_id).count("payment.unknown") == len(lost) == 1
        await shop.check()
        assert shop.effects() == ["authorize", "capture"]


async def test_a_lost_void_is_asked_for_again_and_no_money_stays_held(seed: Seed, tmp_path: Path) -> None:
    async with opened(seed, tmp_path / "data", dispatch_after_ms=60_000) as shop:
        lost = lose_the_first(shop, OperationKind.VOID)
        customer = await shop.customer("visa")
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, "FJORD-MUG:physical")
            await headset.event("fulfillment.accepted", order_id=order_id)
            await headset.command("order.cancel", {"order_id": order_id})
            await headset.event("payment.voided", order_id=order_id)
            assert len(lost) == 1
        await shop.check()
        assert shop.effects() == ["authorize", "void"]


async def test_a_lost_refund_is_asked_for_again_and_paid_once(seed: Seed, tmp_path: Path) -> None:
    async with opened(seed, tmp_path / "data") as shop:
        lost = lose_the_first(shop, OperationKind.REFUND)
        customer = await shop.customer("visa")
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, "HALM-CHAIR:digital")
            await ended(headset, order_id)
            await shop.refund(order_id)
            await headset.event("order.refunded", order_id=order_id)
            assert len(lost) == 1
        await shop.check()
        assert shop.effects() == ["authorize", "capture", "refund"]


async def test_a_challenge_void_that_was_lost_still_closes_the_challenge(seed: Seed, tmp_path: Path) -> None:
    async with opened(seed, tmp_path / "data") as shop:
        lost = lose_the_first(shop, OperationKind.VOID)
        customer = await shop.customer("challenge")
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, "HALM-CHAIR:digital", card="challenge")
            asked = await headset.event("payment.action_required", order_id=order_id)
            bank = await bank_page(shop.http, asked["body"]["url"])
            await headset.command("order.cancel", {"order_id": order_id})
        # Approved after all, while the first void is on its way to nowhere.
        await shop.http.post(f"{bank}/approve")
        await shop.check()
        assert len(lost) == 1
        assert shop.effects() == ["authorize", "void"]


@pytest.mark.parametrize("item", ["KUPPEL-LAMP:bundle", "FJORD-MUG:bundle"])
async def test_one_lost_capture_of_two_delays_only_its_leg(item: str, seed: Seed, tmp_path: Path) -> None:
    async with opened(seed, tmp_path / "data") as shop:
        lose_the_first(shop, OperationKind.CAPTURE)
        customer = await shop.customer("visa")
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, item)
            assert (await ended(headset, order_id))["type"] == "order.completed"
        await shop.check()
        assert shop.effects() == ["authorize", "capture", "capture"]


async def test_a_lost_authorization_is_asked_for_again_with_the_same_method(
    seed: Seed, tmp_path: Path
) -> None:
    async with opened(seed, tmp_path / "data") as shop:
        acquirer = shop.gateway.vault.acquirer
        deliver, lost = acquirer.authorize, []

        async def authorize(order: Any) -> Any:
            if not lost:
                lost.append(order)
                raise NoAnswerError("lost")
            return await deliver(order)

        acquirer.authorize = authorize
        customer = await shop.customer("visa")
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, "HALM-CHAIR:digital")
            assert (await ended(headset, order_id))["type"] == "order.completed"
            assert told(headset, order_id)[:4] == [
                "order.placed",
                "payment.unknown",
                "payment.authorized",
                "order.confirmed",
            ]
        await shop.check()
        assert shop.effects() == ["authorize", "capture"]
        assert shop.evidence.count("payment_attempt") == 2
        assert shop.evidence.count("payment_attempt", "payment_method_id = ?", customer.methods["visa"]) == 2


async def test_an_authorization_that_a_crash_kept_from_the_acquirer_is_asked_for_again(
    seed: Seed, tmp_path: Path
) -> None:
    async with opened(seed, tmp_path / "data") as shop:
        reached = asyncio.Event()

        async def never(order: Any) -> Any:
            reached.set()
            await asyncio.Event().wait()

        shop.gateway.vault.acquirer.authorize = never
        customer = await shop.customer("visa")
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, "HALM-CHAIR:digital")
            await asyncio.wait_for(reached.wait(), 5)
            # The vault has written that it sends; the process dies before it does.
            for working in tuple(shop.gateway.runner._in_flight):
                working.cancel()
            await shop.restart()
            assert (await ended(headset, order_id))["type"] == "order.completed"
            assert "payment.declined" not in told(headset, order_id)
        await shop.check()
        assert shop.effects() == ["authorize", "capture"]
