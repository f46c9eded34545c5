"""A customer looks into their wallet: as documents over the socket, and as pages in a real browser."""

from __future__ import annotations

import asyncio
import re
import struct
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import insert

from gateway.catalog import pictures
from gateway.orders.tables import entitlement
from samples.headset.client import Document
from tests.catalog.glbs import pack
from tests.support.buying import buy, ended
from tests.support.chromium import DESKTOP, PHONE, Phone, phone
from tests.support.gateway import Customer, OpenGateway

ITEMS = ("DUSK-PRINT:bundle", "KUPPEL-LAMP:bundle", "HALM-CHAIR:digital", "MONSTERA:bundle")


async def shopping(shop: OpenGateway, customer: Customer, *items: str) -> list[Document]:
    """Buy everything and return the wallet, newest first."""
    async with shop.headset(customer) as headset:
        for item in items:
            await ended(headset, await buy(headset, customer, item))
        return list((await headset.command("wallet.list"))["items"])


async def page_of(shop: OpenGateway, customer: Customer) -> str:
    """Ask for the wallet's address."""
    async with shop.headset(customer) as headset:
        return str((await headset.command("wallet.page"))["url"])


def visitor(shop: OpenGateway) -> httpx.AsyncClient:
    """A browser without a past."""
    return httpx.AsyncClient(base_url=shop.base_url, timeout=20)


async def test_a_wallet_shows_pictures_models_and_which_wallet_holds_what(shop: OpenGateway) -> None:
    customer = await shop.customer("visa")
    items = {item["sku"]: item for item in await shopping(shop, customer, *ITEMS[:3])}
    print_, lamp, chair = items["DUSK-PRINT"], items["KUPPEL-LAMP"], items["HALM-CHAIR"]
    assert (print_["kind"], print_["edition"], print_["serial"], print_["copies"]) == (
        "token",
        "numbered",
        1,
        25,
    )
    assert (lamp["edition"], lamp["serial"], lamp["copies"]) == ("capped", None, 500)
    assert (chair["kind"], chair["edition"], chair["copies"], chair["wallet"]) == (
        "entitlement",
        "open",
        None,
        None,
    )
    async with shop.headset(customer) as headset:
        address = (await headset.command("wallet.list"))["address"]
    for token in (print_, lamp):
        assert token["wallet"] == {"kind": "custodial", "wallet_id": None, "address": address}
        assert (await shop.http.get(token["metadata_url"])).json()["twin"]["state"] == "minted"
    for item in items.values():
        assert (item["state"], item["merchant"]) == ("owned", "atelier-nord")
        for name, media_type in (("picture_url", "image/png"), ("model_url", "model/gltf-binary")):
            answer = await shop.http.get(item[name])
            assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)


async def test_what_is_ordered_is_in_the_wallet_before_it_is_delivered(shop: OpenGateway) -> None:
    customer = await shop.customer("challenge")
    async with shop.headset(customer) as headset:
        for item in ("DUSK-PRINT:bundle", "HALM-CHAIR:digital"):
            order_id = await buy(headset, customer, item, card="challenge")
            await headset.event("payment.action_required", order_id=order_id)
        found = (await headset.command("wallet.list"))["items"]
        assert [(item["sku"], item["state"]) for item in found] == [
            ("HALM-CHAIR", "reserved"),
            ("DUSK-PRINT", "reserved"),
        ]
        assert found[1]["token_id"] is None
        for item in found:
            await headset.command("order.cancel", {"order_id": item["order_id"]})
        assert (await headset.command("wallet.list"))["items"] == []


