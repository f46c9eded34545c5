"""What a token says of itself for ever: a document whose address is the hash of its bytes.

An edition's document is fixed when it is first asked for, or before the first change of its product once a
copy was ordered: what somebody bought does not change with the catalog. A numbered copy has the same document
with its number. No document tells of a customer or an order.

The bytes are canonical JSON (RFC 8785): sorted keys, no spaces, raw UTF-8. Models and pictures are named by
their own hash, and by a path relative to where the document is served (RFC 3986, section 5), so that a shop
may move to another address.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select

from gateway.catalog.assets import PNG_MEDIA_TYPE
from gateway.catalog.loading import load_asset
from gateway.catalog.model import NO_LOCALE, Asset, picture_path
from gateway.catalog.tables import merchant, product, token_document, variant
from gateway.kernel.documents import decode
from gateway.kernel.errors import NotFoundError
from gateway.kernel.store.statements import Statement, insert_new
from gateway.kernel.store.unit import Reader, UnitOfWork

FORMAT = "vitrine.token/1"
_EDITION = 0
"""Serial of the row that holds the edition's own document."""

KEEP = insert_new(token_document)
"""Keeps a row of `edition_row` unless the edition is fixed already."""
_OF_COPY = Statement(
    select(token_document.c.sha256, token_document.c.document).where(
        token_document.c.item_number == bindparam("item_number"),
        token_document.c.serial == bindparam("serial"),
    )
)
_AT = Statement(select(token_document.c.document).where(token_document.c.sha256 == bindparam("sha256")))
_SOURCE = Statement(
    select(
        variant.c.sku,
        variant.c.title.label("variant_title"),
        variant.c.options,
        variant.c.asset_id,
        variant.c.digital,
        variant.c.picture_id,
        product.c.title,
        product.c.description,
        merchant.c.slug,
    )
    .select_from(
        variant.join(product, product.c.product_id == variant.c.product_id).join(
            merchant, merchant.c.merchant_id == variant.c.merchant_id
        )
    )
    .where(variant.c.token_number == bindparam("item_number"))
)


@dataclass(frozen=True, slots=True)
class TokenDocument:
    """A document that is kept. ``sha256`` is the hash of its canonical bytes in hex."""

    sha256: str
    document: dict[str, Any]


