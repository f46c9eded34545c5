"""What customers of the stories do: ask for a quote, place, wait for how it ends."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from samples.headset.client import Document, Headset
from tests.support.gateway import CONSENT, Customer, address

ENDED = ("order.completed", "order.canceled", "order.refunded")


async def quote(
    headset: Headset,
    *items: str,
    merchant: str = "atelier-nord",
    currency: str = "EUR",
    country: str = "DE",
    key: str | None = None,
) -> Document:
    """Ask for a quote; an item is ``SKU:format`` or ``SKU:format:quantity``."""
    wanted = []
    for item in items:
        sku, form, *quantity = item.split(":")
        wanted.append({"sku": sku, "format": form, "quantity": int(quantity[0]) if quantity else 1})
    body = {"merchant": merchant, "items": wanted, "currency": currency, "country": country}
    return await headset.command("quote.create", body, key=key)


def order_body(quoted: Document, method: str, country: str = "DE") -> Document:
    """Return the body of ``order.place`` for a quote: address and consents where they are asked for."""
    body: Document = {"quote_id": quoted["quote_id"], "payment_method_id": method}
    if quoted["ship_to_required"]:
        body["ship_to"] = address(country)
    if quoted["consents_required"]:
        body["consents"] = [CONSENT]
    return body


async def buy(
    headset: Headset, customer: Customer, *items: str, card: str = "visa", country: str = "DE", **asked: Any
) -> str:
    """Quote and place; returns the order's id."""
    quoted = await quote(headset, *items, country=country, **asked)
    placed = await headset.command("order.place", order_body(quoted, customer.methods[card], country))
    return str(placed["order_id"])


async def ended(headset: Headset, order_id: str, within_s: float = 15.0) -> Document:
    """Wait until the order has ended and return its last event."""
    return await headset.event(ENDED[0], or_types=ENDED[1:], order_id=order_id, within_s=within_s)


def told(headset: Headset, order_id: str) -> list[str]:
    """Return the types of the events about an order, in order; not that a consent was confirmed, which comes
    with the acceptance of everything digital."""
    return [
        event["type"]
        for event in headset.events
        if event["body"].get("order_id") == order_id and event["type"] != "consent.confirmed"
    ]


async def show(headset: Headset, order_id: str) -> Document:
    """Return the order as the customer sees it."""
    return await headset.command("order.get", {"order_id": order_id})


def legs(order: Document) -> dict[str, Document]:
    """Return an order's legs by kind; for orders with at most one leg of each."""
    found = {leg["kind"]: leg for line in order["lines"] for leg in line["legs"]}
    assert len(found) == sum(len(line["legs"]) for line in order["lines"])
    return found


async def until(condition: Any, within_s: float = 10.0) -> Any:
    """Wait for an async condition to be true and return what it gave."""
    give_up_at = time.monotonic() + within_s
    while True:
        found = await condition()
        if found:
            return found
        assert time.monotonic() < give_up_at, "it did not come true in time"
        await asyncio.sleep(0.02)
