from __future__ import annotations

from typing import Any

import pytest
from ruamel.yaml import YAML

from gateway.catalog.assets import AssetStore, content_id
from gateway.catalog.importing import add_model, import_folder, import_product
from gateway.catalog.loading import load_snapshot, read_version
from gateway.catalog.model import Delivery, Format, PartKind
from gateway.catalog.problems import CatalogInvalidError
from gateway.catalog.reports import ImportReport
from gateway.kernel.errors import InvalidError, NotFoundError
from gateway.kernel.money import Money
from gateway.kernel.store.sqlite import SqliteStore
from gateway.kernel.store.unit import UnitOfWork
from tests.catalog.glbs import cube, spoiled
from tests.catalog.merchants import MERCHANT, PRODUCT, Folder


async def _problems(store: SqliteStore, assets: AssetStore, folder: Folder) -> list[str]:
    """Import what must fail; return the problems and check that nothing was written."""
    with pytest.raises(CatalogInvalidError) as refused:
        await import_folder(store, assets, folder.path)
    assert refused.value.code == "catalog.invalid"
    assert await store.read(read_version) == 0
    assert not (await store.read(load_snapshot)).merchants
    return [str(found) for found in refused.value.problems]


def _line(text: str, fragment: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if fragment in line)


async def test_folder_becomes_products_on_sale(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    report = await import_folder(store, assets, folder.path)
    snapshot = await store.read(load_snapshot)
    merchant = snapshot.merchant_by_slug("shop")
    assert [(its.slug, its.products, its.variants, its.places) for its in report.merchants] == [
        ("shop", 1, 1, 1)
    ]
    assert report.version == snapshot.version == 1
    assert merchant.currencies == ("EUR", "JPY", "KWD")

    digital = snapshot.offer(merchant.merchant_id, "BOX-1", Format.DIGITAL)
    assert digital.price("EUR") == Money(1290, "EUR")
    assert digital.price("JPY") == Money(1500, "JPY")
    assert digital.price("KWD") == Money(1250, "KWD")
    assert digital.price("GBP") is None
    assert digital.physical is None
    assert digital.digital is not None
    assert (digital.digital.cap, digital.digital.token_number) == (100, 1)

    bundle = snapshot.offer(merchant.merchant_id, "BOX-1", Format.BUNDLE)
    assert [(part.kind, part.tax_category, part.weight) for part in bundle.parts] == [
        (PartKind.DIGITAL, "digital_standard", 30),
        (PartKind.PHYSICAL, "goods_standard", 70),
    ]
    price = bundle.price("EUR")
    assert price is not None
    assert price.allocate([part.weight for part in bundle.parts]) == [Money(900, "EUR"), Money(2100, "EUR")]

    asset = snapshot.asset(content_id(cube()))
    assert asset.extents_m == (0.2, 0.3, 0.1)
    assert assets.served(asset.url.rpartition("/")[2]).path.read_bytes() == cube()


async def test_report_hands_on_stock_and_editions(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    report = await import_folder(store, assets, folder.path)
    assert [(its.sku, its.location_code, its.on_hand) for its in report.initial_stock] == [
        ("BOX-1", "main", 5),
        ("BOX-1", "store", 1),
    ]
    assert [(its.sku, its.cap, its.numbered, its.token_number) for its in report.editions] == [
        ("BOX-1", 100, False, 1)
    ]


async def test_two_mistakes_in_a_product_are_both_reported_with_their_lines(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    wrong = PRODUCT.replace('EUR: "20.00"', "EUR: 20.00").replace("kind: capped, cap: 100", "kind: capped")
    folder.product(wrong)
    assert await _problems(store, assets, folder) == [
        f"products/box.yaml:{_line(wrong, 'EUR: 20.00')}: product.variants[0].offers.physical.prices.EUR: "
        'must be text in quotes, such as "12.90": a bare number is not kept exactly',
        f"products/box.yaml:{_line(wrong, 'kind: capped')}: product.variants[0].digital.edition: "
        "a capped edition needs a cap",
    ]


@pytest.mark.parametrize(
    ("old", "new", "field", "message"),
    [
        ('EUR: "20.00"', 'EUR: "20.005"', "offers.physical.prices.EUR", "is not an amount in EUR"),
        ('EUR: "20.00"', 'EUR: "0.00"', "offers.physical.prices.EUR", "must be above zero"),
        ('EUR: "20.00"', 'EUR: "-1.00"', "offers.physical.prices.EUR", "is not an amount in EUR"),
        ('JPY: "1500"', 'JPY: "1500.0"', "offers.digital.prices.JPY", "is not an amount in JPY"),
        ('JPY: "1500"', "JPY: 1500", "offers.digital.prices.JPY", "must be text in quotes"),
        ('KWD: "1.250"', 'USD: "1.25"', "offers.digital.prices.USD", "is not a currency of this merchant"),
        ('KWD: "1.250"', 'XYZ: "1.25"', "offers.digital.prices.XYZ", "is not an ISO 4217 currency code"),
        (
            "digital_share_percent: 30",
            "digital_share_percent: 100",
            "digital_share_percent",
            "less than or equal",
        ),
        ("delivery: token", "delivery: post", "digital.delivery", "input should be"),
        ("royalty_bps: 250", "royalty: 250", "digital.royalty", "did you mean royalty_bps?"),
        (
            "kind: capped, cap: 100",
            "kind: open, cap: 100",
            "digital.edition.cap",
            "an open edition has no cap",
        ),
        ("weight_g: 900", 'weight_g: "900"', "physical.weight_g", "valid integer"),
        ("size_mm: [200, 100, 300]", "size_mm: [200, 100]", "physical.size_mm", "at least 3"),
        ("size_mm: [200, 100, 300]", "size_mm: [200, 100, 400]", "digital.model", "200 x 300 x 100 mm"),
        ("stock: {main: 5", "stock: {cellar: 5", "physical.stock.cellar", "is no location"),
        ("stock: {main: 5", "stock: {main: -5", "physical.stock.main", "greater than or equal"),
        ("model: box.glb", "model: bag.glb", "digital.model", "there is no file models/bag.glb"),
        ("model: box.glb", "model: ../box.glb", "digital.model", "must be the name of a file"),
        ("sku: BOX-1", "sku: BOX@1", "sku", "does not match"),
        (
            "digital: digital_standard",
            "digital: goods_standard",
            "product.tax.digital",
            "is not for digital parts",
        ),
        ("digital: digital_standard", "digital: nonsense", "product.tax.digital", "is not a tax category"),
        (
            "failure_policy: digital_first",
            "failure_policy: maybe",
            "product.failure_policy",
            "input should be",
        ),
        ("handle: box", "handle: A Box", "product.handle", "does not match"),
    ],
)
async def test_mistake_in_a_product_names_its_field_and_line(
    store: SqliteStore, assets: AssetStore, folder: Folder, old: str, new: str, field: str, message: str
) -> None:
    assert old in PRODUCT
    wrong = PRODUCT.replace(old, new)
    folder.product(wrong)
    found = [its for its in await _problems(store, assets, folder) if not its.startswith("merchant.yaml")]
    assert len(found) == 1
    line = _line(PRODUCT, "model: box.glb") if "mm" in message else _line(wrong, new)
    if "model" in field and "glb" in new:
        line = _line(wrong, new)
    assert found[0].startswith(f"products/box.yaml:{line}: ")
    assert field in found[0]
    assert message in found[0]


async def test_offers_must_have_their_parts(store: SqliteStore, assets: AssetStore, folder: Folder) -> None:
    start, end = PRODUCT.index("      physical:\n        weight_g"), len(PRODUCT)
    folder.product((PRODUCT[:start] + PRODUCT[end:]).replace(", physical: goods_standard", ""))
    found = await _problems(store, assets, folder)
    assert [its.split(": ", 1)[1] for its in found] == [
        "product.variants[0].offers.physical: needs the physical part, which this variant does not have",
        "product.variants[0].offers.physical: needs a physical tax category under tax",
        "product.variants[0].offers.bundle: needs the physical part, which this variant does not have",
        "product.variants[0].offers.bundle: needs a physical tax category under tax",
    ]


@pytest.mark.parametrize(
    ("old", "new", "field", "message"),
    [
        ("sku: BOX-1,", "sku: BOX-9,", "places[0].placements[0].sku", "BOX-9 is not an article"),
        ("yaw_deg: 90", "yaw_deg: 90, rotation: [0, 0, 0, 1]", "placements[0]", "not both"),
        ("yaw_deg: 90", "rotation: [0, 0, 0, 0]", "placements[0].rotation", "all zero"),
        ("days: [1, 3]", "days: [3, 1]", "shipping[0].days", "the first number is the smaller one"),
        ('free_from: {EUR: "100.00"}', 'free_from: {EUR: "1e2"}', "free_from.EUR", "is not an amount"),
        ("currencies: [EUR, JPY, KWD]", "currencies: [EUR, JPY, KWD, EUR]", "currencies[3]", "given twice"),
        ("code: store,", "code: main,", "locations[1].code", "main is given twice"),
        ("slug: shop", "slug: shop\n  owner: me", "merchant.owner", "is not known here"),
    ],
)
async def test_mistake_in_the_merchant_names_its_field(
    store: SqliteStore, assets: AssetStore, folder: Folder, old: str, new: str, field: str, message: str
) -> None:
    assert old in MERCHANT
    folder.merchant(MERCHANT.replace(old, new))
    found = [its for its in await _problems(store, assets, folder) if its.startswith("merchant.yaml")]
    assert len(found) == 1
    assert field in found[0]
    assert message in found[0]


async def test_names_are_unique_over_all_files(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    folder.product(PRODUCT, "copy.yaml")
    assert [its.split(": ", 1)[1] for its in await _problems(store, assets, folder)] == [
        "product.handle: box is used already in products/box.yaml",
        "product.variants[0].sku: BOX-1 is used already in products/box.yaml",
    ]


async def test_model_that_is_no_glb_is_refused(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    folder.model("box.glb", b"<html>404</html>")
    (found,) = await _problems(store, assets, folder)
    assert f"products/box.yaml:{_line(PRODUCT, 'box.glb')}" in found
    assert "product.variants[0].digital.model: model.not_glb" in found


async def test_refused_import_leaves_no_model_behind(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    folder.model("bad.glb", spoiled(lambda document: document["nodes"][0].update(children=[0])))
    folder.product(
        PRODUCT.replace("handle: box", "handle: bad").replace("BOX-1", "BAD").replace("box.glb", "bad.glb"),
        "bad.yaml",
    )
    (found,) = await _problems(store, assets, folder)
    assert "model.node_graph" in found
    assert not assets.contains(content_id(cube()))


async def test_unreadable_file_does_not_hide_other_mistakes(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    folder.product("product: [", "broken.yaml")
    folder.product(PRODUCT.replace("handle: box", "handle: BOX"))
    found = await _problems(store, assets, folder)
    assert len(found) == 2
    assert found[0].startswith("products/box.yaml:2: product.handle")
    assert found[1].startswith("products/broken.yaml:")


async def test_folder_without_a_merchant_is_refused(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    (folder.path / "merchant.yaml").unlink()
    (found,) = await _problems(store, assets, folder)
    assert "there is no merchant.yaml" in found


async def test_product_that_would_not_fit_in_a_message_is_refused(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    texts = ", ".join(
        f"{locale}: {'x' * 3_000}"
        for locale in ("de", "en", "fr", "es", "it", "nl", "pl", "sv", "da", "fi", "cs", "el", "pt", "ro")
    )
    folder.product(PRODUCT.replace("  failure_policy", f"  description: {{{texts}}}\n  failure_policy"))
    (found,) = await _problems(store, assets, folder)
    assert "are the most" in found


async def test_country_without_tax_rates_is_a_warning(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    folder.merchant(MERCHANT.replace("countries: [DE, AT]", "countries: [DE, CH]"))
    report = await import_folder(store, assets, folder.path)
    assert ["CH" in str(its) for its in report.warnings] == [True]


@pytest.mark.parametrize(
    ("edition", "warned"),
    [
        ("{kind: open}", True),
        ("{kind: capped, cap: 10001}", True),
        ("{kind: capped, cap: 10000}", False),
        ("{kind: numbered, cap: 25}", False),
    ],
)
async def test_tokens_in_a_large_series_are_warned_of_and_nothing_else_is(
    store: SqliteStore, assets: AssetStore, folder: Folder, edition: str, warned: bool
) -> None:
    folder.product(PRODUCT.replace("{kind: capped, cap: 100}", edition))
    report = await import_folder(store, assets, folder.path)
    assert ["MiCA" in str(its) and "Art. 2(3)" in str(its) for its in report.warnings] == [True] * warned


async def test_digital_items_are_entitlements_unless_a_token_is_declared(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    folder.product(
        PRODUCT.replace("        delivery: token\n", "").replace("kind: capped, cap: 100", "kind: open")
    )
    report = await import_folder(store, assets, folder.path)
    assert report.warnings == ()
    snapshot = await store.read(load_snapshot)
    (product,) = snapshot.products.values()
    digital = product.variants[0].digital
    assert digital is not None and digital.delivery is Delivery.ENTITLEMENT


async def test_inventory_is_written_in_the_same_unit_and_may_refuse(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    def refuse(uow: UnitOfWork, report: ImportReport) -> None:
        raise InvalidError("stock.example", "no")

    with pytest.raises(InvalidError, match=r"stock\.example"):
        await import_folder(store, assets, folder.path, inventory=refuse)
    assert not (await store.read(load_snapshot)).merchants

    reports: list[ImportReport] = []
    report = await import_folder(store, assets, folder.path, inventory=lambda uow, its: reports.append(its))
    assert reports[-1] == report
    assert len(report.initial_stock) == 2


def _document(asset_id: str) -> dict[str, Any]:
    document: dict[str, Any] = YAML(typ="safe", pure=True).load(PRODUCT)["product"]
    document["handle"] = "second"
    document["variants"][0].update(sku="BOX-2")
    document["variants"][0]["digital"]["model"] = asset_id
    return document


async def test_product_comes_in_as_json(store: SqliteStore, assets: AssetStore, folder: Folder) -> None:
    merchant_id = (await import_folder(store, assets, folder.path)).merchants[0].merchant_id
    model = await add_model(store, assets, cube(0.3, 0.2, 0.1))
    report = await import_product(store, merchant_id, _document(model.asset_id))
    assert [(its.sku, its.on_hand) for its in report.initial_stock] == [("BOX-2", 5), ("BOX-2", 1)]
    snapshot = await store.read(load_snapshot)
    assert snapshot.version == 2
    part = snapshot.offer(merchant_id, "BOX-2", Format.DIGITAL).digital
    assert part is not None
    assert (part.asset_id, part.token_number) == (model.asset_id, 2)
    assert snapshot.variant(merchant_id, "BOX-1").active


async def test_json_product_with_mistakes_names_fields_without_lines(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    merchant_id = (await import_folder(store, assets, folder.path)).merchants[0].merchant_id
    document = _document("f" * 64)
    document["variants"][0]["offers"]["digital"]["prices"]["EUR"] = 12.9
    document["variants"][0]["digital"]["edition"] = {"kind": "numbered"}
    with pytest.raises(CatalogInvalidError) as refused:
        await import_product(store, merchant_id, document)
    assert [(its.line, its.field) for its in refused.value.problems] == [
        (None, "variants[0].digital.edition"),
        (None, "variants[0].digital.model"),
        (None, "variants[0].offers.digital.prices.EUR"),
    ]
    assert refused.value.data["problems"][0]["field"] == "variants[0].digital.edition"


async def test_json_text_that_is_no_unicode_is_a_mistake_like_others(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    merchant_id = (await import_folder(store, assets, folder.path)).merchants[0].merchant_id
    document = _document(content_id(cube()))
    document["title"] = {"en": "half a pair: \ud83d"}
    with pytest.raises(CatalogInvalidError) as refused:
        await import_product(store, merchant_id, document)
    assert [its.field for its in refused.value.problems] == ["title.en"]


@pytest.mark.parametrize("document", [{}, {"variants": {}}, {"variants": [None, 3, {"offers": []}]}])
async def test_json_of_another_shape_is_refused(
    store: SqliteStore, assets: AssetStore, folder: Folder, document: dict[str, Any]
) -> None:
    merchant_id = (await import_folder(store, assets, folder.path)).merchants[0].merchant_id
    with pytest.raises(CatalogInvalidError):
        await import_product(store, merchant_id, document)


async def test_json_product_of_an_unknown_merchant_is_refused(store: SqliteStore) -> None:
    with pytest.raises(NotFoundError) as missing:
        await import_product(store, "mer_0", {})
    assert missing.value.code == "merchant.not_found"


async def test_json_product_cannot_take_the_sku_of_another_product(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    merchant_id = (await import_folder(store, assets, folder.path)).merchants[0].merchant_id
    document = _document(content_id(cube()))
    document["variants"][0]["sku"] = "BOX-1"
    with pytest.raises(CatalogInvalidError, match="belongs to another product"):
        await import_product(store, merchant_id, document)


async def test_uploaded_model_is_stored_once(store: SqliteStore, assets: AssetStore) -> None:
    first = await add_model(store, assets, cube())
    assert await add_model(store, assets, cube()) == first
    with pytest.raises(InvalidError) as refused:
        await add_model(store, assets, b"no model")
    assert refused.value.code == "model.not_glb"