def canonical(document: Mapping[str, Any]) -> str:
    """Return the document as canonical JSON.

    It holds texts, lists, objects and integers below 2^53; the forms of other numbers are not looked after.
    """
    return json.dumps(_ordered(document), separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _ordered(value: Any) -> Any:
    if isinstance(value, Mapping):
        # By UTF-16 code units: RFC 8785, section 3.2.3.
        return {
            name: _ordered(value[name]) for name in sorted(value, key=lambda key: key.encode("utf-16-be"))
        }
    return [_ordered(entry) for entry in value] if isinstance(value, list) else value


def edition_now(reader: Reader, item_number: int) -> dict[str, Any]:
    """Return the edition's document: the one that is fixed, or else what the catalog says now.

    Raises NotFoundError ``token.not_found``.
    """
    fixed = reader.row(_OF_COPY, {"item_number": item_number, "serial": _EDITION})
    if fixed is not None:
        kept: dict[str, Any] = decode(fixed.document)
        return kept
    row = reader.row(_SOURCE, {"item_number": item_number})
    if row is None or row.digital is None:
        raise token_not_found()
    return _edition(reader, item_number, row)


def publish(uow: UnitOfWork, item_number: int, serial: int | None) -> TokenDocument:
    """Fix the document of an edition, and of one of its copies where they are numbered, and return it.

    Raises NotFoundError ``token.not_found`` for an edition that the catalog does not know.
    """
    _keep(uow, item_number, _EDITION, edition_now(uow, item_number))
    # Another process may have been first, before a change of the product: what is kept counts.
    if serial is not None:
        _keep(uow, item_number, serial, _copy(edition_now(uow, item_number), serial))
    found = published(uow, item_number, serial)
    assert found is not None
    return found


def published(reader: Reader, item_number: int, serial: int | None) -> TokenDocument | None:
    """Return the document that is fixed, or None before it is."""
    row = reader.row(_OF_COPY, {"item_number": item_number, "serial": serial or _EDITION})
    return None if row is None else TokenDocument(row.sha256, decode(row.document))


def document_at(reader: Reader, sha256: str) -> str:
    """Return the bytes at an address, as text. Raises NotFoundError ``document.not_found``."""
    row = reader.row(_AT, {"sha256": sha256})
    if row is None:
        raise NotFoundError("document.not_found", "There is no such document.")
    text: str = row.document
    return text


def edition_row(reader: Reader, item_number: int) -> dict[str, Any] | None:
    """Return the row that fixes an edition as the catalog says it now, for `KEEP`; None if it is fixed."""
    if published(reader, item_number, None) is not None:
        return None
    return _row(reader, item_number, _EDITION, edition_now(reader, item_number))


def token_not_found() -> NotFoundError:
    """The error of a token that is not there, or was not sold yet."""
    return NotFoundError("token.not_found", "There is no such digital item.")


def _keep(uow: UnitOfWork, item_number: int, serial: int, document: dict[str, Any]) -> None:
    uow.run(KEEP, _row(uow, item_number, serial, document))


def _row(reader: Reader, item_number: int, serial: int, document: dict[str, Any]) -> dict[str, Any]:
    text = canonical(document)
    return {
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "item_number": item_number,
        "serial": serial,
        "document": text,
        "published_at_ms": reader.now_ms,
    }


def _copy(edition: dict[str, Any], serial: int) -> dict[str, Any]:
    texts = {locale: {**its, "name": f"{its['name']} #{serial}"} for locale, its in edition["texts"].items()}
    return {**edition, "name": f"{edition['name']} #{serial}", "texts": texts, "copy": serial}


def _edition(reader: Reader, item_number: int, row: Any) -> dict[str, Any]:
    digital = decode(row.digital)
    titles: dict[str, str] = decode(row.variant_title) or decode(row.title)
    descriptions: dict[str, str] = decode(row.description)
    document: dict[str, Any] = {
        "format": FORMAT,
        "item": str(item_number),
        "merchant": row.slug,
        "sku": row.sku,
        "name": in_english(titles),
        "description": in_english(descriptions),
        "texts": {
            locale: {"name": title, "description": descriptions.get(locale, in_english(descriptions))}
            for locale, title in titles.items()
        },
        "options": decode(row.options),
        "edition": digital["edition"],
        "royalty_bps": digital["royalty_bps"],
        "license": digital["license"],
    }
    if digital["cap"] is not None:
        document["copies"] = digital["cap"]
    own = None if digital["asset_id"] is None else load_asset(reader, digital["asset_id"])
    if own is not None:
        document["model"] = {
            "sha256": own.asset_id,
            "media_type": own.media_type,
            "bytes": own.bytes,
            "uri": own.url,
        }
    shown = None if row.asset_id is None else load_asset(reader, row.asset_id)
    picture_id = shown_picture(row.picture_id, own, shown)
    if picture_id is not None:
        document["image"] = {
            "sha256": picture_id,
            "media_type": PNG_MEDIA_TYPE,
            "uri": picture_path(picture_id),
        }
    return document


def shown_picture(merchants: str | None, *models: Asset | None) -> str | None:
    """Return the picture of an article: the merchant's own, else the first that its models have."""
    drawn = (model.picture_id for model in models if model is not None)
    return merchants or next((picture_id for picture_id in drawn if picture_id), None)


def in_english(texts: Mapping[str, str]) -> str:
    """Return the text for readers of any country: English, else the one without a locale, else the first."""
    return texts.get("en") or texts.get(NO_LOCALE) or next(iter(texts.values()), "")
