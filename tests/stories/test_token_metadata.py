"""What a token says of itself: read from the contract, fetched, checked against its own hashes."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from eth_abi.abi import decode, encode
from eth_utils.crypto import keccak

from gateway.commands import merchant as commands
from gateway.settings import Settings
from samples.headset.client import Document
from tests.support.buying import buy, ended
from tests.support.gateway import HOLDER, QUICK, Customer, OpenGateway, address, free_port
from tests.support.seed import SAMPLES

SCHEMA: dict[str, Any] = {
    # EIP-1155, "ERC-1155 Metadata URI JSON Schema", with what it calls a string a URI where it is one.
    "title": "Token Metadata",
    "type": "object",
    "required": ["name", "description", "decimals"],
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "decimals": {"type": "integer"},
        "description": {"type": "string"},
        "image": {"type": "string", "pattern": "^https?://"},
        "animation_url": {"type": "string", "pattern": "^https?://"},
        "properties": {
            "type": "object",
            "additionalProperties": {"type": ["string", "integer", "object", "array", "boolean"]},
        },
        "attributes": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["trait_type", "value"],
                "properties": {"trait_type": {"type": "string"}, "value": {"type": ["string", "integer"]}},
            },
        },
        "immutable": {
            "type": "object",
            "required": ["sha256", "uri"],
            "properties": {"sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"}},
        },
        "twin": {
            "type": "object",
            "required": ["state", "physical_serial"],
            "additionalProperties": False,
            "properties": {
                "state": {"enum": ["minting", "minted", "returning", "returned"]},
                "physical_serial": {"type": ["string", "null"]},
            },
        },
    },
}


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[OpenGateway]:
    """A gateway whose contract was deployed with its own address, and the sample catalog in it."""
    port, data_dir = free_port(), tmp_path / "data"
    found = OpenGateway(f"http://127.0.0.1:{port}", {}, data_dir)
    await found.start(Settings(data_dir=data_dir, port=port, **QUICK))
    try:
        await commands.import_catalog(found.gateway.context, SAMPLES)
        for merchant in found.gateway.context.catalog.current.merchants.values():
            key = await commands.create_api_key(found.gateway.context, merchant.merchant_id, "tests")
            found.keys[merchant.slug] = key
        yield found
    finally:
        await found.http.aclose()
        await found.stop()


async def bought(shop: OpenGateway, customer: Customer, item: str) -> Document:
    """Buy something; returns it as the wallet shows it."""
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, item)
        await ended(headset, order_id)
        (found,) = [
            one for one in (await headset.command("wallet.list"))["items"] if one["order_id"] == order_id
        ]
        return found


async def uri_of(shop: OpenGateway, item: Document) -> str:
    """Ask the contract where a token's metadata is, and substitute the id as EIP-1155 says."""
    assert shop.gateway.minting is not None
    chain = shop.gateway.minting._lanes[0]._client
    data = keccak(text="uri(uint256)")[:4] + encode(["uint256"], [int(item["token_id"])])
    (uri,) = decode(["string"], await chain.call(item["contract"], data))
    return str(uri).replace("{id}", f"{int(item['token_id']):064x}")


