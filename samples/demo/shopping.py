"""The main job as the headset lives it: quote, place, and follow the events to the end."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from samples.demo.stage import Stage
from samples.demo.timeline import Timeline
from samples.demo.words import card, money, number, percent, short
from samples.headset.client import Document, Headset
from samples.merchant_api import MerchantApi

ADDRESS = {
    "name": "Ada Example",
    "line1": "Lindenweg 12",
    "postal_code": "10969",
    "city": "Berlin",
    "country": "DE",
}
CURRENCY, COUNTRY = "EUR", "DE"
_EVENT_WITHIN_S = 20.0
_EXPECTED = frozenset({"order.placed", "consent.confirmed", "order.confirmed", "fulfillment.accepted"})
"""Events that need no line of their own."""


class DemoError(Exception):
    """A step did not end as it should. The message says which and how."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Something the customer wants, and what goes wrong on the way."""

    handle: str
    sku: str
    format: str
    note: str
    steps: tuple[str, ...]
    card_is_declined: bool = False
    connection_drops: bool = False


WISHES = (
    Wish(
        handle="kuppel-lamp",
        sku="KUPPEL-LAMP",
        format="digital",
        note="for any world that loads glTF",
        steps=("price", "order", "authorized", "token", "captured", "edition"),
    ),
    Wish(
        handle="ritual-mug",
        sku="FJORD-MUG",
        format="physical",
        note="and the first card is declined",
        steps=("price", "order", "declined", "authorized", "dispatched", "captured", "stock", "delivered"),
        card_is_declined=True,
    ),
    Wish(
        handle="dusk-print",
        sku="DUSK-PRINT",
        format="bundle",
        note="and the headset loses its connection",
        steps=(
            "price",
            "order",
            "dropped",
            "authorized",
            "token",
            "captured",
            "dispatched",
            "captured",
            "edition",
            "stock",
            "delivered",
        ),
        connection_drops=True,
    ),
)


