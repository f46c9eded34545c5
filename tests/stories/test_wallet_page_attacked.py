"""The wallet's page under attack: buttons pressed by other sites, and models that were made to hang it."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from tests.catalog.glbs import cube_parts, pack
from tests.stories.test_wallet_page import page_of, shopping, state_of_model, visitor
from tests.support.chromium import DESKTOP, phone
from tests.support.gateway import OpenGateway


async def test_another_sites_form_opens_no_wallet_and_closes_none(shop: OpenGateway) -> None:
    mine, theirs = await shop.customer("visa"), await shop.customer("visa")
    address, strangers = await page_of(shop, mine), await page_of(shop, theirs)
    async with visitor(shop) as browser:
        for site in ("cross-site", "same-site"):
            pressed = await browser.post(strangers, headers={"Sec-Fetch-Site": site})
            assert (pressed.status_code, "set-cookie" in pressed.headers) == (200, False)
            assert "<button" in pressed.text
        assert (await browser.post(address, headers={"Sec-Fetch-Site": "same-origin"})).status_code == 303
    # Browsers send a strict cookie with no form of another site, so nothing is closed and no cookie ends.
    async with visitor(shop) as browser:
        closed = await browser.post("/wallet/close", headers={"Sec-Fetch-Site": "cross-site"})
        assert "set-cookie" not in closed.headers
        # What another site pressed was not used up.
        assert (await browser.post(strangers)).status_code == 303


def branching(document: dict[str, Any]) -> dict[str, Any]:
    """Each node holds the next twice: 2^60 ways to the last."""
    nodes: list[dict[str, Any]] = [{"children": [at + 1, at + 1]} for at in range(60)]
    return {**document, "nodes": [*nodes, {"mesh": 0}]}


def with_accessor(document: dict[str, Any], **values: Any) -> dict[str, Any]:
    first, *rest = document["accessors"]
    return {**document, "accessors": [{**first, **values}, *rest]}


def models() -> dict[str, tuple[bytes, str]]:
    """Hostile models by name, and what becomes of them."""
    document, binary = cube_parts()
    sound = pack(document, binary)
    text = json.dumps(branching(document)).encode()
    text += b" " * (-len(text) % 4)
    chunk = struct.pack("<I4s", len(text), b"JSON") + text
    second = sound[:8] + struct.pack("<I", len(sound) + len(chunk)) + sound[12:] + chunk
    # A mesh of 400,000 vertices, few of which are drawn, shown by every node there may be.
    many = 400_000
    views = document["bufferViews"]
    heavy = {
        **document,
        "nodes": [{"mesh": 0, "translation": [at % 40, at // 40, 0]} for at in range(2000)],
        "scenes": [{"nodes": list(range(2000))}],
        "accessors": [{**document["accessors"][0], "count": many}, document["accessors"][1]],
        "bufferViews": [
            {**views[0], "byteOffset": len(binary), "byteLength": 12 * many},
            views[1],
        ],
        "buffers": [{"byteLength": len(binary) + 12 * many}],
    }
    heavy["meshes"] = [{"primitives": [{**document["meshes"][0]["primitives"][0]}]}]
    corners = struct.pack("<24f", *([0.0, 0.3, 0.2, 0.1, 0.0, 0.3] * 4)) + bytes(12 * (many - 8))
    parts = [{**document["meshes"][0]["primitives"][0]} for _ in range(20_000)]
    return {
        "a second document": (second, "shown"),
        "a mesh shown often": (pack(heavy, binary + corners), "shown"),
        "nodes that branch": (pack(branching(document), binary), "failed"),
        "nodes in a circle": (pack({**document, "nodes": [{"children": [0]}]}, binary), "failed"),
        "a huge count": (pack(with_accessor(document, count=2**40), binary), "failed"),
        "a count beyond the file": (pack(with_accessor(document, count=2**26), binary), "failed"),
        "no data": (pack(with_accessor(document, bufferView=None, count=2**28), binary), "failed"),
        "an offset before it": (pack(with_accessor(document, byteOffset=-(2**20)), binary), "failed"),
        "many parts": (pack({**document, "meshes": [{"primitives": parts}]}, binary), "failed"),
    }


async def test_a_model_made_to_hang_the_page_does_not(shop: OpenGateway, tmp_path: Path) -> None:
    customer = await shop.customer("visa")
    (item,) = await shopping(shop, customer, "HALM-CHAIR:digital")
    stored = shop.data_dir / "assets" / item["model_url"].rsplit("/", 1)[1]
    async with phone(tmp_path / "profile", DESKTOP) as screen:
        # The address of a model never changes what it holds, but here.
        await screen.do(lambda driver: driver.execute_cdp_cmd("Network.enable", {}))
        no_cache = {"cacheDisabled": True}
        await screen.do(lambda driver: driver.execute_cdp_cmd("Network.setCacheDisabled", no_cache))
        await screen.open(await page_of(shop, customer))
        await screen.click("button.go")
        await screen.until(item["title"])
        for name, (model, outcome) in models().items():
            stored.write_bytes(model)
            await screen.open(f"{shop.base_url}/wallet/items/{item['leg_id']}")
            assert (name, await state_of_model(screen)) == (name, outcome)
            if outcome == "failed":
                assert await screen.shows(".stage img")
