"""What tokens say of themselves: canonical bytes, and when they are fixed."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from gateway.catalog import pictures, token_documents
from gateway.catalog.assets import AssetStore
from gateway.catalog.importing import import_folder
from gateway.catalog.loading import load_snapshot
from gateway.catalog.problems import CatalogInvalidError
from gateway.catalog.tables import asset
from gateway.catalog.token_documents import canonical, document_at, edition_now, publish, published
from gateway.kernel.errors import NotFoundError
from gateway.kernel.store.sqlite import SqliteStore
from gateway.kernel.store.unit import Reader
from tests.catalog.merchants import MERCHANT, PRODUCT, Folder

CHANGED = PRODUCT.replace("A box", "Another box").replace("Be kind.", "Be cruel.")


def _sold(copies: int) -> Any:
    return lambda reader, merchant_id, sku: copies


@pytest.fixture(autouse=True)
async def imported(store: SqliteStore, assets: AssetStore, folder: Folder) -> None:
    await import_folder(store, assets, folder.path)


async def _named(store: SqliteStore, item_number: int = 1) -> str:
    document = await store.read(lambda reader: edition_now(reader, item_number))
    return str(document["name"])


def test_keys_are_sorted_by_utf_16_and_texts_are_raw() -> None:
    # RFC 8785, section 3.2.3: the example of sorting, with its escapes.
    given = {"\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew", "1": "One",
             "\U0001f600": "Emoji", "\x80": "Control", "\u00f6": "Latin"}  # fmt: skip
    assert canonical(given) == (
        '{"\\r":"Carriage Return","1":"One","\x80":"Control","\u00f6":"Latin",'
        '"\u20ac":"Euro Sign","\U0001f600":"Emoji","\ufb33":"Hebrew"}'
    )
    assert canonical({"b": [{"z": 1, "a": None}], "a": True}) == '{"a":true,"b":[{"a":null,"z":1}]}'
    assert canonical({"a": '\x00\x1f"\\/\u2028'}) == '{"a":"\\u0000\\u001f\\"\\\\/\u2028"}'


async def test_a_document_is_found_by_the_hash_of_its_bytes(store: SqliteStore) -> None:
    made = await store.write(lambda uow: publish(uow, 1, 7))
    text = await store.read(lambda reader: document_at(reader, made.sha256))
    assert hashlib.sha256(text.encode()).hexdigest() == made.sha256
    assert text == canonical(made.document)
    assert (made.document["name"], made.document["copy"], made.document["copies"]) == ("A box #7", 7, 100)
    assert made.document["texts"]["de"]["name"] == "Eine Kiste #7"
    assert made.document["options"] == {"colour": "red"}
    with pytest.raises(NotFoundError):
        await store.read(lambda reader: document_at(reader, "0" * 64))
    with pytest.raises(NotFoundError):
        await store.write(lambda uow: publish(uow, 999, None))


async def test_a_copy_is_of_the_edition_that_another_process_has_fixed_meanwhile(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = await store.write(lambda uow: publish(uow, 1, None))
    asked = []

    def as_before_the_others_commit(reader: Reader, item_number: int) -> dict[str, Any]:
        asked.append(item_number)
        found = edition_now(reader, item_number)
        return {**found, "name": "After a change"} if len(asked) == 1 else found

    monkeypatch.setattr(token_documents, "edition_now", as_before_the_others_commit)
    copy = await store.write(lambda uow: publish(uow, 1, 5))
    assert copy.document["name"] == f"{fixed.document['name']} #5"


async def test_a_document_is_published_once(store: SqliteStore, assets: AssetStore, folder: Folder) -> None:
    first = await store.write(lambda uow: publish(uow, 1, None))
    folder.product(CHANGED)
    await import_folder(store, assets, folder.path)
    assert await store.write(lambda uow: publish(uow, 1, None)) == first
    assert (await store.write(lambda uow: publish(uow, 1, 3))).document["license"] == "Be kind."
    assert await _named(store) == "A box"


@pytest.mark.parametrize(("copies", "name"), [(0, "Another box"), (1, "A box")])
async def test_a_change_reaches_only_what_nobody_has_bought(
    store: SqliteStore, assets: AssetStore, folder: Folder, copies: int, name: str
) -> None:
    folder.product(CHANGED)
    await import_folder(store, assets, folder.path, issued=_sold(copies))
    assert await _named(store) == name
    snapshot = await store.read(load_snapshot)
    merchant = snapshot.merchant_by_slug("shop")
    assert snapshot.variant(merchant.merchant_id, "BOX-1").title["en"] == "Another box"


async def test_what_was_sold_stays_when_its_article_leaves_the_product(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    folder.product(CHANGED.replace("sku: BOX-1", "sku: BOX-2"))
    folder.merchant(MERCHANT.replace("BOX-1", "BOX-2"))
    await import_folder(store, assets, folder.path, issued=_sold(1))
    assert await _named(store) == "A box"
    assert await _named(store, 2) == "Another box"


async def test_a_refused_import_fixes_nothing(store: SqliteStore, assets: AssetStore, folder: Folder) -> None:
    folder.product(CHANGED.replace("cap: 100", "cap: 101"))
    with pytest.raises(Exception, match="cannot rise"):
        await import_folder(store, assets, folder.path, issued=_sold(1))
    assert await store.read(lambda reader: published(reader, 1, None)) is None


async def test_a_model_from_before_pictures_gets_one(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    await store.write(lambda uow: uow.core(asset.update().values(picture_id=None)) and None)
    assert "image" not in await store.read(lambda reader: edition_now(reader, 1))
    assert (await import_folder(store, assets, folder.path)).models_measured == 1
    image = (await store.read(lambda reader: edition_now(reader, 1)))["image"]
    assert assets.served(f"{image['sha256']}.png").media_type == image["media_type"] == "image/png"


async def test_a_merchants_own_picture_is_shown_in_the_place_of_the_drawn_one(
    store: SqliteStore, assets: AssetStore, folder: Folder
) -> None:
    own = pictures._png(np.zeros((8, 8, 4), np.uint8))
    (folder.path / "pictures").mkdir()
    (folder.path / "pictures" / "box.png").write_bytes(own)
    folder.product(PRODUCT.replace("sku: BOX-1", "sku: BOX-1\n      picture: box.png"))
    await import_folder(store, assets, folder.path)
    image = (await store.read(lambda reader: edition_now(reader, 1)))["image"]
    assert image["sha256"] == hashlib.sha256(own).hexdigest()
    assert assets.contains(image["sha256"], "png")


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("../models/box.glb", b"", "must be the name of a file"),
        ("none.png", None, "there is no file"),
        ("text.png", b"hello", "is not a PNG"),
        ("large.png", b"\x89PNG" + bytes(1024 * 1024), "bytes"),
        ("wide.png", pictures._png(np.zeros((1, 2049, 4), np.uint8)), "2049 by 1 points"),
    ],
)
async def test_a_picture_that_is_none_is_refused(
    store: SqliteStore, assets: AssetStore, folder: Folder, name: str, data: bytes | None, reason: str
) -> None:
    (folder.path / "pictures").mkdir()
    if data:
        (folder.path / "pictures" / name).write_bytes(data)
    folder.product(PRODUCT.replace("sku: BOX-1", f"sku: BOX-1\n      picture: {name}"))
    with pytest.raises(CatalogInvalidError, match="picture") as refused:
        await import_folder(store, assets, folder.path)
    assert [reason in problem.message for problem in refused.value.problems] == [True]