class Shopper:
    """A customer with a headset, and the merchant's books to look at before and after."""

    def __init__(
        self, stage: Stage, headset: Headset, news: asyncio.Queue[Document], api: MerchantApi
    ) -> None:
        self._stage = stage
        self._headset = headset
        self._news = news
        self._api = api
        self._cards: dict[str, Document] = {}

    async def buy(self, number: int, merchant: str, wish: Wish) -> None:
        """Buy one thing and show every step. Raises DemoError when one is missing."""
        ask = self._headset.command
        product = (await ask("catalog.get", {"merchant": merchant, "handle": wish.handle}))["product"]
        variant = next(one for one in product["variants"] if one["sku"] == wish.sku)
        self._cards = {
            method["payment_method_id"]: method for method in (await ask("payment.methods"))["methods"]
        }
        before = await self._api.books()
        title = f"{number}  {wish.format.capitalize()}: {variant['title']['en']}"
        timeline = Timeline(title, wish.note, wish.steps)
        with self._stage.live(timeline):
            quote = await ask(
                "quote.create",
                {
                    "merchant": merchant,
                    "items": [{"sku": wish.sku, "format": wish.format}],
                    "currency": CURRENCY,
                    "country": COUNTRY,
                },
            )
            timeline.tell("price", _price(quote))
            order_id = await self._place(quote, wish, timeline)
            if wish.connection_drops:
                await self._lose_connection(order_id, timeline)
            order = await ask("order.get", {"order_id": order_id})
            await self._follow(order, quote, wish, timeline)
            after = await self._api.books()
            self._tell_counts(quote, variant, before, after, wish, timeline)
            if "delivered" in timeline.untold:
                await self._until_delivered(order_id, timeline)
        if timeline.untold:
            raise DemoError(f"{title}: the gateway never told {', '.join(timeline.untold)}")

    async def _place(self, quote: Document, wish: Wish, timeline: Timeline) -> str:
        methods = list(self._cards)
        body: Document = {
            "quote_id": quote["quote_id"],
            "payment_method_id": methods[1 if wish.card_is_declined else 0],
            "consents": [
                {"kind": kind, "text_version": "1", "locale": "en", "at": datetime.now(UTC).isoformat()}
                for kind in quote["consents_required"]
            ],
        }
        if quote["ship_to_required"]:
            body["ship_to"] = ADDRESS
        placed = await self._headset.command("order.place", body)
        order_id: str = placed["order_id"]
        timeline.tell("order", f"{short(order_id, 8)} accepted and reserved: durable from here on")
        return order_id

    async def _lose_connection(self, order_id: str, timeline: Timeline) -> None:
        last, lost_s = self._headset.memory.seq, time.monotonic()
        await self._headset.drop()
        await self._headset.command("order.get", {"order_id": order_id})
        away_ms = (time.monotonic() - lost_s) * 1000
        timeline.tell(
            "dropped", f"back after {away_ms:.0f} ms, resumed after event {last}: none missed", setback=True
        )

    async def _follow(self, order: Document, quote: Document, wish: Wish, timeline: Timeline) -> None:
        """Tell what happens to the order until it is complete."""
        legs = {leg["leg_id"]: leg["kind"] for line in order["lines"] for leg in line["legs"]}
        location = quote.get("delivery", {}).get("location")
        paid_with = list(self._cards)[1 if wish.card_is_declined else 0]
        while True:
            event = await self._next(order["order_id"], timeline)
            body = event["body"]
            match event["type"]:
                case "payment.declined":
                    refused, paid_with = paid_with, _alternative(body)
                    timeline.tell(
                        "declined",
                        f"{card(self._cards[refused])}, code {body['code']}; "
                        f"offered instead: {card(self._cards[paid_with])}",
                        setback=True,
                    )
                    await self._headset.command(
                        "order.pay", {"order_id": order["order_id"], "payment_method_id": paid_with}
                    )
                case "payment.authorized":
                    held = (
                        f"{money(body['amount'])} held on {card(self._cards[paid_with])}, nothing taken yet"
                    )
                    timeline.tell("authorized", held)
                case "token.minted":
                    timeline.tell("token", _token(body))
                case "shipment.dispatched":
                    tracking = short(body["tracking_number"], 6, 6)
                    timeline.tell("dispatched", f"from {location}, tracking number {tracking}")
                case "payment.captured":
                    share = {"mint": " for the token", "ship": " for the parcel"}[legs[body["leg_id"]]]
                    timeline.tell("captured", money(body["amount"]) + (share if len(legs) > 1 else ""))
                case "order.completed":
                    return
                case kind if kind not in _EXPECTED:
                    raise DemoError(f"unexpected {kind}: {body}")

    async def _until_delivered(self, order_id: str, timeline: Timeline) -> None:
        while True:
            event = await self._next(order_id, timeline)
            if event["type"] == "shipment.delivered":
                timeline.tell("delivered", "")
                return

    async def _next(self, order_id: str, timeline: Timeline) -> Document:
        try:
            async with asyncio.timeout(_EVENT_WITHIN_S):
                while True:
                    event = await self._news.get()
                    if event["body"]["order_id"] == order_id:
                        return event
        except TimeoutError:
            raise DemoError(
                f"no event for {_EVENT_WITHIN_S:.0f} s while waiting for: {', '.join(timeline.untold)}"
            ) from None

    def _tell_counts(
        self,
        quote: Document,
        variant: Document,
        before: dict[tuple[str, str], int],
        after: dict[tuple[str, str], int],
        wish: Wish,
        timeline: Timeline,
    ) -> None:
        if "edition" in wish.steps:
            digital = variant["digital"]
            issued = ("tokens:issued", f"token:{digital['token_number']}")
            cap = digital["edition"]["cap"]
            timeline.tell(
                "edition", f"{-before.get(issued, 0)} → {-after.get(issued, 0)} of {cap} copies sold"
            )
        if "stock" in wish.steps:
            location = quote["delivery"]["location"]
            account = (f"stock:available:{location}", f"sku:{wish.sku}")
            timeline.tell("stock", f"{before.get(account, 0)} → {after.get(account, 0)} left in {location}")


def _alternative(declined: Document) -> str:
    """The first stored method the gateway offers after a decline."""
    if not declined["alternatives"]:
        raise DemoError("the card was declined and no other was offered")
    method: str = declined["alternatives"][0]["payment_method_id"]
    return method


def _price(quote: Document) -> str:
    included = [
        f"{number(tax['tax'])} VAT ({tax['country']} {percent(tax['rate_bps'])})" for tax in quote["taxes"]
    ]
    if quote["shipping"]["amount_minor"]:
        included.insert(0, f"{number(quote['shipping'])} shipping")
    return f"{money(quote['total'])} incl. {' and '.join(included)}"


def _token(minted: Document) -> str:
    serial = "" if minted.get("serial") is None else f"no. {minted['serial']}, "
    token = f"token {short(minted['token_id'], 4, 4)}"
    return f"{serial}{token}, tx {short(minted['transaction_hash'])}, block {minted['block_number']}"
