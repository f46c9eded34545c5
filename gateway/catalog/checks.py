"""Rules that connect several fields, files or products.

The checks walk the plain documents and pass over values of the wrong shape: those are reported by
`shape_problems`, and one round shows a merchant the mistakes of both kinds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from gateway.catalog.contracts import contract_problems, declared_contracts, own_token_problems
from gateway.catalog.files import SourceDocument
from gateway.catalog.model import Delivery, EditionKind, Format, Merchant, PartKind
from gateway.catalog.problems import FieldPath, Problem, explain
from gateway.catalog.taxes import CATEGORIES
from gateway.catalog.walking import at as _at
from gateway.catalog.walking import entries as _entries
from gateway.catalog.walking import keys as _keys
from gateway.catalog.walking import repeated as _repeated
from gateway.kernel.currencies import EXPONENTS
from gateway.kernel.documents import encode
from gateway.kernel.errors import InvalidError
from gateway.kernel.money import MAX_AMOUNT_MINOR, Money
from wallets.minting.own_calls import CallDescription

MAX_PRODUCT_BYTES = 42 * 1024
"""Longest product as `wire_bytes` counts it: together with its placements it fits in one page."""


@dataclass(frozen=True, slots=True)
class MerchantFacts:
    """What products are checked against."""

    currencies: Collection[str]
    location_codes: Collection[str]
    contracts: Mapping[str, CallDescription | None]

    @classmethod
    def of(cls, merchant: Merchant) -> MerchantFacts:
        codes = [location.code for location in merchant.locations]
        return cls(merchant.currencies, codes, merchant.contracts)

    @classmethod
    def declared(cls, document: Any) -> MerchantFacts:
        """Take from ``merchant.yaml`` what is well-formed of it."""
        currencies = _entries(document, ("merchant", "currencies"))
        locations = _entries(document, ("merchant", "locations"))
        return cls(
            [code for _, code in currencies if isinstance(code, str)],
            [code for path, _ in locations if isinstance(code := _at(document, (*path, "code")), str)],
            declared_contracts(document),
        )


LARGE_SERIES = 10_000
"""More copies than this are warned of. The law names no number; this one is ours."""


def shape_problems(source: SourceDocument, shape: type[BaseModel]) -> list[Problem]:
    """Return what the declaration says about types, missing and unknown fields."""
    try:
        shape.model_validate(source.document)
    except ValidationError as error:
        return [source.problem(*explain(details, shape)) for details in error.errors()]
    return []


def merchant_problems(source: SourceDocument) -> list[Problem]:
    """Check ``merchant.yaml`` in itself: currencies, shipping, and codes that must differ."""
    document = source.document
    top: FieldPath = ("merchant",)
    currencies = MerchantFacts.declared(document).currencies
    found = _repeated(source, [(path, code) for path, code in _entries(document, (*top, "currencies"))])
    category = _at(document, (*top, "tax", "shipping_category"))
    if isinstance(category, str):
        found += _category(source, (*top, "tax", "shipping_category"), category, PartKind.PHYSICAL)
    for rate, _ in _entries(document, (*top, "shipping")):
        for amounts in ("prices", "free_from"):
            found += _price_problems(source, (*rate, amounts), currencies, free=amounts == "prices")
        for currency in _keys(document, (*rate, "free_from")):
            if currency not in _keys(document, (*rate, "prices")):
                found.append(
                    source.problem((*rate, "free_from", currency), "has no shipping price beside it")
                )
        days = _at(document, (*rate, "days"))
        if _numbers(days, 2) and days[0] > days[1]:
            found.append(source.problem((*rate, "days"), "the first number is the smaller one"))
    for limits in _PAYMENT_AMOUNTS:
        found += _price_problems(source, (*top, "payments", *limits), currencies, free=False)
    found += contract_problems(source)
    for name in ("locations", "places"):
        codes = [
            ((*path, "code"), _at(document, (*path, "code"))) for path, _ in _entries(document, (*top, name))
        ]
        found += _repeated(source, codes)
    for path, _ in _placements(document):
        if _at(document, (*path, "rotation")) is not None and _at(document, (*path, "yaw_deg")) is not None:
            found.append(source.problem(path, "give rotation or yaw_deg, not both"))
        rotation = _at(document, (*path, "rotation"))
        if _numbers(rotation, 4) and sum(value * value for value in rotation) < 1e-6:
            found.append(source.problem((*path, "rotation"), "is no rotation: all zero"))
    return found


def placement_problems(source: SourceDocument, skus: Collection[str]) -> list[Problem]:
    """Check that what is placed is on sale."""
    return [
        source.problem((*path, "sku"), f"{sku} is not an article of this merchant")
        for path, _ in _placements(source.document)
        if isinstance(sku := _at(source.document, (*path, "sku")), str) and sku not in skus
    ]


def product_problems(source: SourceDocument, top: FieldPath, facts: MerchantFacts) -> list[Problem]:
    """Check one product. ``top`` is where it begins in its document."""
    document = source.document
    found: list[Problem] = []
    for kind in PartKind:
        category = _at(document, (*top, "tax", kind.value))
        if isinstance(category, str):
            found += _category(source, (*top, "tax", kind.value), category, kind)
    for path, _ in variants_of(document, top):
        found += _offers(source, top, path, facts)
        found += _edition(source, (*path, "digital", "edition"))
        found += own_token_problems(source, (*path, "digital"), facts.contracts)
        for code in _keys(document, (*path, "physical", "stock")):
            if code not in facts.location_codes:
                found.append(
                    source.problem((*path, "physical", "stock", code), "is no location of this merchant")
                )
    try:
        size = wire_bytes(document, top)
    except ValueError:
        size = 0  # text that is no Unicode; its shape is reported
    if size > MAX_PRODUCT_BYTES:
        found.append(source.problem(top, f"has {size} bytes in a message; {MAX_PRODUCT_BYTES} are the most"))
    return found


def wire_bytes(document: Any, top: FieldPath) -> int:
    """Return at least the bytes of the product in a message, which must stay under 64 KiB.

    A message adds ids and model addresses to each variant, repeats the product's title where a variant
    has none, and writes a price as an object.
    """
    title = len(encode(_at(document, (*top, "title"))).encode())
    size = len(encode(_at(document, top)).encode()) + 300
    for path, _ in variants_of(document, top):
        prices = sum(len(_keys(document, (*path, "offers", name, "prices"))) for name in Format)
        size += 1_000 + title + 40 * prices
    return size


def repeated_names(products: list[tuple[SourceDocument, FieldPath]]) -> list[Problem]:
    """Check that handles and SKUs differ within a merchant, also between files."""
    found: list[Problem] = []
    handles: dict[str, str] = {}
    skus: dict[str, str] = {}
    for source, top in products:
        for path, seen in [
            ((*top, "handle"), handles),
            *(((*variant, "sku"), skus) for variant, _ in variants_of(source.document, top)),
        ]:
            name = _at(source.document, path)
            if not isinstance(name, str):
                continue
            if name in seen:
                found.append(
                    source.problem(path, f"{name} is used already in {seen[name] or 'this product'}")
                )
            seen.setdefault(name, source.file)
    return found


def variants_of(document: Any, top: FieldPath) -> list[tuple[FieldPath, dict[str, Any]]]:
    """Return the variants that are mappings, with their paths."""
    return [
        (path, entry) for path, entry in _entries(document, (*top, "variants")) if isinstance(entry, dict)
    ]


def _offers(
    source: SourceDocument, top: FieldPath, path: FieldPath, facts: MerchantFacts
) -> Iterator[Problem]:
    document = source.document
    offered = [name for name in _keys(document, (*path, "offers")) if name in set(Format)]
    if isinstance(_at(document, (*path, "offers")), dict) and not offered:
        yield source.problem((*path, "offers"), "names no format; give digital, physical or bundle")
    for name in offered:
        here = (*path, "offers", name)
        for kind in Format(name).kinds:
            if _at(document, (*path, kind.value)) is None:
                yield source.problem(here, f"needs the {kind.value} part, which this variant does not have")
            if _at(document, (*top, "tax", kind.value)) is None:
                yield source.problem(here, f"needs a {kind.value} tax category under tax")
        yield from _price_problems(source, (*here, "prices"), facts.currencies, free=False)


def _edition(source: SourceDocument, path: FieldPath) -> Iterator[Problem]:
    kind, cap = _at(source.document, (*path, "kind")), _at(source.document, (*path, "cap"))
    if kind in (EditionKind.CAPPED, EditionKind.NUMBERED) and cap is None:
        yield source.problem(path, f"a {kind} edition needs a cap")
    if kind in (None, EditionKind.OPEN) and cap is not None:
        yield source.problem((*path, "cap"), "an open edition has no cap")


_PAYMENT_AMOUNTS: tuple[FieldPath, ...] = (
    ("pay_at_delivery",),
    ("cash_at_pickup",),
    ("refund_elsewhere",),
    ("payout", "most"),
    ("payout", "per_day"),
)


def series_warnings(source: SourceDocument, top: FieldPath) -> list[Problem]:
    """Return a warning for every token of which there may be so many that it is hardly unique.

    Regulation (EU) 2023/1114 leaves out crypto-assets that are unique and not fungible with others (Art.
    2(3)); a number for each copy does not prove that, and a large series speaks against it (recital 11).
    """
    found: list[Problem] = []
    for path, variant in variants_of(source.document, top):
        digital = variant.get("digital")
        if not isinstance(digital, dict) or digital.get("delivery") != Delivery.TOKEN:
            continue
        edition = digital.get("edition")
        cap = edition.get("cap") if isinstance(edition, dict) else None
        if isinstance(cap, int) and cap <= LARGE_SERIES:
            continue
        found.append(
            source.problem(
                (*path, "digital", "edition"),
                "so many equal tokens may be fungible, and then MiCA applies to them (Art. 2(3)): "
                "deliver an entitlement, or take advice",
            )
        )
    return found


def _price_problems(
    source: SourceDocument, path: FieldPath, currencies: Collection[str], *, free: bool
) -> Iterator[Problem]:
    """Check amounts. ``free`` says whether nothing may be asked for."""
    for currency in _keys(source.document, path):
        here = (*path, currency)
        if currency not in EXPONENTS:
            continue
        if currency not in currencies:
            yield source.problem(here, "is not a currency of this merchant")
        text = _at(source.document, here)
        if not isinstance(text, str):
            continue
        try:
            amount = Money.parse(text, currency)
        except InvalidError as error:
            yield source.problem(here, error.message)
            continue
        if amount.amount_minor > MAX_AMOUNT_MINOR // 1_000_000:
            # Leaves room for quantities and for the sums of reports.
            yield source.problem(here, "is too large")
        if not amount and not free:
            yield source.problem(here, "must be above zero")


def _category(source: SourceDocument, path: FieldPath, category: str, kind: PartKind) -> list[Problem]:
    if category not in CATEGORIES:
        return [
            source.problem(path, f"{category[:32]} is not a tax category; there are {', '.join(CATEGORIES)}")
        ]
    if kind not in CATEGORIES[category]:
        return [source.problem(path, f"{category} is not for {kind.value} parts")]
    return []


def _placements(document: Any) -> Iterator[tuple[FieldPath, Any]]:
    for place, _ in _entries(document, ("merchant", "places")):
        yield from _entries(document, (*place, "placements"))


def _numbers(value: Any, count: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == count
        and all(type(entry) in (int, float) for entry in value)
    )
