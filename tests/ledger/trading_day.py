"""A random day of orders in the books, posted by the functions that real orders are posted by."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from gateway.catalog.model import FailurePolicy
from gateway.kernel.clock import ManualClock
from gateway.kernel.money import Money
from gateway.kernel.store.unit import Store, UnitOfWork
from gateway.ledger import accounts
from gateway.ledger.entries import move
from gateway.ledger.exchange import exchanged
from gateway.ledger.posting import post
from gateway.ledger.recording import record, reverse
from gateway.orders import books
from gateway.orders.model import LegKind, LegState
from gateway.orders.purchase import Leg

MERCHANT = "mer_1"
_TAXES = (("DE", 1900, "goods_standard"), ("DE", 700, "books"), ("FR", 2000, "digital_standard"))
_PER_UNIT = 100


@dataclass
class Order:
    """What the posting functions need of a purchase."""

    uow: UnitOfWork
    order_id: str
    currency: str
    merchant_id: str = MERCHANT
    customer_id: str = "cus_1"

    def leg(self, chance: random.Random, number: int) -> Leg:
        country, rate, category = chance.choice(_TAXES)
        gross = chance.randint(1, 50_000)
        fields: dict[str, Any] = {
            "leg_id": f"leg_{number}",
            "position": number,
            "line": number,
            "kind": LegKind.SHIP,
            "state": LegState.SECURED,
            "sku": "LAMP",
            "title": "Lamp",
            "quantity": 1,
            "currency": self.currency,
            "amount_minor": gross,
            "tax_minor": gross * rate // (10_000 + rate),
            "tax_country": country,
            "tax_category": category,
            "tax_rate_bps": rate,
            "hold_id": None,
            "location_code": "BERLIN",
            "item_number": 1,
            "numbered": False,
            "capture_operation_id": None,
            "policy": FailurePolicy.EITHER,
        }
        return Leg(**fields)


def live(order: Any, chance: random.Random, number: int) -> None:
    """One order's life: authorized, delivered leg by leg, and now and then something else."""
    legs = [order.leg(chance, index) for index in range(chance.choice((1, 1, 2, 3)))]
    total = Money(sum(leg.amount_minor for leg in legs), order.currency)
    if chance.random() < 0.06 and order.currency == "EUR":
        change = chance.randint(0, 5000)
        tendered = total + Money(change + 2, "EUR")
        books.post_cash_taken(order, total, tendered, country="NL", drawer="till_1")
        for leg in legs:
            books.post_delivered(order, leg)
        return
    provider, authorization = chance.choice(("simulated", "stripe")), f"op_{number:028x}"
    books.post_authorized(order, total, provider, authorization)
    for leg in legs:
        fate = chance.random()
        if fate < 0.05:
            books.post_delivered_unpaid(order, leg)
            continue
        books.post_captured(order, leg.amount, provider, authorization)
        if fate < 0.1:
            continue
        books.post_delivered(order, leg)
        if fate < 0.15:
            books.post_refunded(order, leg, provider)
        elif fate < 0.17:
            books.post_refund_owed(order, leg)
            books.post_paid_out(order, leg.amount, provider)
    if chance.random() < 0.5:
        books.post_voided(order, total, authorization)
    else:
        books.post_expired(order, authorization)


def _besides(uow: UnitOfWork, chance: random.Random) -> None:
    """What is no order: fees, a payout, vouchers, an exchange, a count, a correction."""
    fee = move("EUR", 123, debit=accounts.card_fees("simulated"), credit=accounts.clearing("simulated"))
    post(uow, "settlement.fee", MERCHANT, None, fee)
    paid = move("EUR", 10_000, debit=accounts.bank("main"), credit=accounts.clearing("simulated"))
    record(uow, "payout.received", MERCHANT, None, paid, effective_at_ms=uow.now_ms)
    sold = move("EUR", 5000, debit=accounts.clearing("stripe"), credit=accounts.VOUCHERS_MULTI_PURPOSE)
    post(uow, "voucher.sold", MERCHANT, None, sold)
    given, received = Money(1000, "USD"), Money(921, "EUR")
    bank = accounts.bank("main")
    post(uow, "fx", MERCHANT, None, exchanged(given, received, out_of=bank, into=bank))
    wrong = record(
        uow, "bank.unexplained", MERCHANT, None, move("EUR", 77, debit=bank, credit=accounts.SUSPENSE)
    )
    reverse(uow, wrong.transaction_id, 'typed "twice"')
    stock = move("sku:LAMP", 5, debit=accounts.stock_available("BERLIN"), credit=accounts.STOCK_OPENING)
    post(uow, "stock.opened", MERCHANT, None, stock)


async def trade(store: Store, clock: ManualClock, orders: int, *, seed: int = 1, first: int = 0) -> None:
    """Post so many random orders; time goes on a little with each unit."""
    chance = random.Random(seed)
    for start in range(first, first + orders, _PER_UNIT):
        state = chance.getstate()

        def unit(uow: UnitOfWork, start: int = start, state: Any = state) -> None:
            chance.setstate(state)
            for number in range(start, min(start + _PER_UNIT, first + orders)):
                currency = chance.choice(("EUR", "EUR", "EUR", "USD", "JPY"))
                live(Order(uow, f"ord_{number:028x}", currency), chance, number)
            _besides(uow, chance)

        await store.write(unit)
        clock.advance(60_000)
