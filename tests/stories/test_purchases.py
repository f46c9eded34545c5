"""Purchases that go well: every format, several currencies, each step told once and in order."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support.buying import buy, ended, legs, quote, show, told
from tests.support.gateway import OpenGateway
from tests.support.seed import HARBOUR

PAID = ["order.placed", "payment.authorized", "order.confirmed"]
MINTED = ["token.minted", "payment.captured"]
GRANTED = ["entitlement.granted", "payment.captured"]
SHIPPED = ["fulfillment.accepted", "shipment.dispatched", "payment.captured"]


def follows(types: list[str], *steps: str) -> bool:
    """Whether the steps come in this order, others between them allowed."""
    found = iter(types)
    return all(step in found for step in steps)


@pytest.mark.parametrize(
    ("item", "ways", "total_minor"),
    [
        pytest.param("KUPPEL-LAMP:digital", [MINTED], 1290, id="token"),
        pytest.param("HALM-CHAIR:digital", [GRANTED], 900, id="entitlement"),
        pytest.param("FJORD-MUG:physical", [SHIPPED], 2800 + 490, id="physical"),
        pytest.param("KUPPEL-LAMP:bundle", [SHIPPED, MINTED], 19600, id="bundle, all or nothing"),
        pytest.param("HALM-CHAIR:bundle", [GRANTED, SHIPPED], 75200, id="bundle, digital first"),
        pytest.param("FJORD-MUG:bundle", [SHIPPED, GRANTED], 2990 + 490, id="bundle, either"),
    ],
)
async def test_a_purchase_tells_every_step_once_and_in_order(
    shop: OpenGateway, item: str, ways: list[list[str]], total_minor: int
) -> None:
    customer = await shop.customer("visa")
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, item)
        last = await ended(headset, order_id)
        # A parcel may arrive before or after the rest of its order is done.
        types = [step for step in told(headset, order_id) if step != "shipment.delivered"]
        assert types[:3] == PAID
        assert types[-1] == "order.completed"
        assert last["body"]["captured"] == {"amount_minor": total_minor, "currency": "EUR"}
        assert Counter(types[3:-1]) == Counter(step for way in ways for step in way)
        for way in ways:
            assert follows(types, *way)
        if SHIPPED in ways:
            await headset.event("shipment.delivered", order_id=order_id)

        order = await show(headset, order_id)
        assert order["state"] == "completed"
        assert order["total"] == {"amount_minor": total_minor, "currency": "EUR"}
        assert order["payment"]["captured_minor"] == order["payment"]["authorized_minor"] == total_minor
        found = legs(order)
        assert {leg["state"] for leg in found.values()} == {"captured"}
        if "ship" in found:
            assert found["ship"]["shipment"]["state"] == "delivered"
            assert found["ship"]["shipment"]["tracking_number"]

        wallet = await headset.command("wallet.list")
        kinds = {"mint": "token", "entitle": "entitlement"}
        assert [one["kind"] for one in wallet["items"]] == [kinds[kind] for kind in found if kind != "ship"]
        if "mint" in found:
            assert wallet["items"][0]["transaction_hash"] == found["mint"]["token"]["transaction_hash"]
            assert wallet["address"].startswith("0x")
    await shop.check()


async def test_a_bundle_that_is_all_or_nothing_mints_only_after_the_parcel_is_promised(
    shop: OpenGateway,
) -> None:
    customer = await shop.customer("visa")
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "KUPPEL-LAMP:bundle")
        await ended(headset, order_id)
        assert follows(told(headset, order_id), "fulfillment.accepted", "token.minted")
    await shop.check()


async def test_numbered_copies_are_tokens_of_their_own_with_different_numbers(shop: OpenGateway) -> None:
    customer = await shop.customer("visa")
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "DUSK-PRINT:digital:3")
        await ended(headset, order_id)
        order = await show(headset, order_id)
        tokens = [leg["token"] for leg in order["lines"][0]["legs"]]
        assert sorted(token["serial"] for token in tokens) == [1, 2, 3]
        assert len({token["token_id"] for token in tokens}) == 3
        assert sum(leg["amount"]["amount_minor"] for leg in order["lines"][0]["legs"]) == 3 * 6000
    await shop.check()


async def test_an_order_of_many_lines_ends_when_all_its_parts_have(shop: OpenGateway) -> None:
    customer = await shop.customer("visa")
    async with shop.headset(customer) as headset:
        order_id = await buy(
            headset,
            customer,
            "KUPPEL-LAMP:bundle:2",
            "FJORD-MUG:physical:3",
            "HALM-CHAIR:digital",
            "DUSK-PRINT:bundle",
        )
        await ended(headset, order_id)
        types = Counter(told(headset, order_id))
        # Two legs of the lamp, one of the mugs, one of the chair, two of the print.
        assert types["payment.captured"] == 6
        assert types["token.minted"] == 2
        # The print leaves from Mitte; the lamps are a parcel of their own, since their token and they are
        # all or nothing, and nobody may call the mugs back with them.
        assert types["shipment.dispatched"] == 3
    await shop.check()


@pytest.mark.parametrize(
    ("merchant", "item", "currency", "country", "total_minor", "tax_minor"),
    [
        # The yen has no minor unit: 31900 yen are 31900.
        (None, "KUPPEL-LAMP:bundle", "JPY", "DE", 31900, 5093),
        # The Kuwaiti dinar has three decimals: 39.500 and free shipping from 24.000.
        (HARBOUR, "RUNNER-TIDE-42:bundle", "KWD", "GB", 39500, 6583),
        (None, "FJORD-MUG:physical", "CHF", "AT", 2700 + 950, 608),
    ],
)
async def test_amounts_keep_the_decimals_of_their_currency(
    shop: OpenGateway,
    merchant: str | None,
    item: str,
    currency: str,
    country: str,
    total_minor: int,
    tax_minor: int,
) -> None:
    customer = await shop.customer("visa")
    slug = merchant or "atelier-nord"
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, item, merchant=slug, currency=currency, country=country)
        last = await ended(headset, order_id)
        assert last["body"]["captured"] == {"amount_minor": total_minor, "currency": currency}
        order = await show(headset, order_id)
        assert order["tax"] == {"amount_minor": tax_minor, "currency": currency}
        books = await shop.books(slug)
        assert books["asset:clearing:simulated", currency] == total_minor
        vat = sum(amount for (account, unit), amount in books.items() if account.startswith("liability:vat"))
        assert vat == -tax_minor
    await shop.check()


async def test_the_same_customer_buys_from_two_merchants_with_one_card(shop: OpenGateway) -> None:
    customer = await shop.customer("visa")
    async with shop.headset(customer) as headset:
        first = await buy(headset, customer, "KUPPEL-LAMP:digital")
        second = await buy(headset, customer, "LAGOON-HAT:digital", merchant=HARBOUR)
        await ended(headset, first)
        await ended(headset, second)
        # Each merchant sees its own order and not the other's.
        assert (await shop.merchant("GET", f"/orders/{first}"))["order_id"] == first
        assert [
            o["order_id"] for o in (await shop.merchant("GET", "/orders", merchant=HARBOUR))["orders"]
        ] == [second]
        foreign = await shop.http.get(
            f"/v1/merchant/orders/{first}", headers={"Authorization": f"Bearer {shop.keys[HARBOUR]}"}
        )
        assert (foreign.status_code, foreign.json()["code"]) == (404, "order.not_found")
    await shop.check()


async def test_a_quote_is_what_the_order_costs(shop: OpenGateway) -> None:
    customer = await shop.customer("visa")
    async with shop.headset(customer) as headset:
        quoted = await quote(headset, "KUPPEL-LAMP:bundle", "FJORD-MUG:physical")
        assert (
            sum(line["total"]["amount_minor"] for line in quoted["lines"])
            + quoted["shipping"]["amount_minor"]
            == quoted["total"]["amount_minor"]
        )
        assert sum(tax["tax"]["amount_minor"] for tax in quoted["taxes"]) == quoted["tax"]["amount_minor"]
    await shop.check()
