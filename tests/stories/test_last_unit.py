"""A hundred customers want the last one: one gets it, ninety-nine are told clearly, nothing stays held."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from samples.headset.client import CommandError
from tests.support.buying import buy, ended, quote, until
from tests.support.gateway import OpenGateway, opened
from tests.support.seed import SAMPLES, Seed, make_seed

SHOP = "last-things"
BUYERS = 100
_MERCHANT = """
merchant:
  slug: last-things
  name: Last Things GmbH
  country: DE
  currencies: [EUR]
  tax: {scheme: destination, shipping_category: goods_standard, registrations: {DE: DE123456788}}
  shipping:
    - {countries: [DE], prices: {EUR: "4.90"}, days: [1, 3]}
  locations:
    - {code: berlin, name: Berlin, kind: warehouse, country: DE, priority: 10}
"""
_PRODUCT = """
product:
  handle: last-lamp
  title: {en: Last lamp}
  description: {en: The last one.}
  failure_policy: all_or_nothing
  tax: {digital: digital_standard, physical: goods_standard}
  variants:
    - sku: LAST-LAMP
      offers:
        physical: {prices: {EUR: "50.00"}}
      model: lamp.glb
      physical: {weight_g: 900, size_mm: [340, 340, 420], stock: {berlin: 1}}
    - sku: LAST-COPY
      offers:
        digital: {prices: {EUR: "10.00"}}
      digital: {delivery: token, model: lamp.glb, edition: {kind: capped, cap: 1}}
    - sku: LAST-NUMBER
      offers:
        digital: {prices: {EUR: "12.00"}}
      digital: {delivery: token, model: lamp.glb, edition: {kind: numbered, cap: 1}}
"""


@pytest.fixture(scope="module")
def last_things(tmp_path_factory: pytest.TempPathFactory) -> Seed:
    folder = tmp_path_factory.mktemp("catalog") / SHOP
    (folder / "models").mkdir(parents=True)
    (folder / "products").mkdir()
    (folder / "merchant.yaml").write_text(_MERCHANT)
    (folder / "products" / "last-lamp.yaml").write_text(_PRODUCT)
    shutil.copy(SAMPLES / "atelier-nord" / "models" / "lamp.glb", folder / "models")
    return make_seed(tmp_path_factory.mktemp("last") / "data", folder)


@pytest.mark.parametrize(
    ("item", "refusal"),
    [
        ("LAST-LAMP:physical", "stock.sold_out"),
        ("LAST-COPY:digital", "edition.sold_out"),
        ("LAST-NUMBER:digital", "edition.sold_out"),
    ],
)
async def test_of_a_hundred_who_buy_the_last_one_gets_it(
    item: str, refusal: str, last_things: Seed, tmp_path: Path
) -> None:
    async with opened(last_things, tmp_path / "data") as shop, AsyncExitStack() as connections:
        customers = await asyncio.gather(*(shop.customer("visa", merchant=SHOP) for _ in range(BUYERS)))
        headsets = [await connections.enter_async_context(shop.headset(each)) for each in customers]
        start = asyncio.Event()

        async def try_to_buy(number: int) -> str:
            await start.wait()
            try:
                order_id = await buy(headsets[number], customers[number], item, merchant=SHOP)
            except CommandError as refused:
                assert refused.body["class"] == "fix"
                assert refused.body["data"]["available"] == 0
                return refused.code
            last = await ended(headsets[number], order_id)
            return str(last["type"])

        tries = [asyncio.create_task(try_to_buy(number)) for number in range(BUYERS)]
        start.set()
        results = await asyncio.gather(*tries)
        assert sorted(results) == sorted(["order.completed"] + [refusal] * (BUYERS - 1))
        await shop.check()
        sku = item.partition(":")[0]
        (pool,) = shop.evidence.rows("SELECT * FROM inventory_pool WHERE sku = ?", sku)
        assert (pool["on_hand"], pool["held"], pool["reserved"]) == (0, 0, 0)
        assert shop.evidence.count("customer_order") == 1


async def test_what_a_quote_holds_is_free_again_when_it_expires(last_things: Seed, tmp_path: Path) -> None:
    async with opened(last_things, tmp_path / "data", quote_valid_ms=300) as shop:
        first, second = await shop.customer("visa", merchant=SHOP), await shop.customer("visa", merchant=SHOP)
        async with shop.headset(first) as one, shop.headset(second) as two:
            held = await quote(one, "LAST-LAMP:physical", merchant=SHOP)
            with pytest.raises(CommandError) as refused:
                await quote(two, "LAST-LAMP:physical", merchant=SHOP)
            assert refused.value.code == "stock.sold_out"

            async def free() -> bool:
                return not await _held(shop)

            await until(free)
            await ended(two, await buy(two, second, "LAST-LAMP:physical", merchant=SHOP))
            with pytest.raises(CommandError) as late:
                await one.command(
                    "order.place",
                    {"quote_id": held["quote_id"], "payment_method_id": first.methods["visa"]},
                )
            assert late.value.code == "quote.expired"
        await shop.check()


async def _held(shop: OpenGateway) -> int:
    return await asyncio.to_thread(shop.evidence.count, "inventory_hold", "state = 'held'")