async def test_an_address_opens_once_and_not_by_following_it(shop: OpenGateway) -> None:
    customer = await shop.customer("visa")
    address = await page_of(shop, customer)
    async with visitor(shop) as browser, visitor(shop) as other:
        for _ in range(2):
            assert (await browser.get(address)).status_code == 200
        assert (await browser.get("/wallet")).status_code == 401
        opened = await browser.post(address)
        assert (opened.status_code, opened.headers["location"]) == (303, "/wallet")
        cookie = opened.headers["set-cookie"].lower()
        for part in ("httponly", "samesite=strict", "path=/wallet", "max-age=900"):
            assert part in cookie
        assert (await browser.get("/wallet")).status_code == 200
        for again in (await other.get(address), await other.post(address)):
            assert again.status_code == 404 and "has ended" in again.text
        assert (await other.get("/wallet")).status_code == 401
        await browser.post("/wallet/close")
        browser.cookies.set("vitrine_wallet", opened.cookies["vitrine_wallet"], path="/wallet")
        assert (await browser.get("/wallet")).status_code == 401
    secret = address.rsplit("/", 1)[1]
    for row in shop.evidence.rows("SELECT * FROM wallet_page"):
        assert secret not in str(row) and opened.cookies["vitrine_wallet"] not in str(row)


