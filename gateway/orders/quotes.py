"""Quotes: a price for a while, and a hold on what is scarce for as long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import bindparam, select, update

from fulfillment import holds, pools
from fulfillment.model import HoldLimits, Want, edition_pool_id, stock_pool_id
from fulfillment.routing import LocationStock, route
from gateway.catalog.model import Merchant, VariantOffer
from gateway.catalog.taxes import TaxTable
from gateway.kernel.clock import rfc3339
from gateway.kernel.documents import decode, encode
from gateway.kernel.errors import NotFoundError
from gateway.kernel.store.statements import Statement, insert_into
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.kernel.subjects import CustomerId, DeviceId, QuoteId
from gateway.orders.idempotency import earlier_result, keep_result
from gateway.orders.plan import Plan, Wanted, make_plan
from gateway.orders.tables import quote

OPERATION = "quote.create"
OPEN, ORDERED = "open", "ordered"

_INSERT = insert_into(quote)
_BY_ID = Statement(select(quote).where(quote.c.quote_id == bindparam("quote_id")))
_TAKE = Statement(
    update(quote).where(quote.c.quote_id == bindparam("its_id"), quote.c.state == OPEN).values(state=ORDERED)
)


@dataclass(frozen=True, slots=True)
class QuoteRequest:
    """What a customer wants priced. Offers were looked up in one catalog snapshot."""

    customer_id: str
    device_id: str | None
    key: str
    request_hash: str
    merchant: Merchant
    offers: Sequence[tuple[VariantOffer, int]]
    currency: str
    country: str
    channel: str
    place: str | None


@dataclass(frozen=True, slots=True)
class QuoteRules:
    """How long a quote lasts and how much one account or device may hold."""

    valid_ms: int = 10 * 60_000
    limits: HoldLimits = field(default_factory=HoldLimits)
    mint: bool = True


@dataclass(frozen=True, slots=True)
class Quote:
    """A quote as it was made: what is offered, and until when it is held."""

    quote_id: str
    plan: Plan
    expires_at_ms: int


def create_quote(uow: UnitOfWork, request: QuoteRequest, taxes: TaxTable, rules: QuoteRules) -> Quote:
    """Price, route and hold; a repeat returns the quote of the first time. One unit of work."""
    earlier = earlier_result(uow, request.customer_id, OPERATION, request.key, request.request_hash)
    if earlier is not None:
        row = find_quote(uow, request.customer_id, earlier["quote_id"])
        return Quote(row.quote_id, Plan.from_document(decode(row.plan)), row.expires_at_ms)
    merchant = request.merchant
    wanted = [
        Wanted(offer, quantity, _location(uow, merchant, offer, quantity, request.country))
        for offer, quantity in request.offers
    ]
    plan = make_plan(
        merchant=merchant,
        wanted=wanted,
        currency=request.currency,
        country=request.country,
        channel=request.channel,
        place=request.place,
        at_ms=uow.now_ms,
        taxes=taxes,
        stock_pool=lambda sku, location: stock_pool_id(merchant.merchant_id, sku, location),
        edition_pool=lambda sku: edition_pool_id(merchant.merchant_id, sku),
        mint=rules.mint,
    )
    quote_id = uow.new_id(QuoteId)
    expires_at_ms = uow.now_ms + rules.valid_ms
    wants = [
        Want(leg.pool_id, leg.quantity, ref=str(position))
        for position, leg in enumerate(plan.legs)
        if leg.pool_id is not None
    ]
    if wants:
        holds.hold(
            uow,
            quote_id=quote_id,
            customer_id=CustomerId(request.customer_id),
            device_id=DeviceId(request.device_id) if request.device_id else None,
            wants=wants,
            expires_at_ms=expires_at_ms,
            limits=rules.limits,
        )
    uow.run(
        _INSERT,
        {
            "quote_id": quote_id,
            "customer_id": request.customer_id,
            "device_id": request.device_id,
            "merchant_id": merchant.merchant_id,
            "state": OPEN,
            "currency": request.currency,
            "total_minor": plan.total_minor,
            "plan": encode(plan.document()),
            "expires_at_ms": expires_at_ms,
            "created_at_ms": uow.now_ms,
        },
    )
    keep_result(
        uow, request.customer_id, OPERATION, request.key, request.request_hash, {"quote_id": quote_id}
    )
    return Quote(quote_id, plan, expires_at_ms)


def find_quote(reader: Reader, customer_id: str, quote_id: str) -> Any:
    """Return the customer's quote row; NotFoundError ``quote.not_found`` otherwise."""
    row = reader.row(_BY_ID, {"quote_id": quote_id})
    if row is None or row.customer_id != customer_id:
        raise NotFoundError("quote.not_found", "There is no such quote.", param="$.body.quote_id")
    return row


def take_quote(uow: UnitOfWork, quote_id: str) -> bool:
    """Mark the quote ordered; False when another order took it at the same moment."""
    return uow.run(_TAKE, {"its_id": quote_id}) == 1


def quote_document(quote: Quote) -> dict[str, Any]:
    """Return the quote as the wire shows it."""
    plan = quote.plan

    def money(amount_minor: int) -> dict[str, Any]:
        return {"amount_minor": amount_minor, "currency": plan.currency}

    document: dict[str, Any] = {
        "quote_id": quote.quote_id,
        "merchant": plan.merchant_slug,
        "lines": [
            {
                "sku": line.sku,
                "title": line.title,
                "format": line.format,
                "quantity": line.quantity,
                "unit_price": money(line.unit_price_minor),
                "total": money(line.total_minor),
            }
            for line in plan.lines
        ],
        "total": money(plan.total_minor),
        "tax": money(plan.tax_minor),
        "shipping": money(plan.shipping_minor),
        "taxes": plan.taxes,
        "consents_required": plan.consents_required,
        "ship_to_required": plan.ships,
        "expires_at": rfc3339(quote.expires_at_ms),
    }
    if plan.delivery is not None:
        document["delivery"] = plan.delivery
    return document


def _location(
    uow: UnitOfWork, merchant: Merchant, offer: VariantOffer, quantity: int, country: str
) -> str | None:
    if offer.physical is None:
        return None
    by_code = {location.code: location for location in merchant.locations}
    levels = [
        LocationStock(
            level.location_code,
            by_code[level.location_code].country,
            by_code[level.location_code].priority,
            level.available,
        )
        for level in pools.stock_levels(uow, merchant_id=merchant.merchant_id, sku=offer.sku)
        if level.location_code in by_code
    ]
    return route(levels, sku=offer.sku, quantity=quantity, destination_country=country).location_code
