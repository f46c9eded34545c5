"""Metadata of minted items (ERC-1155 Metadata URI JSON): what marketplaces and wallets show."""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter

from gateway.catalog.model import Variant
from gateway.catalog.snapshot import CatalogSnapshot
from gateway.http.callers import InContext
from gateway.kernel.errors import NotFoundError
from wallets.minting.model import NUMBERED, SERIAL_BITS

router = APIRouter(tags=["tokens"])
_NAME = re.compile(r"[0-9a-f]{64}")


@router.get("/v1/tokens/{name}.json")
async def token_metadata(context: InContext, name: str) -> Any:
    """What an item is. ``name`` is its id as 64 lower-case hex digits, as EIP-1155 substitutes ``{id}``."""
    if _NAME.fullmatch(name) is None:
        raise NotFoundError("token.not_found", "There is no such digital item.")
    token_id, serial = int(name, 16), None
    if token_id & NUMBERED:
        token_id ^= NUMBERED
        serial = token_id & ((1 << SERIAL_BITS) - 1)
        token_id >>= SERIAL_BITS
    snapshot = context.catalog.current
    variant = _variant(snapshot, token_id)
    digital = variant.digital
    assert digital is not None
    title = variant.title.get("en") or next(iter(variant.title.values()))
    product = snapshot.product(variant.product_id)
    document: dict[str, Any] = {
        "name": title if serial is None else f"{title} #{serial}",
        "description": product.description.get("en") or next(iter(product.description.values()), ""),
        "decimals": 0,
        "properties": {"sku": variant.sku, "edition": digital.edition.value, "license": digital.license},
    }
    if digital.cap is not None:
        document["properties"]["copies"] = digital.cap
    if serial is not None:
        document["properties"]["serial"] = serial
    if digital.asset_id is not None:
        document["animation_url"] = f"{context.process.base_url}{snapshot.asset(digital.asset_id).url}"
    return document


def _variant(snapshot: CatalogSnapshot, item_number: int) -> Variant:
    for product in snapshot.products.values():
        for variant in product.variants:
            if variant.digital is not None and variant.digital.token_number == item_number:
                return variant
    raise NotFoundError("token.not_found", "There is no such digital item.")