async def test_an_address_and_a_session_end_with_their_time(
    shop: OpenGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer = await shop.customer("visa")
    monkeypatch.setattr("gateway.identity.wallet_pages.ADDRESS_MS", 0)
    late = await page_of(shop, customer)
    monkeypatch.undo()
    monkeypatch.setattr("gateway.identity.wallet_pages.SESSION_MS", 0)
    async with visitor(shop) as browser:
        assert (await browser.get(late)).status_code == 404
        assert (await browser.post(late)).status_code == 404
        assert (await browser.post(await page_of(shop, customer))).status_code == 303
        assert (await browser.get("/wallet")).status_code == 401


async def test_another_customers_item_looks_like_none(shop: OpenGateway) -> None:
    mine, theirs = await shop.customer("visa"), await shop.customer("visa")
    (item,) = await shopping(shop, mine, "HALM-CHAIR:digital")
    async with visitor(shop) as browser:
        await browser.post(await page_of(shop, theirs))
        assert "There is nothing here yet" in (await browser.get("/wallet")).text
        other = await browser.get(f"/wallet/items/{item['leg_id']}")
        assert other.status_code == 404
        assert other.text == (await browser.get("/wallet/items/leg_nothing")).text
    async with visitor(shop) as browser:
        await browser.post(await page_of(shop, mine))
        assert (await browser.get(f"/wallet/items/{item['leg_id']}")).status_code == 200


async def test_a_wallet_of_many_items_is_shown_page_by_page(shop: OpenGateway) -> None:
    customer = await shop.customer("visa")
    (item,) = await shopping(shop, customer, "HALM-CHAIR:digital")
    rows = shop.evidence.rows("SELECT * FROM entitlement")
    older = [{**rows[0], "leg_id": f"leg_{number:028x}"} for number in range(30)]
    await shop.gateway.context.store.write(lambda uow: uow.core(insert(entitlement).values(older)) and None)
    seen: list[str] = []
    async with visitor(shop) as browser:
        await browser.post(await page_of(shop, customer))
        path: str | None = "/wallet"
        while path is not None:
            text = (await browser.get(path)).text
            seen += re.findall(r'href="/wallet/items/(\w+)"', text)
            following = re.search(r'href="(/wallet\?after=\w+)"', text)
            path = None if following is None else following.group(1)
    assert seen == [item["leg_id"], *sorted((row["leg_id"] for row in older), reverse=True)]


async def test_pages_load_nothing_from_elsewhere_and_may_not_be_framed(shop: OpenGateway) -> None:
    customer = await shop.customer("visa")
    (item,) = await shopping(shop, customer, "HALM-CHAIR:digital")
    async with visitor(shop) as browser:
        address = await page_of(shop, customer)
        answers = [await browser.get(address), await browser.post(address)]
        answers += [await browser.get(path) for path in ("/wallet", f"/wallet/items/{item['leg_id']}")]
        for answer in answers:
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy and "http" not in policy
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert not re.search(r"(?:src|href|action)=\"(?:https?:)?//", answer.text)
            assert not re.search(r"<script(?![^>]*src=)|\son\w+=|style=", answer.text)


# --- In a real browser --------------------------------------------------------------------------------

# Draws the canvas at a key, and counts what is drawn: covered points, and the sum of their colours.
SHOWN = """
const [key, done] = [arguments[0], arguments[1]];
const canvas = document.getElementById("model");
if (key) canvas.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
requestAnimationFrame(() => {
  const copy = document.createElement("canvas");
  [copy.width, copy.height] = [canvas.width, canvas.height];
  const flat = copy.getContext("2d");
  flat.drawImage(canvas, 0, 0);
  const points = flat.getImageData(0, 0, copy.width, copy.height).data;
  const told = { covered: 0, all: points.length / 4, red: 0, green: 0, blue: 0 };
  for (let at = 0; at < points.length; at += 4) {
    if (points[at + 3] < 128) continue;
    told.covered += 1;
    told.red += points[at];
    told.green += points[at + 1];
    told.blue += points[at + 2];
  }
  done(told);
});
"""


def textured_square(color: tuple[int, int, int]) -> bytes:
    """Return a GLB of two triangles with an image (PNG) of one colour, seen from both sides."""
    corners = struct.pack("<12f", -1, -1, 0, 1, -1, 0, 1, 1, 0, -1, 1, 0)
    spots = struct.pack("<8f", 0, 1, 1, 1, 1, 0, 0, 0)
    indices = struct.pack("<6H", 0, 1, 2, 0, 2, 3)
    image = pictures._png(np.array([[[*color, 255]] * 4] * 4, np.uint8))
    blocks = [part + b"\0" * (-len(part) % 4) for part in (corners, spots, indices, image)]
    starts = [sum(map(len, blocks[:at])) for at in range(4)]
    lengths = [len(corners), len(spots), len(indices), len(image)]
    document = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [
            {"primitives": [{"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "indices": 2, "material": 0}]}
        ],
        "materials": [{"doubleSided": True, "pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
        "textures": [{"source": 0}],
        "images": [{"bufferView": 3, "mimeType": "image/png"}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5126, "count": 4, "type": "VEC2"},
            {"bufferView": 2, "componentType": 5123, "count": 6, "type": "SCALAR"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteOffset": start, "byteLength": length}
            for start, length in zip(starts, lengths, strict=True)
        ],
        "buffers": [{"byteLength": sum(map(len, blocks))}],
    }
    return pack(document, b"".join(blocks))


async def state_of_model(screen: Phone) -> str:
    def wait(driver: Any) -> str:
        from selenium.webdriver.support.wait import WebDriverWait

        find = "return document.getElementById('model').dataset.state || ''"
        return str(WebDriverWait(driver, 15, 0.05).until(lambda one: one.execute_script(find)))

    return await screen.do(wait)


async def drawn(screen: Phone, key: str) -> dict[str, int]:
    found: dict[str, int] = await screen.do(lambda driver: driver.execute_async_script(SHOWN, key))
    return found


async def test_a_browser_opens_the_wallet_and_turns_an_item(shop: OpenGateway, tmp_path: Path) -> None:
    customer = await shop.customer("visa")
    items = await shopping(shop, customer, *ITEMS)
    async with phone(tmp_path / "profile", DESKTOP) as screen:
        await screen.open(await page_of(shop, customer))
        await screen.click("button.go")
        text = await screen.until("No. 1 of 25")
        for item in items:
            assert item["title"] in text
        count = "return [...document.images].filter((one) => one.complete && one.naturalWidth === 512).length"
        for _ in range(100):
            if await screen.do(lambda driver: driver.execute_script(count)) == len(items):
                break
            await asyncio.sleep(0.05)
        assert await screen.do(lambda driver: driver.execute_script(count)) == len(items)
        for item in items:
            await screen.open(f"{shop.base_url}/wallet/items/{item['leg_id']}")
            assert await state_of_model(screen) == "shown"
            first = await drawn(screen, "ArrowLeft")
            assert 0.03 < first["covered"] / first["all"] < 0.9, item["sku"]
            turned = await drawn(screen, "ArrowRight")
            assert turned != first, item["sku"]
            nearer = await drawn(screen, "+")
            assert nearer["covered"] > turned["covered"]
        assert await screen.complaints() == []


async def test_colours_of_the_view_are_the_models(shop: OpenGateway, tmp_path: Path) -> None:
    customer = await shop.customer("visa")
    (lamp,) = await shopping(shop, customer, "KUPPEL-LAMP:bundle")
    async with phone(tmp_path / "profile", DESKTOP) as screen:
        await screen.open(await page_of(shop, customer))
        await screen.click("button.go")
        await screen.until(lamp["title"])
        await screen.open(f"{shop.base_url}/wallet/items/{lamp['leg_id']}")
        assert await state_of_model(screen) == "shown"
        found = await drawn(screen, "ArrowLeft")
        # A red shade on a foot of brass.
        assert found["red"] > 1.5 * found["green"] > 1.5 * found["blue"] > 0


async def test_without_webgl_the_picture_stays(shop: OpenGateway, tmp_path: Path) -> None:
    customer = await shop.customer("visa")
    (item,) = await shopping(shop, customer, "HALM-CHAIR:digital")
    async with phone(tmp_path / "profile", PHONE) as screen:
        no_webgl = {"source": "HTMLCanvasElement.prototype.getContext = () => null;"}
        await screen.do(
            lambda driver: driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", no_webgl)
        )
        await screen.open(await page_of(shop, customer))
        await screen.click("button.go")
        await screen.until(item["title"])
        await screen.click(".grid a")
        await screen.until("Sold by")
        assert await state_of_model(screen) == "failed"
        assert await screen.shows(".stage img") and not await screen.shows("#model")
        assert await screen.complaints() == []
        # Nothing is wider than the phone.
        wide = "return document.documentElement.scrollWidth"
        assert await screen.do(lambda driver: driver.execute_script(wide)) == PHONE[0]


async def test_a_texture_covers_the_model(shop: OpenGateway, tmp_path: Path) -> None:
    customer = await shop.customer("visa")
    (item,) = await shopping(shop, customer, "HALM-CHAIR:digital")
    # In the place of the chair, whose model has none: a square without normals, in the colour of its image.
    stored = shop.data_dir / "assets" / item["model_url"].rsplit("/", 1)[1]
    stored.write_bytes(textured_square((20, 60, 220)))
    async with phone(tmp_path / "profile", DESKTOP) as screen:
        await screen.open(await page_of(shop, customer))
        await screen.click("button.go")
        await screen.until(item["title"])
        await screen.open(f"{shop.base_url}/wallet/items/{item['leg_id']}")
        assert await state_of_model(screen) == "shown"
        found = await drawn(screen, "ArrowLeft")
        assert found["covered"] / found["all"] > 0.1
        assert found["blue"] > 2 * found["green"] > 2 * found["red"]
        assert await screen.complaints() == []


async def test_a_model_that_cannot_be_read_leaves_the_picture(shop: OpenGateway, tmp_path: Path) -> None:
    customer = await shop.customer("visa")
    (item,) = await shopping(shop, customer, "HALM-CHAIR:digital")
    stored = shop.data_dir / "assets" / item["model_url"].rsplit("/", 1)[1]
    async with phone(tmp_path / "profile", DESKTOP) as screen:
        await screen.open(await page_of(shop, customer))
        await screen.click("button.go")
        await screen.until(item["title"])
        whole = stored.read_bytes()
        for broken in (b"", whole[:20], whole[: len(whole) // 2], b"no model at all" * 10):
            stored.write_bytes(broken)
            await screen.open(f"{shop.base_url}/wallet/items/{item['leg_id']}")
            assert await state_of_model(screen) == "failed"
            assert await screen.shows(".stage img")
