"""Ways to pay that are left when one did not work: what the customer has, and what the merchant offers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from gateway.catalog.loading import payment_policy_of
from gateway.catalog.model import PaymentPolicy
from gateway.kernel.money import Money
from gateway.orders.model import LegKind
from gateway.orders.purchase import Purchase, wire_money
from gateway.payments import intents
from gateway.payments.methods import methods_of
from wallets.vault.port import MethodKind

STORED_METHOD = "stored_method"
ALLOWANCE = "allowance"
"""A standing or delegated allowance, named by its id; never offered by us, its holder knows it."""
PAY_LINK = "pay_link"
PAY_AT_DELIVERY = "pay_at_delivery"
CASH_AT_PICKUP = "cash_at_pickup"
PROMISES = frozenset({PAY_AT_DELIVERY, CASH_AT_PICKUP})
"""Nothing is held; staff collect the money."""

_NOT_AGAIN = frozenset({MethodKind.CASH.value, MethodKind.APPLE_PAY.value, MethodKind.GOOGLE_PAY.value})
"""Kinds that are no stored method to choose: a promise, and wallets' payloads, which pay once."""
_WHERE_COLLECTED: Mapping[str, frozenset[str]] = {
    PAY_AT_DELIVERY: frozenset({LegKind.SHIP.value}),
    CASH_AT_PICKUP: frozenset({"pickup"}),
}


def offered(policy: PaymentPolicy, kind: str, total: Money, legs: Collection[str]) -> bool:
    """Whether a merchant takes an order of these kinds of leg in this way, up to this amount."""
    if kind == PAY_LINK:
        return policy.pay_link
    limits = policy.pay_at_delivery if kind == PAY_AT_DELIVERY else policy.cash_at_pickup
    most = limits.get(total.currency)
    # What is not handed over by a person is not paid for in their hands.
    return most is not None and total <= most and set(legs) == _WHERE_COLLECTED[kind]


def alternatives(purchase: Purchase, amount: Money) -> list[dict[str, Any]]:
    """Return what would work for this order now, the customer's stored methods first."""
    policy = payment_policy_of(purchase.uow, purchase.merchant_id)
    legs = [leg.kind.value for leg in purchase.legs]
    return [
        *_stored(purchase),
        *(
            _document(policy, kind, amount)
            for kind in (PAY_LINK, PAY_AT_DELIVERY, CASH_AT_PICKUP)
            if offered(policy, kind, amount, legs)
        ),
    ]


def _stored(purchase: Purchase) -> Iterable[dict[str, Any]]:
    """The customer's other methods: not those that were tried for this order, nor those that pay once."""
    attempts = intents.attempts_of(purchase.uow, purchase.order_id)
    tried = {attempt.payment_method_id for attempt in attempts}
    for method in methods_of(purchase.uow, purchase.customer_id):
        known = method.payment_method_id in tried or method.kind in _NOT_AGAIN
        if not known and not _has_run_out(method, purchase.uow.now_ms):
            yield {
                "kind": STORED_METHOD,
                "payment_method_id": method.payment_method_id,
                "brand": method.brand,
                "last4": method.last4,
            }


def _has_run_out(method: Any, now_ms: int) -> bool:
    today = datetime.fromtimestamp(now_ms / 1000, UTC)
    # A card is good to the end of its month.
    return bool(method.expiry_year) and (method.expiry_year, method.expiry_month) < (today.year, today.month)


def _document(policy: PaymentPolicy, kind: str, amount: Money) -> dict[str, Any]:
    document: dict[str, Any] = {"kind": kind, "amount": wire_money(amount)}
    if kind == PAY_LINK:
        document["valid_hours"] = policy.pay_link_hours
    return document