def hashed(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def test_the_uri_in_the_contract_leads_to_metadata_whose_hashes_are_right(shop: OpenGateway) -> None:
    customer = await shop.customer("visa")
    item = await bought(shop, customer, "DUSK-PRINT:bundle")
    assert (item["serial"], item["copies"], item["edition"]) == (1, 25, "numbered")
    uri = await uri_of(shop, item)
    assert uri == f"{shop.base_url}{item['metadata_url']}"
    answer = await shop.http.get(uri)
    assert answer.headers["content-type"] == "application/json"
    metadata = answer.json()
    jsonschema.validate(metadata, SCHEMA, cls=jsonschema.Draft202012Validator)
    assert metadata["name"].endswith("#1")
    assert metadata["twin"] == {"state": "minted", "physical_serial": None}
    assert {"trait_type": "Copy", "value": 1, "display_type": "number", "max_value": 25} in metadata[
        "attributes"
    ]

    kept = await shop.http.get(metadata["immutable"]["uri"])
    assert hashed(kept.content) == metadata["immutable"]["sha256"]
    assert "immutable" in kept.headers["cache-control"]
    document = kept.json()
    # Canonical: another program that sorts and packs gets the same bytes.
    packed = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert packed.encode() == kept.content
    assert (document["copy"], document["copies"], document["edition"]) == (1, 25, "numbered")
    assert (document["name"], document["description"]) == (metadata["name"], metadata["description"])

    model = await shop.http.get(metadata["animation_url"])
    assert hashed(model.content) == document["model"]["sha256"]
    assert model.headers["content-type"] == document["model"]["media_type"] == "model/gltf-binary"
    assert struct.unpack_from("<4sII", model.content) == (b"glTF", 2, document["model"]["bytes"])
    picture = await shop.http.get(metadata["image"])
    assert hashed(picture.content) == document["image"]["sha256"]
    assert picture.headers["content-type"] == "image/png"
    assert struct.unpack_from(">8s4x4sII", picture.content)[::2] == (b"\x89PNG\r\n\x1a\n", 512)
    assert metadata["animation_url"].endswith(document["model"]["uri"])
    assert metadata["image"].endswith(document["image"]["uri"])


async def test_metadata_names_no_customer_and_no_order(shop: OpenGateway) -> None:
    customer = await shop.customer("visa")
    item = await bought(shop, customer, "DUSK-PRINT:bundle")
    metadata = await shop.http.get(await uri_of(shop, item))
    told = metadata.text + (await shop.http.get(metadata.json()["immutable"]["uri"])).text
    home = address()
    secrets = [customer.customer_id, item["order_id"], item["leg_id"], HOLDER, customer.token]
    secrets += [home["name"], home["line1"], home["postal_code"], item["wallet"]["address"]]
    for secret in secrets:
        assert str(secret).lower() not in told.lower()
    for prefix in ("cus_", "ord_", "leg_", "dev_", "0x"):
        assert prefix not in told


async def test_what_was_sold_stays_and_what_was_not_may_change(shop: OpenGateway, tmp_path: Path) -> None:
    customer = await shop.customer("visa")
    item = await bought(shop, customer, "DUSK-PRINT:bundle")
    folder = tmp_path / "atelier-nord"
    shutil.copytree(SAMPLES / "atelier-nord", folder)
    for name, title in (("dusk-print", "Forged print"), ("kuppel-lamp", "Dome lamp")):
        file = folder / "products" / f"{name}.yaml"
        lines = file.read_text().splitlines()
        lines = [f'  title: {{en: "{title}"}}' if line.startswith("  title:") else line for line in lines]
        file.write_text("\n".join(lines).replace("print-dusk.glb", "print-dawn.glb") + "\n")
    await commands.import_catalog(shop.gateway.context, folder)

    before = item["title"]
    metadata = (await shop.http.get(await uri_of(shop, item))).json()
    assert metadata["name"] == f"{before} #1" != "Forged print #1"
    dusk = hashed((SAMPLES / "atelier-nord" / "models" / "print-dusk.glb").read_bytes())
    assert metadata["properties"]["model_sha256"] == dusk
    assert (await shop.http.get(metadata["animation_url"])).is_success
    # A second copy is of the same edition, whatever the catalog says by now.
    second = await bought(shop, customer, "DUSK-PRINT:bundle")
    again = (await shop.http.get(await uri_of(shop, second))).json()
    assert (again["name"], second["title"]) == (f"{before} #2", before)
    assert again["immutable"]["sha256"] != metadata["immutable"]["sha256"]
    lamp = await bought(shop, customer, "KUPPEL-LAMP:bundle")
    assert lamp["title"] == "Dome lamp"


async def test_what_is_ordered_of_an_open_edition_stays_while_its_payment_waits(
    shop: OpenGateway, tmp_path: Path
) -> None:
    customer = await shop.customer("challenge")
    folder = tmp_path / "harbour-and-thread"
    shutil.copytree(SAMPLES / "harbour-and-thread", folder)
    file = folder / "products" / "lagoon-hat.yaml"
    text = file.read_text()
    file.write_text(re.sub(r"(?m)^  title:.*$", '  title: {en: "Another hat"}', text))

    async with shop.headset(customer) as headset:
        merchant = "harbour-and-thread"
        order_id = await buy(headset, customer, "LAGOON-HAT:digital", card="challenge", merchant=merchant)
        await headset.event("payment.action_required", order_id=order_id)
        (before,) = (await headset.command("wallet.list"))["items"]
        assert before["title"] != "Another hat"
        await commands.import_catalog(shop.gateway.context, folder)
        (after,) = (await headset.command("wallet.list"))["items"]
        assert after["title"] == before["title"]


async def test_a_copy_that_was_not_sold_is_not_found(shop: OpenGateway) -> None:
    customer = await shop.customer("visa")
    item = await bought(shop, customer, "DUSK-PRINT:bundle")
    token_id = int(item["token_id"])
    unsold = next(
        variant.digital.token_number
        for product in shop.gateway.context.catalog.current.products.values()
        for variant in product.variants
        if variant.sku == "KUPPEL-LAMP" and variant.digital is not None
    )
    names = [f"{token_id + 1:064x}", f"{unsold:064x}", f"{0:064x}", "f" * 64, "xyz", f"{token_id}"]
    for name in names:
        answer = await shop.http.get(f"/v1/tokens/{name}.json")
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
        assert answer.json()["code"] == "token.not_found"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["access-control-allow-origin"] == "*"
    for name in ("0" * 64, "xyz"):
        answer = await shop.http.get(f"/v1/documents/{name}.json")
        assert (answer.status_code, answer.json()["code"]) == (404, "document.not_found")


async def test_metadata_may_be_read_by_any_site_and_asked_for_again_cheaply(shop: OpenGateway) -> None:
    customer = await shop.customer("visa")
    item = await bought(shop, customer, "DUSK-PRINT:bundle")
    path = await uri_of(shop, item)
    first = await shop.http.get(path, headers={"Origin": "https://market.example"})
    assert first.headers["access-control-allow-origin"] == "*"
    again = await shop.http.get(path, headers={"If-None-Match": f'"x", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    head = await shop.http.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == first.headers["content-length"]
    kept = first.json()["immutable"]["uri"]
    assert (await shop.http.head(kept)).headers["etag"] == f'"{first.json()["immutable"]["sha256"]}"'
    # Given back: the state changes, what it is does not.
    await shop.refund(item["order_id"])
    await shop.at_rest()
    after = await shop.http.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert after.status_code == 200 and after.json()["twin"]["state"] == "returned"
    assert after.json()["immutable"] == first.json()["immutable"]
