"""Pricing: from catalog offers to lines, legs, tax and shipping that sum exactly. No I/O.

Consumer prices include tax. Tax is taken per rate on the summed base, rounded half up (EN 16931 style), and
shared out to legs by largest remainder, so lines may show it differently but totals never do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.catalog.model import (
    Delivery,
    EditionKind,
    Format,
    Merchant,
    PartKind,
    ShippingRate,
    VariantOffer,
)
from gateway.catalog.taxes import TaxTable
from gateway.kernel.errors import ConflictError
from gateway.kernel.money import Money, allocate
from gateway.orders.model import LegKind
from gateway.orders.withdrawal import consents_needed


@dataclass(slots=True)
class PlannedLeg:
    """A leg as it will be placed. Amounts are in minor units of the plan's currency, tax included."""

    line: int
    kind: str
    sku: str
    quantity: int
    amount_minor: int
    tax_country: str
    tax_category: str
    tax_rate_bps: int
    tax_source: str
    tax_minor: int = 0
    pool_id: str | None = None
    location_code: str | None = None
    item_number: int | None = None
    numbered: bool = False


@dataclass(slots=True)
class PlannedLine:
    sku: str
    title: str
    format: str
    quantity: int
    unit_price_minor: int
    total_minor: int
    failure_policy: str


@dataclass(slots=True)
class Plan:
    """Everything an order needs; kept as JSON with the quote."""

    merchant_id: str
    merchant_slug: str
    channel: str
    place: str | None
    country: str
    currency: str
    lines: list[PlannedLine]
    legs: list[PlannedLeg]
    total_minor: int
    tax_minor: int
    shipping_minor: int
    taxes: list[dict[str, Any]]
    delivery: dict[str, Any] | None
    consents_required: list[str]
    """What the customer has to agree to, or else to wait for."""

    @property
    def ships(self) -> bool:
        return any(leg.kind == LegKind.SHIP for leg in self.legs)

    @property
    def mints(self) -> bool:
        return any(leg.kind == LegKind.MINT for leg in self.legs)

    def document(self) -> dict[str, Any]:
        """Return the plan as plain JSON values."""
        # Not dataclasses.asdict: its deep copy costs ten times as much, and this is on the hot path.
        return {
            **_fields(self),
            "lines": [_fields(line) for line in self.lines],
            "legs": [_fields(leg) for leg in self.legs],
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Plan:
        """Return the plan of a stored quote."""
        fields = dict(document)
        fields["lines"] = [PlannedLine(**line) for line in document["lines"]]
        fields["legs"] = [PlannedLeg(**leg) for leg in document["legs"]]
        return cls(**fields)


def _fields(value: Plan | PlannedLine | PlannedLeg) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}


@dataclass(frozen=True, slots=True)
class Wanted:
    """An offer and how many of it."""

    offer: VariantOffer
    quantity: int
    location_code: str | None
    """Where the goods come from; None without a physical part."""


def make_plan(
    *,
    merchant: Merchant,
    wanted: Sequence[Wanted],
    currency: str,
    country: str,
    channel: str,
    place: str | None,
    at_ms: int,
    taxes: TaxTable,
    stock_pool: Callable[[str, str], str],
    edition_pool: Callable[[str], str],
    mint: bool,
) -> Plan:
    """Price what is wanted.

    Raises ConflictError ``price.not_offered``, ``shipping.not_offered`` or ``minting.off``, InvalidError
    ``tax.rate_unknown``.
    """
    lines: list[PlannedLine] = []
    legs: list[PlannedLeg] = []
    for index, item in enumerate(wanted):
        price = item.offer.price(currency)
        if price is None:
            raise ConflictError(
                "price.not_offered",
                f"{item.offer.sku} has no price in {currency}.",
                data={"sku": item.offer.sku, "currencies": sorted(item.offer.prices)},
            )
        total = price * item.quantity
        lines.append(
            PlannedLine(
                item.offer.sku,
                title_of(item.offer),
                item.offer.format.value,
                item.quantity,
                price.amount_minor,
                total.amount_minor,
                item.offer.failure_policy.value,
            )
        )
        legs += _legs(index, item, total, merchant, country, at_ms, taxes, stock_pool, edition_pool, mint)
    shipping, rate = _shipping(merchant, lines, legs, currency, country)
    tax_lines = _share_tax(legs, currency)
    plan = Plan(
        merchant_id=merchant.merchant_id,
        merchant_slug=merchant.slug,
        channel=channel,
        place=place,
        country=country,
        currency=currency,
        lines=lines,
        legs=legs,
        total_minor=sum(leg.amount_minor for leg in legs),
        tax_minor=sum(leg.tax_minor for leg in legs),
        shipping_minor=shipping,
        taxes=tax_lines,
        delivery=None
        if rate is None
        else {
            "location": next(leg.location_code for leg in legs if leg.kind == LegKind.SHIP),
            "days_min": rate.days_min,
            "days_max": rate.days_max,
        },
        consents_required=consents_needed(
            country, digital=any(leg.kind in (LegKind.MINT, LegKind.ENTITLE) for leg in legs)
        ),
    )
    assert plan.total_minor == sum(line.total_minor for line in lines) + shipping
    return plan


