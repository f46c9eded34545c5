"""Orders that nobody pays for: how many, how long, and that each is given up by itself."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from gateway.orders import purchase
from samples.headset.client import CommandError
from tests.support.buying import buy, ended, order_body, quote, show, told
from tests.support.challenges import bank_page
from tests.support.gateway import OpenGateway, opened
from tests.support.seed import Seed


async def test_a_customer_holds_goods_with_so_many_unpaid_orders_and_no_more(
    seed: Seed, tmp_path: Path
) -> None:
    async with opened(seed, tmp_path / "data", most_unpaid=2) as shop:
        greedy = await shop.customer("insufficient_funds", "visa")
        other = await shop.customer("visa")
        async with shop.headset(greedy) as headset, shop.headset(other) as beside:
            orders = []
            for _ in range(2):
                orders.append(await buy(headset, greedy, "FJORD-MUG:physical", card="insufficient_funds"))
                await headset.event("payment.declined", order_id=orders[-1])
            with pytest.raises(CommandError) as refused:
                await buy(headset, greedy, "FJORD-MUG:physical")
            assert refused.value.code == "order.too_many_unpaid"
            assert refused.value.body["data"] == {"unpaid": 2, "limit": 2}
            assert shop.evidence.count("customer_order") == 2
            await ended(beside, await buy(beside, other, "FJORD-MUG:physical"))
            # Paying or canceling one makes room for the next.
            await headset.command("order.cancel", {"order_id": orders[0]})
            third = await buy(headset, greedy, "FJORD-MUG:physical")
            assert (await ended(headset, third))["type"] == "order.completed"
            paid = {"order_id": orders[1], "payment_method_id": greedy.methods["visa"]}
            await headset.command("order.pay", paid)
            await ended(headset, orders[1])
        await shop.check()


async def test_trying_other_methods_never_keeps_a_reservation_beyond_its_longest_time(
    shop: OpenGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purchase, "LONGEST_UNPAID_MS", 1_200)
    customer = await shop.customer("insufficient_funds")
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "FJORD-MUG:physical", card="insufficient_funds")
        again = {"order_id": order_id, "payment_method_id": customer.methods["insufficient_funds"]}
        await headset.event("payment.declined", order_id=order_id)
        await headset.command("order.pay", again)
        assert (await ended(headset, order_id))["type"] == "order.canceled"
        declined = [event["body"] for event in headset.events if event["type"] == "payment.declined"]
        assert len(declined) == 2
        (made,) = shop.evidence.rows("SELECT created_at_ms FROM customer_order")
        for body in declined:
            until_ms = datetime.fromisoformat(body["pay_until"]).timestamp() * 1000
            assert until_ms <= made["created_at_ms"] + 1_200
        assert shop.available("FJORD-MUG") == 132
    await shop.check()


async def test_an_order_that_cannot_be_given_up_does_not_keep_the_goods_of_others(
    seed: Seed, tmp_path: Path
) -> None:
    async with opened(seed, tmp_path / "data", pay_within_ms=600) as shop:
        customer = await shop.customer("insufficient_funds")
        async with shop.headset(customer) as headset:
            orders = [
                await buy(headset, customer, "FJORD-MUG:physical", card="insufficient_funds")
                for _ in range(2)
            ]
            broken = f"UPDATE inventory_hold SET state = 'held' WHERE order_id = '{orders[0]}'"
            await shop.gateway.context.store.write(lambda uow: uow.core(text(broken)))
            last = await ended(headset, orders[1], within_s=6)
            assert last["type"] == "order.canceled"
            assert "order.canceled" not in told(headset, orders[0])
            assert (await show(headset, orders[0]))["state"] == "placed"


async def test_a_repeated_order_is_told_where_it_stands_now(shop: OpenGateway) -> None:
    customer = await shop.customer("visa")
    async with shop.headset(customer) as headset:
        quoted = await quote(headset, "HALM-CHAIR:digital")
        body = order_body(quoted, customer.methods["visa"])
        first = await headset.command("order.place", body, key="mine")
        await ended(headset, first["order_id"])
        again: dict[str, Any] = await headset.command("order.place", body, key="mine")
        assert (first["state"], first["replayed"]) == ("placed", False)
        assert (again["order_id"], again["state"], again["replayed"]) == (
            first["order_id"],
            "completed",
            True,
        )
    await shop.check()


async def test_canceling_while_a_challenge_is_answered_leaves_nothing_for_a_person(shop: OpenGateway) -> None:
    customer = await shop.customer("challenge")
    async with shop.headset(customer) as headset:

        async def race(delay_s: float) -> None:
            order_id = await buy(headset, customer, "HALM-CHAIR:digital", card="challenge")
            asked = await headset.event("payment.action_required", order_id=order_id)

            async def cancel() -> None:
                await asyncio.sleep(delay_s)
                try:
                    await headset.command("order.cancel", {"order_id": order_id})
                except CommandError as refused:
                    assert refused.code == "order.not_cancelable", refused

            bank = await bank_page(shop.http, asked["body"]["url"])
            await asyncio.gather(shop.http.post(f"{bank}/approve"), cancel())
            await ended(headset, order_id)

        await asyncio.gather(*(race(0.003 * number) for number in range(6)))
        await shop.at_rest()
    await shop.check()
    assert shop.evidence.rows("SELECT body FROM event WHERE type = 'payment.stuck'") == []
    assert shop.effects().count("authorize") == shop.effects().count("capture") + shop.effects().count("void")
