"""The sample merchants: what others rely on to be there, and models that can be made again."""

from __future__ import annotations

import pytest

from gateway.catalog.assets import AssetStore
from gateway.catalog.checks import wire_bytes
from gateway.catalog.documents import page, product_document
from gateway.catalog.files import read_yaml
from gateway.catalog.importing import import_folder
from gateway.catalog.model import Delivery, EditionKind, FailurePolicy, Format
from gateway.catalog.preflight import preflight
from gateway.catalog.reports import ImportReport
from gateway.catalog.service import Catalog
from gateway.catalog.snapshot import CatalogSnapshot
from gateway.catalog.taxes import TaxTable
from gateway.kernel.clock import parse_rfc3339
from gateway.kernel.documents import encode
from gateway.kernel.money import exponent
from gateway.kernel.store.sqlite import SqliteStore
from samples.catalog.make_models import HERE, MODELS


@pytest.fixture
async def imported(store: SqliteStore, assets: AssetStore) -> tuple[ImportReport, CatalogSnapshot]:
    report = await import_folder(store, assets, HERE)
    return report, await Catalog().refresh(store)


@pytest.mark.parametrize("name", MODELS)
def test_model_is_made_again_byte_for_byte(name: str) -> None:
    committed = (HERE / name).read_bytes()
    assert MODELS[name]().glb() == committed
    assert len(committed) < 200_000
    assert preflight(committed).triangles > 1_000


def test_no_model_lies_around_unmade() -> None:
    assert {str(path.relative_to(HERE)) for path in HERE.glob("*/models/*")} == set(MODELS)


async def test_samples_show_every_kind_of_offer(imported: tuple[ImportReport, CatalogSnapshot]) -> None:
    report, snapshot = imported
    variants = [variant for product in snapshot.products.values() for variant in product.variants]
    digital = [variant.digital for variant in variants if variant.digital is not None]
    prices = [
        price for variant in variants for offer in variant.offers.values() for price in offer.prices.values()
    ]
    assert [merchant.country for merchant in snapshot.merchants.values()] == ["DE", "GB"]
    assert len(snapshot.products) >= 8
    # The hat is a token of which there may be any number.
    (warning,) = report.warnings
    assert "lagoon-hat" in str(warning) and "MiCA" in str(warning)
    assert {kind for variant in variants for kind in variant.offers} == set(Format)
    assert {part.delivery for part in digital} == set(Delivery)
    assert {part.edition for part in digital} == set(EditionKind)
    assert {product.failure_policy for product in snapshot.products.values()} == set(FailurePolicy)
    assert {exponent(price.currency) for price in prices} == {0, 2, 3}
    assert 1 in {part.cap for part in digital}
    assert 1 in {stock.on_hand for stock in report.initial_stock}
    numbers = [part.token_number for part in digital if part.delivery is Delivery.TOKEN]
    assert sorted(number or 0 for number in numbers) == list(range(1, len(numbers) + 1))


async def test_every_sample_is_taxed_wherever_it_ships(
    imported: tuple[ImportReport, CatalogSnapshot],
) -> None:
    taxes = TaxTable.load()
    now = parse_rfc3339("2026-11-21T12:00:00Z")
    _, snapshot = imported
    for product in snapshot.products.values():
        merchant = snapshot.merchant(product.merchant_id)
        countries = {country for rate in merchant.shipping for country in rate.countries} | {merchant.country}
        for country in countries:
            for category in (*product.tax_categories.values(), merchant.tax.shipping_category):
                assert taxes.rate(country, category, now).source


async def test_every_sample_can_be_seen_in_a_place(imported: tuple[ImportReport, CatalogSnapshot]) -> None:
    _, snapshot = imported
    placed = {
        item["product_id"] for place in snapshot.places for item in page(snapshot, place=place, limit=100)[0]
    }
    assert placed == set(snapshot.products)


async def test_wire_size_is_never_estimated_too_small(
    imported: tuple[ImportReport, CatalogSnapshot],
) -> None:
    _, snapshot = imported
    by_handle = {product.handle: product for product in snapshot.products.values()}
    for path in sorted(HERE.glob("*/products/*.yaml")):
        source, _ = read_yaml(path, path.name)
        assert source is not None
        product = by_handle[source.document["product"]["handle"]]
        actual = len(encode(product_document(snapshot, product)).encode())
        assert actual <= wire_bytes(source.document, ("product",))