def _legs(
    index: int,
    item: Wanted,
    total: Money,
    merchant: Merchant,
    country: str,
    at_ms: int,
    taxes: TaxTable,
    stock_pool: Callable[[str, str], str],
    edition_pool: Callable[[str], str],
    mint: bool,
) -> list[PlannedLeg]:
    """Split a line into legs: one per part, and one per copy that is a token of its own."""
    offer = item.offer
    legs: list[PlannedLeg] = []
    for part, share in zip(offer.parts, total.allocate([part.weight for part in offer.parts]), strict=True):
        taxed_in = merchant.tax.taxed_in(merchant.country, country)
        rate = taxes.rate(taxed_in, part.tax_category, at_ms)
        leg = PlannedLeg(
            line=index,
            kind=LegKind.SHIP.value,
            sku=offer.sku,
            quantity=item.quantity,
            amount_minor=share.amount_minor,
            tax_country=taxed_in,
            tax_category=part.tax_category,
            tax_rate_bps=rate.basis_points,
            tax_source=rate.source,
        )
        if part.kind is PartKind.PHYSICAL:
            assert item.location_code is not None
            leg.location_code = item.location_code
            leg.pool_id = stock_pool(offer.sku, item.location_code)
            legs.append(leg)
            continue
        digital = offer.digital
        assert digital is not None
        if digital.limited or digital.edition is EditionKind.NUMBERED:
            leg.pool_id = edition_pool(offer.sku)
        if digital.delivery is Delivery.ENTITLEMENT:
            leg.kind = LegKind.ENTITLE.value
            legs.append(leg)
            continue
        if not mint:
            raise ConflictError("minting.off", "This gateway does not mint digital items.")
        leg.kind = LegKind.MINT.value
        leg.item_number = digital.token_number
        numbered = digital.edition is EditionKind.NUMBERED
        if not numbered and not digital.single:
            legs.append(leg)
            continue
        # Every such copy has a leg, a hold and a capture of its own.
        for copy_share in share.allocate([1] * item.quantity):
            legs.append(
                PlannedLeg(
                    **{
                        **_fields(leg),
                        "quantity": 1,
                        "amount_minor": copy_share.amount_minor,
                        "numbered": numbered,
                    }
                )
            )
    return legs


def _shipping(
    merchant: Merchant, lines: list[PlannedLine], legs: list[PlannedLeg], currency: str, country: str
) -> tuple[int, ShippingRate | None]:
    """Return the shipping price, shared out to the ship legs in proportion to their amounts."""
    shipped = [leg for leg in legs if leg.kind == LegKind.SHIP]
    if not shipped:
        return 0, None
    rate = merchant.shipping_rate(country)
    price = None if rate is None else rate.price(currency)
    if rate is None or price is None:
        raise ConflictError(
            "shipping.not_offered",
            f"{merchant.name} does not ship to {country} for {currency}.",
            data={"country": country, "currency": currency},
        )
    goods = sum(line.total_minor for line in lines if line.format != Format.DIGITAL)
    free_from = rate.free_from.get(currency)
    amount = 0 if free_from is not None and goods >= free_from.amount_minor else price.amount_minor
    if amount:
        weights = [leg.amount_minor for leg in shipped]
        for leg, share in zip(
            shipped, allocate(amount, weights if any(weights) else [1] * len(shipped)), strict=True
        ):
            leg.amount_minor += share
    return amount, rate


def _share_tax(legs: list[PlannedLeg], currency: str) -> list[dict[str, Any]]:
    """Take the tax per country and rate on the sum, and share it out to the legs."""
    groups: dict[tuple[str, int], list[PlannedLeg]] = {}
    for leg in legs:
        groups.setdefault((leg.tax_country, leg.tax_rate_bps), []).append(leg)
    documents: list[dict[str, Any]] = []
    for (country, basis_points), members in sorted(groups.items()):
        gross = sum(leg.amount_minor for leg in members)
        tax = tax_included(gross, basis_points)
        if tax:
            for leg, share in zip(members, allocate(tax, [leg.amount_minor for leg in members]), strict=True):
                leg.tax_minor = share
        documents.append(
            {
                "country": country,
                "rate_bps": basis_points,
                "gross": {"amount_minor": gross, "currency": currency},
                "tax": {"amount_minor": tax, "currency": currency},
            }
        )
    return documents


def title_of(offer: VariantOffer) -> str:
    """Return the English title, or the merchant's first; documents for people carry all of them."""
    return offer.title.get("en") or next(iter(offer.title.values()))


def tax_included(gross_minor: int, basis_points: int) -> int:
    """Return the tax inside a gross amount, halves rounded up."""
    # gross * rate / (1 + rate), as integers: round half up of a / b is (2a + b) // 2b.
    numerator, denominator = gross_minor * basis_points, 10_000 + basis_points
    return (2 * numerator + denominator) // (2 * denominator)
