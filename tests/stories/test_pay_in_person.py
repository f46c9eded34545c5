"""Orders that are paid in person: promised at the checkout, collected at the door (C4)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from samples.headset.client import CommandError, Document, Headset
from tests.support.buying import buy, ended, legs, order_body, quote, show, told, until
from tests.support.gateway import Customer, OpenGateway
from tests.support.seed import ATELIER, HARBOUR


async def promised(headset: Headset, *items: str, merchant: str = ATELIER) -> Document:
    """Place an order that is to be paid at the door."""
    body = order_body(await quote(headset, *items, merchant=merchant), "")
    del body["payment_method_id"]
    return await headset.command("order.place", {**body, "payment": {"kind": "pay_at_delivery"}})


async def collect(shop: OpenGateway, order_id: str, tendered: int | None, **body: Any) -> Any:
    return await shop.http.post(
        f"/v1/merchant/orders/{order_id}/collections",
        json={"staff_id": "courier-9", "drawer": "van-3", "tendered_minor": tendered, **body},
        headers={"Authorization": f"Bearer {shop.keys['atelier-nord']}"},
    )


async def at_the_door(shop: OpenGateway, headset: Headset, order_id: str) -> None:
    """Wait until the parcel is with the customer and its money is asked for."""
    await headset.event("shipment.dispatched", order_id=order_id)

    async def waits() -> bool:
        return bool(
            shop.evidence.rows(
                "SELECT 1 FROM payment_operation WHERE order_id = ? AND kind = 'capture' AND state = 'unknown'",
                order_id,
            )
        )

    await until(waits)


async def test_c4_money_is_collected_at_the_door_and_stays_unknown_until_then(
    generous_shop: OpenGateway,
) -> None:
    shop = generous_shop
    customer = await shop.customer()
    async with shop.headset(customer) as headset:
        placed = await promised(headset, "FJORD-MUG:physical", "MOSS-MUG:physical")
        order_id, owed = placed["order_id"], placed["total"]["amount_minor"]
        await at_the_door(shop, headset, order_id)
        await asyncio.sleep(0.3)
        assert not {"payment.unknown", "payment.stuck", "payment.capture_failed"} & set(
            told(headset, order_id)
        )
        assert (await show(headset, order_id))["state"] == "confirmed"
        short = await collect(shop, order_id, owed - 1)
        assert short.json()["code"] == "cash.not_enough"
        counted = await collect(shop, order_id, owed + 500)
        assert counted.status_code == 200 and counted.json()["collected"]
        # Said again, it is the same.
        assert (await collect(shop, order_id, owed + 500)).json() == counted.json()
        collected = (await headset.event("payment.collected", order_id=order_id))["body"]
        assert collected["change"]["amount_minor"] == 500
        assert (await ended(headset, order_id))["type"] == "order.completed"
        otherwise = await collect(shop, order_id, owed)
        assert otherwise.json()["code"] == "collection.decided"
        assert (await headset.command("payment.methods"))["methods"] == []
    books = await shop.books()
    assert books["asset:cash:van-3", "EUR"] == owed
    await shop.check()
    assert shop.effects() == []


async def test_c4_goods_that_are_refused_at_the_door_come_back_unpaid(generous_shop: OpenGateway) -> None:
    shop = generous_shop
    customer = await shop.customer()
    before = shop.available("FJORD-MUG")
    async with shop.headset(customer) as headset:
        order_id = (await promised(headset, "FJORD-MUG:physical"))["order_id"]
        await at_the_door(shop, headset, order_id)
        refused = await collect(shop, order_id, None, restocked=True)
        assert refused.status_code == 200 and not refused.json()["collected"]
        assert (await ended(headset, order_id))["type"] == "order.canceled"
        assert "order.leg_refused" in told(headset, order_id)
        assert legs(await show(headset, order_id))["ship"]["state"] == "returned"
    assert shop.available("FJORD-MUG") == before
    assert not [account for account, _ in await shop.books() if "receivable" in account]
    await shop.check()


async def test_a_declined_order_goes_on_as_a_promise_in_the_same_session(generous_shop: OpenGateway) -> None:
    shop = generous_shop
    customer = await shop.customer("insufficient_funds")
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "FJORD-MUG:physical", card="insufficient_funds")
        declined = (await headset.event("payment.declined", order_id=order_id))["body"]
        assert [way["kind"] for way in declined["alternatives"]] == ["pay_link", "pay_at_delivery"]
        await headset.command("order.pay", {"order_id": order_id, "payment": {"kind": "pay_at_delivery"}})
        await at_the_door(shop, headset, order_id)
        await collect(shop, order_id, (await show(headset, order_id))["total"]["amount_minor"])
        assert (await ended(headset, order_id))["type"] == "order.completed"
    await shop.check()


@pytest.mark.parametrize("item", ["KUPPEL-LAMP:bundle", "HALM-CHAIR:physical"])
async def test_what_nobody_hands_over_or_costs_too_much_is_not_promised(
    generous_shop: OpenGateway, item: str
) -> None:
    shop = generous_shop
    customer = await shop.customer()
    async with shop.headset(customer) as headset:
        with pytest.raises(CommandError) as refused:
            await promised(headset, item)
        assert refused.value.code == "payment.not_offered"
    await shop.check()


async def test_a_merchant_that_offers_no_promise_takes_none(shop: OpenGateway) -> None:
    customer: Customer = await shop.customer(merchant=HARBOUR)
    async with shop.headset(customer) as headset:
        with pytest.raises(CommandError) as refused:
            await promised(headset, "ESTUARY-SCARF:physical", merchant=HARBOUR)
        assert refused.value.code == "payment.not_offered"
    await shop.check()
