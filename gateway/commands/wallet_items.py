"""A customer's digital items with what they look like: for their devices and for the hosted wallet page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gateway.catalog.model import picture_path
from gateway.catalog.snapshot import CatalogSnapshot
from gateway.catalog.token_documents import in_english, published, shown_picture
from gateway.commands.context import Context
from gateway.commands.token_metadata import TOKENS_PATH
from gateway.kernel.errors import NotFoundError
from gateway.kernel.store.unit import Reader
from gateway.orders.wallet_items import digital_item, digital_items
from wallets.minting.model import token_id_of

Fixed = dict[int, dict[str, Any]]
"""What editions say of themselves for ever, by their number."""


async def list_items(context: Context, customer_id: str, *, after: str | None, limit: int) -> dict[str, Any]:
    """Return a page of the customer's items, newest first, with the address of their account here."""

    def read(reader: Reader) -> tuple[dict[str, Any], Fixed]:
        page = digital_items(reader, customer_id, after=after, limit=limit)
        return page, _fixed(reader, page["items"])

    page, fixed = await context.store.read(read)
    for item in page["items"]:
        _describe(context.catalog.current, item, fixed)
    address = None
    if context.custody is not None and any(item["kind"] == "token" for item in page["items"]):
        address = await context.custody.ensure_account(customer_id)
    return {"address": address, **page}


async def get_item(context: Context, customer_id: str, leg_id: str) -> dict[str, Any]:
    """Return one of the customer's items; NotFoundError ``leg.not_found`` also for anybody else's.

    ``license`` and ``description`` are what was bought.
    """

    def read(reader: Reader) -> tuple[dict[str, Any] | None, Fixed]:
        item = digital_item(reader, customer_id, leg_id)
        return item, {} if item is None else _fixed(reader, [item])

    item, fixed = await context.store.read(read)
    if item is None:
        raise NotFoundError("leg.not_found", "There is no such item.")
    variant = context.catalog.current.variant(item["merchant_id"], item["sku"])
    kept = fixed.get(item.get("item_number") or 0)
    product = context.catalog.current.product(variant.product_id)
    texts = {
        "description": in_english(product.description) if kept is None else kept["description"],
        "license": "" if variant.digital is None else variant.digital.license,
    }
    if kept is not None:
        texts["license"] = kept["license"]
    texts["merchant_name"] = context.catalog.current.merchant(item["merchant_id"]).name
    _describe(context.catalog.current, item, fixed)
    return {**item, **texts}


def _fixed(reader: Reader, items: Iterable[dict[str, Any]]) -> Fixed:
    numbers = {item["item_number"] for item in items if item.get("item_number") is not None}
    found = {number: published(reader, number, None) for number in numbers}
    return {number: its.document for number, its in found.items() if its is not None}


def _describe(snapshot: CatalogSnapshot, item: dict[str, Any], fixed: Fixed) -> None:
    """Add title, edition, pictures and links: as they were sold where that is fixed, else as they are now."""
    variant = snapshot.variant(item.pop("merchant_id"), item["sku"])
    number = item.pop("item_number", None)
    kept = fixed.get(number or 0)
    digital = variant.digital
    if kept is not None:
        item["title"], item["edition"] = kept["name"], kept["edition"]
        item["copies"] = kept.get("copies")
        item["model_url"] = kept["model"]["uri"] if "model" in kept else None
        item["picture_url"] = kept["image"]["uri"] if "image" in kept else None
    else:
        item["title"] = in_english(variant.title)
        item["edition"] = None if digital is None else digital.edition.value
        item["copies"] = None if digital is None else digital.cap
        own = None if digital is None or digital.asset_id is None else snapshot.asset(digital.asset_id)
        item["model_url"] = None if own is None else own.url
        shown = None if variant.asset_id is None else snapshot.asset(variant.asset_id)
        item["picture_url"] = picture_path(shown_picture(variant.picture_id, own, shown))
    own_contract = item.pop("own_contract", False)
    item["metadata_url"] = None if own_contract else _metadata_url(item, number)


def _metadata_url(item: dict[str, Any], number: int | None) -> str | None:
    """Return where we serve the token's metadata: none before it is minted."""
    if number is None or item.get("token_id") != str(token_id_of(number, item["serial"])):
        return None
    return f"{TOKENS_PATH}{int(item['token_id']):064x}.json"
