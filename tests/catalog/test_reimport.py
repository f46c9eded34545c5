"""An import that is repeated: what may change, and what never does."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.catalog.assets import AssetStore
from gateway.catalog.importing import import_folder
from gateway.catalog.loading import load_snapshot, read_version
from gateway.catalog.model import Format
from gateway.catalog.problems import CatalogInvalidError
from gateway.catalog.reports import IssuedCopies
from gateway.catalog.snapshot import CatalogSnapshot
from gateway.kernel.errors import NotFoundError
from gateway.kernel.money import Money
from gateway.kernel.store.sqlite import SqliteStore
from tests.catalog.glbs import cube
from tests.catalog.merchants import PRODUCT, Folder


def _sold(copies: int) -> IssuedCopies:
    return lambda reader, merchant_id, sku: copies


async def _snapshot(store: SqliteStore) -> tuple[CatalogSnapshot, str]:
    snapshot = await store.read(load_snapshot)
    return snapshot, snapshot.merchant_by_slug("shop").merchant_id


@pytest.fixture(autouse=True)
async def imported(store: SqliteStore, assets: AssetStore, folder: Folder) -> None:
    await import_folder(store, assets, folder.path)


async def test_prices_and_texts_change_and_ids_stay(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    before, merchant_id = await _snapshot(store)
    folder.product(
        PRODUCT.replace("12.90", "11.90").replace("A box", "The box").replace(', KWD: "1.250"', "")
    )
    report = await import_folder(store, assets, folder.path)
    after, _ = await _snapshot(store)
    offer = after.offer(merchant_id, "BOX-1", Format.DIGITAL)
    assert offer.price("EUR") == Money(1190, "EUR")
    assert offer.price("KWD") is None
    assert offer.title["en"] == "The box"
    assert report.version == after.version == before.version + 1
    assert list(before.products) == list(after.products)
    assert before.variant(merchant_id, "BOX-1").variant_id == after.variant(merchant_id, "BOX-1").variant_id
    # The old snapshot is untouched: whoever holds it keeps a consistent view.
    assert before.offer(merchant_id, "BOX-1", Format.DIGITAL).price("EUR") == Money(1290, "EUR")


async def test_stock_is_handed_on_only_once(store: SqliteStore, assets: AssetStore, folder: Folder) -> None:
    folder.product(PRODUCT.replace("main: 5", "main: 50"))
    assert (await import_folder(store, assets, folder.path)).initial_stock == ()


async def test_stock_of_a_new_article_is_handed_on(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    folder.product(PRODUCT.replace("handle: box", "handle: crate").replace("BOX-1", "CRATE-1"), "crate.yaml")
    report = await import_folder(store, assets, folder.path)
    assert [(its.sku, its.location_code) for its in report.initial_stock] == [
        ("CRATE-1", "main"),
        ("CRATE-1", "store"),
    ]


async def test_known_model_is_not_measured_again(
    store: SqliteStore, assets: AssetStore, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_worker(*arguments: object) -> None:
        raise AssertionError("a model was measured")

    monkeypatch.setattr("gateway.catalog.models3d.ModelWorker.measure", no_worker)
    assert (await import_folder(store, assets, folder.path)).models_measured == 0


async def test_changed_model_is_a_new_asset_and_the_old_one_stays(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    before, merchant_id = await _snapshot(store)
    folder.model("box.glb", cube(0.2, 0.3, 0.102))
    assert (await import_folder(store, assets, folder.path)).models_measured == 1
    after, _ = await _snapshot(store)
    old, new = (its.variant(merchant_id, "BOX-1").asset_id for its in (before, after))
    assert old is not None
    assert new is not None
    assert old != new
    assert assets.contains(old)
    assert assets.contains(new)
    assert after.asset(new).extents_m[2] == 0.102


async def test_lost_model_file_is_stored_again(
    store: SqliteStore, assets: AssetStore, folder: Folder, tmp_path: Path
) -> None:
    (lost,) = (tmp_path / "assets").glob("*.glb")
    lost.unlink()
    report = await import_folder(store, assets, folder.path)
    assert report.models_measured == 0
    assert lost.exists()


async def test_a_lost_picture_is_drawn_again(
    store: SqliteStore, assets: AssetStore, folder: Folder, tmp_path: Path
) -> None:
    (lost,) = (tmp_path / "assets").glob("*.png")
    before = lost.read_bytes()
    lost.unlink()
    assert (await import_folder(store, assets, folder.path)).models_measured == 1
    assert lost.read_bytes() == before


async def test_variant_that_is_gone_goes_off_sale_and_keeps_its_token_number(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    _, merchant_id = await _snapshot(store)
    folder.product(PRODUCT.replace("BOX-1", "BOX-2"))
    folder.merchant((folder.path / "merchant.yaml").read_text().replace("BOX-1", "BOX-2"))
    await import_folder(store, assets, folder.path)
    after, _ = await _snapshot(store)
    with pytest.raises(NotFoundError):
        after.offer(merchant_id, "BOX-1", Format.DIGITAL)
    gone, new = after.variant(merchant_id, "BOX-1"), after.variant(merchant_id, "BOX-2")
    assert gone.digital is not None
    assert new.digital is not None
    assert (gone.active, gone.digital.token_number) == (False, 1)
    assert (new.active, new.digital.token_number) == (True, 2)

    # It may come back, as itself.
    folder.merchant((folder.path / "merchant.yaml").read_text().replace("BOX-2", "BOX-1"))
    folder.product(PRODUCT)
    await import_folder(store, assets, folder.path)
    again, _ = await _snapshot(store)
    back = again.offer(merchant_id, "BOX-1", Format.DIGITAL).digital
    assert back is not None
    assert back.token_number == 1


async def test_withdrawn_product_is_off_sale(store: SqliteStore, assets: AssetStore, folder: Folder) -> None:
    folder.product(PRODUCT.replace("  tax:", "  status: withdrawn\n  tax:"))
    await import_folder(store, assets, folder.path)
    snapshot, merchant_id = await _snapshot(store)
    with pytest.raises(NotFoundError):
        snapshot.offer(merchant_id, "BOX-1", Format.PHYSICAL)
    assert not snapshot.variant(merchant_id, "BOX-1").active


async def test_article_may_move_between_products_of_one_import(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    before, merchant_id = await _snapshot(store)
    folder.product(PRODUCT.replace("BOX-1", "BOX-2"))
    folder.product(PRODUCT.replace("handle: box", "handle: crate"), "crate.yaml")
    await import_folder(store, assets, folder.path)
    after, _ = await _snapshot(store)
    moved = after.variant(merchant_id, "BOX-1")
    assert moved.variant_id == before.variant(merchant_id, "BOX-1").variant_id
    assert after.product(moved.product_id).handle == "crate"
    assert moved.active


@pytest.mark.parametrize(
    ("edition", "sold", "message"),
    [
        ("kind: capped, cap: 99", 99, None),
        ("kind: capped, cap: 99", 100, "cannot sink to 99: 100 copies are reserved or sold"),
        ("kind: capped, cap: 99", None, "cannot be lowered without asking the inventory"),
        ("kind: capped, cap: 100", None, None),
        ("kind: capped, cap: 101", 0, "was 100 and cannot rise"),
        ("kind: open", 0, "was 100 and cannot rise"),
        ("kind: numbered, cap: 100", 0, "copies are numbered from the first one or not at all"),
    ],
)
async def test_cap_sinks_to_what_is_sold_and_never_rises(
    store: SqliteStore,
    assets: AssetStore,
    folder: Folder,
    edition: str,
    sold: int | None,
    message: str | None,
) -> None:
    folder.product(PRODUCT.replace("kind: capped, cap: 100", edition))
    issued = None if sold is None else _sold(sold)
    if message is None:
        report = await import_folder(store, assets, folder.path, issued=issued)
        assert f"cap: {report.editions[0].cap}" in edition
        return
    with pytest.raises(CatalogInvalidError) as refused:
        await import_folder(store, assets, folder.path, issued=issued)
    assert len(refused.value.problems) == 1
    found = refused.value.problems[0]
    assert message in found.message
    assert found.file == "products/box.yaml"
    assert found.line == next(n for n, line in enumerate(PRODUCT.splitlines(), 1) if "edition" in line)
    assert await store.read(read_version) == 1


async def test_delivery_and_digital_part_cannot_be_taken_back(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    folder.product(PRODUCT.replace("delivery: token", "delivery: entitlement"))
    with pytest.raises(CatalogInvalidError, match="was token and cannot change"):
        await import_folder(store, assets, folder.path)
    lines = PRODUCT.splitlines(keepends=True)
    text = "".join(lines)
    for start, end in (("        bundle:", "      digital:"), ("        digital:", "        physical:")):
        text = text[: text.index(start)] + text[text.index(end, text.index(start)) :]
    digital = text.index("      digital:\n        delivery")
    text = text[:digital] + text[text.index("      physical:\n        weight") :]
    folder.product(text)
    with pytest.raises(CatalogInvalidError, match="it cannot be taken away"):
        await import_folder(store, assets, folder.path)
