from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ruamel.yaml import YAML

from gateway.catalog.assets import AssetStore
from gateway.catalog.checks import MAX_PRODUCT_BYTES, wire_bytes
from gateway.catalog.documents import PAGE_BYTES, page, place_document, product_document
from gateway.catalog.importing import import_folder
from gateway.catalog.model import Format, LocationKind, PlaceKind
from gateway.catalog.service import Catalog
from gateway.catalog.snapshot import CatalogSnapshot
from gateway.kernel.documents import encode
from gateway.kernel.errors import InvalidError, NotFoundError
from gateway.kernel.money import Money
from gateway.kernel.store.sqlite import SqliteStore
from tests.catalog.merchants import MERCHANT, PRODUCT, Folder


@pytest.fixture
async def snapshot(store: SqliteStore, assets: AssetStore, folder: Folder) -> CatalogSnapshot:
    for number in range(2, 31):
        folder.product(
            PRODUCT.replace("handle: box", f"handle: box-{number}").replace("BOX-1", f"BOX-{number}"),
            f"box-{number:02}.yaml",
        )
    await import_folder(store, assets, folder.path)
    catalog = Catalog()
    return await catalog.refresh(store)


async def test_version_tells_other_nodes_to_load_again(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    node = Catalog()
    assert not await node.refresh_if_stale(store)
    assert not node.current.merchants
    await import_folder(store, assets, folder.path)
    held = node.current
    assert await node.refresh_if_stale(store)
    assert not await node.refresh_if_stale(store)
    assert node.current.merchant_by_slug("shop").name == "The Shop"
    assert not held.merchants


async def test_lookups_find_by_every_name(snapshot: CatalogSnapshot) -> None:
    merchant = snapshot.merchant_by_slug("shop")
    assert snapshot.merchant(merchant.merchant_id) is merchant
    product = snapshot.product_by_handle(merchant.merchant_id, "box")
    assert snapshot.product(product.product_id) is product
    variant = snapshot.variant(merchant.merchant_id, "BOX-1")
    assert snapshot.variant_by_id(variant.variant_id) is variant
    assert product.variants == (variant,)
    place = snapshot.place_by_code(merchant.merchant_id, "hall")
    assert snapshot.place(place.place_id) is place
    assert place.kind is PlaceKind.VIRTUAL_SHOP
    assert place.placements[0].position_m == (1, 0, -2.5)
    # 90 degrees to the left around y.
    assert place.placements[0].rotation == pytest.approx((0, 0.70710678, 0, 0.70710678))
    assert [(its.code, its.kind, its.priority) for its in merchant.locations] == [
        ("main", LocationKind.WAREHOUSE, 10),
        ("store", LocationKind.STORE, 100),
    ]
    assert snapshot.location(merchant.merchant_id, "store").location_id == merchant.locations[1].location_id


async def test_unknown_names_are_refused_with_their_codes(snapshot: CatalogSnapshot) -> None:
    merchant_id = snapshot.merchant_by_slug("shop").merchant_id
    lookups: list[tuple[str, Callable[[], Any]]] = [
        ("merchant.not_found", lambda: snapshot.merchant("mer_x")),
        ("merchant.not_found", lambda: snapshot.merchant_by_slug("x")),
        ("product.not_found", lambda: snapshot.product("prd_x")),
        ("product.not_found", lambda: snapshot.product_by_handle(merchant_id, "x")),
        ("sku.not_found", lambda: snapshot.variant(merchant_id, "x")),
        ("sku.not_found", lambda: snapshot.variant("mer_x", "BOX-1")),
        ("sku.not_found", lambda: snapshot.variant_by_id("x")),
        ("sku.not_found", lambda: snapshot.offer(merchant_id, "x", Format.DIGITAL)),
        ("location.not_found", lambda: snapshot.location(merchant_id, "x")),
        ("place.not_found", lambda: snapshot.place("x")),
        ("place.not_found", lambda: snapshot.place_by_code(merchant_id, "x")),
        ("asset.not_found", lambda: snapshot.asset("x")),
    ]
    for code, look in lookups:
        with pytest.raises(NotFoundError) as missing:
            look()
        assert missing.value.code == code


async def test_format_that_is_not_offered_names_those_that_are(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    start, end = PRODUCT.index("        bundle:"), PRODUCT.index("      digital:\n        delivery")
    folder.product(PRODUCT[:start] + PRODUCT[end:])
    await import_folder(store, assets, folder.path)
    snapshot = await Catalog().refresh(store)
    with pytest.raises(NotFoundError) as missing:
        snapshot.offer(snapshot.merchant_by_slug("shop").merchant_id, "BOX-1", Format.BUNDLE)
    assert missing.value.code == "format.not_offered"
    assert missing.value.data["formats"] == ["digital", "physical"]


async def test_shipping_rate_serves_its_countries(snapshot: CatalogSnapshot) -> None:
    merchant = snapshot.merchant_by_slug("shop")
    rate = merchant.shipping_rate("AT")
    assert rate is not None
    assert rate.price("KWD") == Money(1400, "KWD")
    assert rate.free_from == {"EUR": Money(10000, "EUR")}
    assert (rate.days_min, rate.days_max) == (1, 3)
    assert merchant.shipping_rate("US") is None


async def test_product_document_is_plain_and_complete(snapshot: CatalogSnapshot) -> None:
    merchant_id = snapshot.merchant_by_slug("shop").merchant_id
    product = snapshot.product_by_handle(merchant_id, "box")
    place = snapshot.place_by_code(merchant_id, "hall")
    asset = snapshot.asset(product.variants[0].asset_id or "")
    assert product.variants[0].digital is not None
    token_number = product.variants[0].digital.token_number
    model = {
        "asset_id": asset.asset_id,
        "url": f"/v1/assets/{asset.asset_id}.glb",
        "media_type": "model/gltf-binary",
        "bytes": asset.bytes,
        "size_m": [0.2, 0.3, 0.1],
        "triangles": 12,
    }
    assert product_document(snapshot, product, place) == {
        "product_id": product.product_id,
        "merchant_id": merchant_id,
        "handle": "box",
        "title": {"en": "A box", "de": "Eine Kiste"},
        "description": {},
        "failure_policy": "digital_first",
        "variants": [
            {
                "variant_id": product.variants[0].variant_id,
                "sku": "BOX-1",
                "title": {"en": "A box", "de": "Eine Kiste"},
                "options": {"colour": "red"},
                "model": model,
                "picture_url": f"/v1/assets/{asset.picture_id}.png",
                "offers": [
                    {
                        "format": "digital",
                        "prices": [
                            {"amount_minor": 1290, "currency": "EUR"},
                            {"amount_minor": 1500, "currency": "JPY"},
                            {"amount_minor": 1250, "currency": "KWD"},
                        ],
                        "parts": ["digital"],
                    },
                    {
                        "format": "physical",
                        "prices": [{"amount_minor": 2000, "currency": "EUR"}],
                        "parts": ["physical"],
                    },
                    {
                        "format": "bundle",
                        "prices": [{"amount_minor": 3000, "currency": "EUR"}],
                        "parts": ["digital", "physical"],
                    },
                ],
                "digital": {
                    "delivery": "token",
                    "asset_id": asset.asset_id,
                    "asset_url": f"/v1/assets/{asset.asset_id}.glb",
                    "edition": {"kind": "capped", "cap": 100},
                    "royalty_bps": 250,
                    "license": "Be kind.",
                    "token_number": str(token_number),
                },
                "physical": {"weight_g": 900, "size_mm": [200, 100, 300]},
            }
        ],
        "placements": [
            {
                "sku": "BOX-1",
                "position_m": [1, 0, -2.5],
                "rotation": [0.0, 0.707106781, 0.0, 0.707106781],
                "scale": 1.0,
            }
        ],
    }
    assert product_document(snapshot, product)["placements"] == []
    assert place_document(place)["placements"][0]["sku"] == "BOX-1"


async def test_pages_follow_one_another_without_gap_or_repeat(snapshot: CatalogSnapshot) -> None:
    seen: list[str] = []
    cursor = None
    while True:
        items, cursor = page(snapshot, after=cursor, limit=7)
        assert 1 <= len(items) <= 7
        seen += [item["product_id"] for item in items]
        if cursor is None:
            break
    assert seen == list(snapshot.products)


async def test_page_stays_under_its_bytes(snapshot: CatalogSnapshot) -> None:
    items, cursor = page(snapshot, limit=100, max_bytes=5_000)
    assert 1 < len(items) < 30
    assert len(encode(items).encode()) <= 5_000
    assert cursor == items[-1]["product_id"]
    one, _ = page(snapshot, limit=100, max_bytes=10)
    assert len(one) == 1
    assert PAGE_BYTES < 64 * 1024


async def test_page_of_a_place_holds_only_what_stands_there(snapshot: CatalogSnapshot) -> None:
    place = snapshot.place_by_code(snapshot.merchant_by_slug("shop").merchant_id, "hall")
    items, cursor = page(snapshot, place=place.place_id)
    assert [item["handle"] for item in items] == ["box"]
    assert len(items[0]["placements"]) == 1
    assert cursor is None


async def test_page_asks_for_what_exists(snapshot: CatalogSnapshot) -> None:
    with pytest.raises(NotFoundError):
        page(snapshot, merchant="mer_x")
    with pytest.raises(NotFoundError):
        page(snapshot, place="plc_x")
    for limit in (0, 101):
        with pytest.raises(InvalidError):
            page(snapshot, limit=limit)


async def test_largest_allowed_product_fits_in_a_page(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    start = PRODUCT.index("    - sku")
    variant = PRODUCT[start:].replace("BOX-1", f"BOX-{'X' * 55}-NN").replace(", store: 1", "")
    folder.merchant(
        MERCHANT[: MERCHANT.index("        - {sku")]
        + f"        - {{sku: BOX-{'X' * 55}-10, position_m: [1.2345, 0.5432, -2.5432], yaw_deg: 33}}\n" * 60
    )
    count = 10
    while True:
        text = PRODUCT[:start] + "".join(variant.replace("NN", str(10 + number)) for number in range(count))
        if (
            wire_bytes({"product": YAML(typ="safe", pure=True).load(text)["product"]}, ("product",))
            > MAX_PRODUCT_BYTES
        ):
            break
        folder.product(text)
        count += 1
    assert count < 40
    await import_folder(store, assets, folder.path)
    snapshot = await Catalog().refresh(store)
    place = next(iter(snapshot.places.values()))
    items, _ = page(snapshot, place=place.place_id)
    assert len(items[0]["variants"]) == count - 1
    assert len(items[0]["placements"]) == 60
    assert len(encode(items).encode()) <= PAGE_BYTES
