"""Standing allowances of the stories: granted at the vault, named to pay with."""

from __future__ import annotations

import json
import time
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey

from gateway.identity.device_proof import TYPE
from gateway.kernel.clock import SystemClock
from gateway.kernel.ids import TimeSortedIds
from gateway.kernel.money import Money
from gateway.kernel.subjects import PaymentMethodId
from samples.headset.client import Document, Headset
from tests.support.buying import order_body, quote
from tests.support.gateway import Customer, OpenGateway, Shop
from tests.support.seed import ATELIER
from wallets.vault.port import AllowanceId, AllowanceReason, AllowanceTerms, Vault

HOUR_MS = 3_600_000
_ids = TimeSortedIds(SystemClock())


def eur(amount_minor: int) -> Money:
    return Money(amount_minor, "EUR")


async def merchant_id(shop: Shop, slug: str = ATELIER) -> str:
    if isinstance(shop, OpenGateway):
        return str(shop.gateway.context.catalog.current.merchant_by_slug(slug).merchant_id)
    rows = shop.evidence.rows("SELECT merchant_id FROM merchant WHERE slug = ?", slug)
    return str(rows[0]["merchant_id"])


async def grant(
    shop: Shop, vault: Vault, customer: Customer, *, card: str = "visa", merchant: str = ATELIER, **terms: Any
) -> str:
    """Have the customer allow purchases with a stored card; 100 EUR within an hour unless told otherwise."""
    given: dict[str, Any] = {
        "order_id": None,
        "channel": frozenset({"ar", "metaverse"}),
        "place_id": None,
        "device_id": None,
        "reason": AllowanceReason.RECURRING,
        "max_amount": eur(10_000),
        "max_uses": 100,
        "expires_at_ms": SystemClock().now_ms() + HOUR_MS,
        **terms,
    }
    allowance_id = _ids.new(AllowanceId)
    await vault.grant(
        AllowanceTerms(
            allowance_id=allowance_id,
            payment_method_id=PaymentMethodId(customer.methods[card]),
            customer_id=customer.customer_id,
            merchant_id=await merchant_id(shop, merchant),
            **given,
        )
    )
    return str(allowance_id)


def with_allowance(quoted: Document, allowance_id: str, proof: str | None = None) -> Document:
    """Return the body of ``order.place`` for a quote that an allowance pays."""
    body = order_body(quoted, "")
    del body["payment_method_id"]
    return {**body, "payment": allowance_choice(allowance_id, proof)}


def allowance_choice(allowance_id: str, proof: str | None = None) -> Document:
    choice = {"kind": "allowance", "allowance_id": allowance_id}
    return choice if proof is None else {**choice, "device_proof": proof}


async def buy_within(
    headset: Headset, allowance_id: str, *items: str, merchant: str = ATELIER, key: str | None = None
) -> str:
    """Quote and place with an allowance; returns the order's id."""
    quoted = await quote(headset, *items, merchant=merchant)
    placed = await headset.command("order.place", with_allowance(quoted, allowance_id), key=key)
    return str(placed["order_id"])


def proof_by(key: ECKey, allowance_id: str, subject: str, *, age_s: int = 0) -> str:
    """Return what a device says to show that it holds a key."""
    header = {"typ": TYPE, "alg": "ES256", "jwk": key.as_dict(private=False)}
    claims = {"allowance_id": allowance_id, "sub": subject, "iat": int(time.time()) - age_s}
    return jws.serialize_compact(header, json.dumps(claims), key, algorithms=["ES256"])
