"""Customers who shop while their gateway dies and their headsets run out of battery.

A shopper writes down what a headset application would: the keys of its commands, its place in the stream,
and what it was told. After its own death it goes on from there, with the same keys.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from samples.headset.client import CommandError, Document, Headset, Memory
from tests.support.buying import order_body, quote, show
from tests.support.challenges import decide
from tests.support.gateway import Customer, Shop
from tests.support.seed import ATELIER, HARBOUR

ODD_CARDS = (
    "answer_lost",
    "never_arrives",
    "slow",
    "capture_answer_lost",
    "capture_never_arrives",
    "capture_declined",
    "void_answer_lost",
    "refund_answer_lost",
    "insufficient_funds",
    "challenge",
)
_ITEMS = (
    (ATELIER, "KUPPEL-LAMP:digital"),
    (ATELIER, "KUPPEL-LAMP:digital:2"),
    (ATELIER, "FJORD-MUG:physical"),
    (ATELIER, "KUPPEL-LAMP:bundle"),
    (ATELIER, "MOSS-MUG:bundle"),
    (ATELIER, "HALM-CHAIR:digital"),
    (ATELIER, "DUSK-PRINT:digital"),
    (ATELIER, "FJORD-MUG:physical KUPPEL-LAMP:digital"),
    (HARBOUR, "LAGOON-HAT:digital"),
    (HARBOUR, "ESTUARY-SCARF:bundle"),
    (HARBOUR, "KNOTS-BOOK:digital"),
    (HARBOUR, "RUNNER-TIDE-42:physical"),
)
_PAID = ("captured", "returning")
_LAST_RESORT = (HARBOUR, "LAGOON-HAT:digital")


@dataclass(frozen=True)
class Errand:
    """One purchase that a shopper means to make."""

    merchant: str
    items: str
    card: str
    cancel_after_s: float | None
    approve: bool
    give_back: bool


@dataclass
class Notebook:
    """What survives the death of a shopper's application."""

    done: int = 0
    orders: dict[str, str] = field(default_factory=dict)
    """Order id by the key of its ``order.place``, once that was answered."""
    refused: list[str] = field(default_factory=list)
    heard: list[Document] = field(default_factory=list)
    pages: dict[str, str] = field(default_factory=dict)
    """Address of the challenge page by order."""
    payments: int = 0


class Shopper:
    """One customer with a list of errands."""

    def __init__(
        self, number: int, shop: Shop, customer: Customer, errands: list[Errand], folder: Path
    ) -> None:
        self.name = f"shopper-{number}"
        self.customer = customer
        self.notebook = Notebook()
        self._shop = shop
        self._errands = errands
        self._file = folder / f"{self.name}.json"
        self.signed_in = False

    async def run(self) -> None:
        """Do what is left of the errands. May be cancelled at any moment and called again."""
        headset = Headset(
            self._shop.base_url.replace("http", "ws", 1) + "/v1/connect",
            self.customer.token,
            memory=Memory(self._file),
            on_event=self._hear,
        )
        async with headset:
            self.signed_in = True
            for key, unanswered in list(headset.memory.pending.items()):
                try:
                    await headset.command(unanswered["type"], unanswered["body"], key=key)
                except CommandError as refused:
                    self.notebook.refused.append(refused.code)
            while self.notebook.done < len(self._errands):
                await self._errand(headset, self._errands[self.notebook.done])
                self.notebook.done += 1

    def _hear(self, event: Document) -> None:
        self.notebook.heard.append(event)
        if event["type"] == "payment.action_required":
            self.notebook.pages[event["body"]["order_id"]] = event["body"]["url"]

    async def _errand(self, headset: Headset, errand: Errand) -> None:
        name = f"{self.name}-{self.notebook.done}"
        try:
            quoted = await quote(
                headset, *errand.items.split(), merchant=errand.merchant, key=f"{name}-quote"
            )
        except CommandError as refused:
            assert refused.code in ("edition.sold_out", "stock.sold_out"), refused
            self.notebook.refused.append(refused.code)
            merchant, item = _LAST_RESORT
            quoted = await quote(headset, item, merchant=merchant, key=f"{name}-other")
        body = order_body(quoted, self.customer.methods[errand.card])
        placed = await headset.command("order.place", body, key=f"{name}-place")
        order_id = placed["order_id"]
        assert self.notebook.orders.setdefault(f"{name}-place", order_id) == order_id, "a key made two orders"
        if errand.cancel_after_s is not None:
            await asyncio.sleep(errand.cancel_after_s)
            try:
                await headset.command("order.cancel", {"order_id": order_id}, key=f"{name}-cancel")
            except CommandError as refused:
                assert refused.code == "order.not_cancelable", refused
        await self._see_through(headset, order_id, errand)

    async def _see_through(self, headset: Headset, order_id: str, errand: Errand) -> None:
        """Pay another way or pass the challenge where asked, until the order has ended."""
        while True:
            order = await show(headset, order_id)
            # Goods that left and could not be charged stay so: there is nothing to pay back for them.
            paid = any(leg["state"] in _PAID for line in order["lines"] for leg in line["legs"])
            if order["state"] == "completed" and errand.give_back and paid:
                await self._give_back(order)
            elif order["state"] in ("completed", "canceled", "refunded"):
                return
            if order["state"] == "placed" and order["payment"]["state"] == "requires_payment_method":
                await self._pay(headset, order_id)
            if order_id in self.notebook.pages and order["payment"]["state"] == "requires_action":
                await self._decide(self.notebook.pages[order_id], errand.approve)
            await asyncio.sleep(0.1)

    async def _pay(self, headset: Headset, order_id: str) -> None:
        # Counted before it is sent: what was sent and not answered is sent again as it was, from the file.
        self.notebook.payments += 1
        body = {"order_id": order_id, "payment_method_id": self.customer.methods["visa"]}
        try:
            await headset.command("order.pay", body, key=f"{self.name}-pay-{self.notebook.payments}")
        except CommandError as refused:
            assert refused.code == "order.not_payable", refused

    async def _give_back(self, order: Document) -> None:
        """Have the merchant refund the order; its server uses the order's id for a key."""
        with suppress(httpx.TransportError):
            try:
                await self._shop.refund(order["order_id"], merchant=order["merchant"], key=order["order_id"])
            except AssertionError as refused:
                # All that was delivered may be on its way back by itself: its share could not be captured.
                assert "order.not_refundable" in str(refused), refused

    async def _decide(self, page: str, approve: bool) -> None:
        # While the gateway is away nothing happens, and the loop comes back.
        with suppress(httpx.TransportError):
            shown = await self._shop.http.get(page)
            if 'id="bank"' in shown.text:
                await decide(self._shop.http, page, "approve" if approve else "deny")


def errands(chance: random.Random, number: int, odd_card: str) -> list[Errand]:
    """Return a shopper's errands: all formats, one odd card among good ones, some second thoughts."""
    found = []
    for _ in range(number):
        merchant, items = chance.choice(_ITEMS)
        found.append(
            Errand(
                merchant,
                items,
                card=odd_card if chance.random() < 0.4 else "visa",
                cancel_after_s=chance.choice((0.0, 0.02, 0.1, 0.3)) if chance.random() < 0.15 else None,
                approve=chance.random() < 0.7,
                give_back=chance.random() < 0.15,
            )
        )
    return found
