"""Merchants, products and places as documents for the wire: plain dicts, money as integers.

Texts are maps of locale to text; ``und`` stands for a text without a locale. Pages are bounded in bytes,
because a message must stay under 64 KiB.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gateway.catalog.model import (
    Asset,
    DigitalPart,
    Merchant,
    PhysicalPart,
    Place,
    Placement,
    Product,
    Variant,
    picture_path,
)
from gateway.catalog.snapshot import CatalogSnapshot
from gateway.catalog.token_documents import shown_picture
from gateway.kernel.documents import encode
from gateway.kernel.errors import InvalidError
from gateway.kernel.money import Money

PAGE_BYTES = 56 * 1024
"""Most bytes of a page's products as JSON; the envelope around them has the rest of the 64 KiB."""
PAGE_LIMIT = 100


def money_document(money: Money) -> dict[str, Any]:
    return {"amount_minor": money.amount_minor, "currency": money.currency}


def merchant_document(merchant: Merchant) -> dict[str, Any]:
    """What anybody may know of a merchant."""
    return {
        "merchant_id": merchant.merchant_id,
        "slug": merchant.slug,
        "name": merchant.name,
        "country": merchant.country,
        "currencies": list(merchant.currencies),
        "ships_to": sorted({country for rate in merchant.shipping for country in rate.countries}),
    }


def place_document(place: Place) -> dict[str, Any]:
    """A place with everything placed in it."""
    return {
        "place_id": place.place_id,
        "merchant_id": place.merchant_id,
        "code": place.code,
        "kind": place.kind.value,
        "name": dict(place.name),
        "geo_fence": (
            None
            if place.geo_fence is None
            else {
                "latitude": place.geo_fence.latitude,
                "longitude": place.geo_fence.longitude,
                "radius_m": place.geo_fence.radius_m,
            }
        ),
        "placements": [_placement(placement) for placement in place.placements],
    }


def product_document(
    snapshot: CatalogSnapshot, product: Product, place: Place | None = None
) -> dict[str, Any]:
    """A product with its variants on sale. With a place, also where they stand in it."""
    variants = [variant for variant in product.variants if variant.active]
    skus = {variant.sku for variant in variants}
    return {
        "product_id": product.product_id,
        "merchant_id": product.merchant_id,
        "handle": product.handle,
        "title": dict(product.title),
        "description": dict(product.description),
        "failure_policy": product.failure_policy.value,
        "variants": [_variant(snapshot, variant) for variant in variants],
        "placements": (
            [] if place is None else [_placement(its) for its in place.placements if its.sku in skus]
        ),
    }


def page(
    snapshot: CatalogSnapshot,
    *,
    merchant: str | None = None,
    place: str | None = None,
    after: str | None = None,
    limit: int = 20,
    max_bytes: int = PAGE_BYTES,
) -> tuple[list[dict[str, Any]], str | None]:
    """Return product documents and the cursor of the next page, None on the last.

    ``merchant`` and ``place`` are ids that narrow the list; ``after`` is the cursor of the page before. A
    page ends after ``limit`` products or before it grows beyond ``max_bytes`` of JSON, but always has one
    product if there is one. Raises NotFoundError for an unknown merchant or place, InvalidError
    ``page.limit`` outside of 1 to 100.
    """
    if not 1 <= limit <= PAGE_LIMIT:
        raise InvalidError("page.limit", f"A page has 1 to {PAGE_LIMIT} entries.", param="$.limit")
    its_place = None if place is None else snapshot.place(place)
    of_merchant = None if merchant is None else snapshot.merchant(merchant).merchant_id
    items: list[dict[str, Any]] = []
    total = 0
    for product in _on_sale(snapshot.products.values(), its_place):
        if after is not None and product.product_id <= after:
            continue
        if of_merchant is not None and product.merchant_id != of_merchant:
            continue
        if len(items) == limit:
            return items, items[-1]["product_id"]
        document = product_document(snapshot, product, its_place)
        total += len(encode(document).encode()) + 1
        if items and total > max_bytes:
            return items, items[-1]["product_id"]
        items.append(document)
    return items, None


def _on_sale(products: Iterable[Product], place: Place | None) -> Iterable[Product]:
    placed = None if place is None else {placement.sku for placement in place.placements}
    for product in products:
        if place is not None and product.merchant_id != place.merchant_id:
            continue
        if any(variant.active and (placed is None or variant.sku in placed) for variant in product.variants):
            yield product


def _variant(snapshot: CatalogSnapshot, variant: Variant) -> dict[str, Any]:
    shown = None if variant.asset_id is None else snapshot.asset(variant.asset_id)
    return {
        "variant_id": variant.variant_id,
        "sku": variant.sku,
        "title": dict(variant.title),
        "options": dict(variant.options),
        "model": None if shown is None else _model(shown),
        "picture_url": picture_path(shown_picture(variant.picture_id, shown)),
        "offers": [
            {
                "format": offer.format.value,
                "prices": [money_document(price) for price in offer.prices.values()],
                "parts": [part.kind.value for part in offer.parts],
            }
            for offer in variant.offers.values()
        ],
        "digital": None if variant.digital is None else _digital(snapshot, variant.digital),
        "physical": None if variant.physical is None else _physical(variant.physical),
    }


def _model(asset: Asset) -> dict[str, Any]:
    return {
        "asset_id": asset.asset_id,
        "url": asset.url,
        "media_type": asset.media_type,
        "bytes": asset.bytes,
        "size_m": list(asset.extents_m),
        "triangles": asset.triangles,
    }


def _digital(snapshot: CatalogSnapshot, part: DigitalPart) -> dict[str, Any]:
    return {
        "delivery": part.delivery.value,
        "asset_id": part.asset_id,
        "asset_url": None if part.asset_id is None else snapshot.asset(part.asset_id).url,
        "edition": {"kind": part.edition.value, "cap": part.cap},
        "royalty_bps": part.royalty_bps,
        "license": part.license,
        # As text: engines keep numbers as doubles, and a token id may be larger than those count exactly.
        "token_number": None if part.token_number is None else str(part.token_number),
    }


def _physical(part: PhysicalPart) -> dict[str, Any]:
    return {"weight_g": part.weight_g, "size_mm": list(part.size_mm)}


def _placement(placement: Placement) -> Mapping[str, Any]:
    return {
        "sku": placement.sku,
        "position_m": list(placement.position_m),
        "rotation": list(placement.rotation),
        "scale": placement.scale,
    }
