"""A merchant sells tokens of its own contracts: paid first, minted there, and never taken back by us."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_account import Account
from eth_utils.crypto import keccak
from typer.testing import CliRunner

from gateway.app import Gateway
from gateway.cli import app
from gateway.commands.merchant import import_catalog
from gateway.settings import Settings
from tests.support.buying import buy, ended, legs, show, told
from tests.support.evidence import Evidence
from tests.support.gateway import OpenGateway, opened
from tests.support.seed import SAMPLES, Seed
from tests.wallets.minting.vyper_contracts import CARDS, ITEMS, bytecode
from wallets.minting.chain.deploy import create_address
from wallets.minting.chain.embedded import EmbeddedChain

MERCHANT = Account.from_key(keccak(text="a merchant with contracts of its own"))

MINTING = """
  minting:
    contracts:
      - name: cards
        chain_id: {chain_id}
        address: "{cards}"
        standard: erc721
        call: safeMint(address)
        arguments: [to]
      - name: closed
        chain_id: {chain_id}
        address: "{items}"
        standard: erc1155
        call: mint(address,uint256,uint256,bytes)
        arguments: [to, id, amount, data]
"""
PRODUCT = """\
product:
  handle: {handle}
  title: {{en: {handle}}}
  tax: {{digital: digital_standard}}
  variants:
    - sku: {sku}
      offers:
        digital: {{prices: {{EUR: "4.00"}}}}
      digital:
        delivery: token
        contract: {contract}
"""


async def _deploy(data: Path) -> dict[str, Any]:
    """Deploy two contracts on the chain of a closed gateway; only the first lets its key mint."""
    minter = Evidence(data).rows("SELECT address FROM mint_lane")[0]["address"]
    chain = await EmbeddedChain.open(data / "chain.db", funded=[MERCHANT.address])
    try:
        found: dict[str, Any] = {"chain_id": await chain.chain_id()}
        for name, source, arguments in (
            ("cards", CARDS, encode(["address"], [minter])),
            ("items", ITEMS, encode(["uint256"], [9])),
        ):
            nonce, fees = await chain.nonce(MERCHANT.address), await chain.fees()
            signed = MERCHANT.sign_transaction(
                {
                    "type": 2,
                    "chainId": found["chain_id"],
                    "nonce": nonce,
                    "gas": 3_000_000,
                    "maxFeePerGas": fees.max_fee,
                    "maxPriorityFeePerGas": fees.priority_fee,
                    "value": 0,
                    "data": bytecode(source) + arguments,
                }
            )
            await chain.send_raw(bytes(signed.raw_transaction))
            found[name] = create_address(MERCHANT.address, nonce)
        return found
    finally:
        await chain.close()


async def _import(data: Path, folder: Path) -> None:
    gateway = await Gateway.open(Settings(data_dir=data, port=1), checked=True)
    try:
        await import_catalog(gateway.context, folder)
    finally:
        await gateway.close()


@pytest.fixture(scope="session")
def own_seed(seed: Seed, tmp_path_factory: pytest.TempPathFactory) -> Seed:
    """The sample catalog, and two products of its first merchant on contracts of its own."""
    data = seed.copy(tmp_path_factory.mktemp("own") / "data")
    places = asyncio.run(_deploy(data))
    folder = tmp_path_factory.mktemp("catalog") / "atelier-nord"
    shutil.copytree(SAMPLES / "atelier-nord", folder)
    merchant = folder / "merchant.yaml"
    merchant.write_text(merchant.read_text().rstrip() + MINTING.format(**places))
    for handle, sku, contract in (("card", "CARD", "cards"), ("sword", "SWORD", "closed")):
        text = PRODUCT.format(handle=handle, sku=sku, contract=contract)
        (folder / "products" / f"{handle}.yaml").write_text(text)
    asyncio.run(_import(data, folder))
    return Seed(data, seed.keys)


@pytest.fixture
async def own_shop(own_seed: Seed, tmp_path: Path) -> AsyncIterator[OpenGateway]:
    async with opened(own_seed, tmp_path / "data") as found:
        yield found


async def test_three_cards_are_three_tokens_of_the_merchants_contract(own_shop: OpenGateway) -> None:
    customer = await own_shop.customer("visa")
    async with own_shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "CARD:digital:3")
        assert (await ended(headset, order_id))["type"] == "order.completed"
        order = await show(headset, order_id)
        tokens = [leg["token"] for line in order["lines"] for leg in line["legs"]]
        assert sorted(token["token_id"] for token in tokens) == ["1", "2", "3"]
        contract = own_shop.gateway.minting
        assert contract is not None
        assert {token["contract"] for token in tokens}.isdisjoint({contract.contract})
        events = told(headset, order_id)
        # Nobody can take such a token back: it is paid for before it is minted.
        assert events.index("payment.captured") < events.index("token.minted")
        (row,) = {row["state"] for row in Evidence(own_shop.data_dir).rows("SELECT state FROM mint")}
        assert row in ("minted", "final")
        with pytest.raises(AssertionError, match=r"order\.return_needs_holder"):
            await own_shop.refund(order_id)
        # Our metadata tells of our contract alone, whatever numbers the other one has.
        items = (await headset.command("wallet.list"))["items"]
        assert [item["metadata_url"] for item in items] == [None] * 3
        (number,) = {
            row["item_number"] for row in Evidence(own_shop.data_dir).rows("SELECT item_number FROM mint")
        }
        assert (await own_shop.http.get(f"/v1/tokens/{number:064x}.json")).status_code == 404
    await own_shop.check()


async def test_what_the_merchants_contract_refuses_is_paid_back(own_shop: OpenGateway) -> None:
    customer = await own_shop.customer("visa")
    async with own_shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "SWORD:digital")
        assert (await ended(headset, order_id))["type"] in ("order.refunded", "order.canceled")
        order = await show(headset, order_id)
        assert legs(order)["mint"]["state"] == "returned"
        assert "payment.refunded" in told(headset, order_id)
    await own_shop.check()


def test_what_merchants_and_operators_need_is_on_the_command_line(own_seed: Seed, tmp_path: Path) -> None:
    data = own_seed.copy(tmp_path / "data")

    def run(*words: str) -> Any:
        return CliRunner().invoke(app, ["minting", *words, "--data-dir", str(data)])

    (lane,) = Evidence(data).rows("SELECT address FROM mint_lane")
    assert lane["address"] in run("keys").stdout
    assert run("gas").exit_code == 0
    assert run("parked").stdout == "nothing is parked\n"
    unknown = run("again", "leg_none")
    assert (unknown.exit_code, "mint.not_parked" in unknown.stderr) == (1, True)
    assert run("found", "leg_none", "many").exit_code == 2
