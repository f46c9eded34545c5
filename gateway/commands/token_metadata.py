"""What anybody may read about a token: what it is, for ever, and how it stands now.

It tells no more than the chain does: a copy that is not on its way to the chain is not found, and nothing
names a customer or an order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.catalog.token_documents import TokenDocument, document_at, publish, published, token_not_found
from gateway.commands.context import Context
from gateway.kernel.store.unit import Reader
from wallets.minting.copies import Standing, standing
from wallets.minting.model import NUMBERED, SERIAL_BITS

DOCUMENTS_PATH = "/v1/documents/"
TOKENS_PATH = "/v1/tokens/"
_LARGEST = 1 << 63


@dataclass(frozen=True, slots=True)
class TokenName:
    """What an ERC-1155 id says: an edition, or with ``serial`` one of its numbered copies."""

    item_number: int
    serial: int | None


def token_name(token_id: int) -> TokenName | None:
    """Take an id apart, as `wallets.minting.model.token_id_of` made it; None for what it never makes."""
    if not token_id & NUMBERED:
        return TokenName(token_id, None) if 0 < token_id < _LARGEST else None
    rest = token_id ^ NUMBERED
    item_number, serial = rest >> SERIAL_BITS, rest & ((1 << SERIAL_BITS) - 1)
    fits = 0 < item_number < _LARGEST and 0 < serial < _LARGEST
    return TokenName(item_number, serial) if fits else None


async def token_metadata(context: Context, token_id: int) -> dict[str, Any]:
    """Return a token's metadata (EIP-1155, "ERC-1155 Metadata URI JSON Schema", and what marketplaces add).

    Raises NotFoundError ``token.not_found`` for a token that is not on the chain or on its way there.
    """
    name = token_name(token_id)
    if name is None:
        raise token_not_found()

    def read(reader: Reader) -> tuple[Standing | None, TokenDocument | None, str | None]:
        stands = standing(reader, name.item_number, name.serial)
        serial = None if stands is None else physical_serial(reader, stands)
        return stands, published(reader, name.item_number, name.serial), serial

    stands, its, unit = await context.store.read(read)
    if stands is None:
        raise token_not_found()
    if its is None:
        its = await context.store.write(lambda uow: publish(uow, name.item_number, name.serial))
    return _metadata(context.process.base_url, its, stands, unit)


async def token_document(context: Context, sha256: str) -> bytes:
    """Return the bytes of a document. Raises NotFoundError ``document.not_found``."""
    return (await context.store.read(lambda reader: document_at(reader, sha256))).encode()


def physical_serial(reader: Reader, stands: Standing) -> str | None:
    """Return the serial number of the physical unit that was picked for a copy, once it is known.

    Nobody records units yet, so none is known.
    """
    return None


def _metadata(base_url: str, its: TokenDocument, stands: Standing, unit: str | None) -> dict[str, Any]:
    kept = its.document
    properties: dict[str, Any] = {
        name: kept[name]
        for name in ("merchant", "sku", "edition", "copies", "license", "royalty_bps", "options")
        if name in kept
    }
    attributes: list[dict[str, Any]] = [{"trait_type": "Edition", "value": kept["edition"]}]
    if "copy" in kept:
        properties["serial"] = kept["copy"]
        numbered = {"trait_type": "Copy", "value": kept["copy"], "display_type": "number"}
        attributes.append({**numbered, "max_value": kept["copies"]} if "copies" in kept else numbered)
    attributes += [{"trait_type": name, "value": value} for name, value in kept["options"].items()]
    document: dict[str, Any] = {
        "name": kept["name"],
        "description": kept["description"],
        "decimals": 0,
        "properties": properties,
        "attributes": attributes,
        "immutable": {"sha256": its.sha256, "uri": f"{base_url}{DOCUMENTS_PATH}{its.sha256}.json"},
        "twin": {"state": stands.state.value, "physical_serial": unit},
    }
    if "image" in kept:
        document["image"] = f"{base_url}{kept['image']['uri']}"
        properties["image_sha256"] = kept["image"]["sha256"]
    if "model" in kept:
        document["animation_url"] = f"{base_url}{kept['model']['uri']}"
        properties["model_sha256"] = kept["model"]["sha256"]
    return document
