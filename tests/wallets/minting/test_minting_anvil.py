"""Minting on a real node over JSON-RPC, with blocks that go away again. Skipped where there is no anvil."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from tests.support.anvil import AnvilNode, anvil
from tests.wallets.minting.lane_world import QUICK, World, through_reorganisations, world
from wallets.minting.contract.calls import encode_balance_of
from wallets.minting.requests import request_return
from wallets.minting.service import Minting, minter_addresses

DEPTH = 4


async def _mine_on(node: AnvilNode) -> None:
    while True:
        await node.ask("evm_mine")
        await asyncio.sleep(0.01)


async def _opened(shop: World, node: AnvilNode) -> Minting:
    for address in await minter_addresses(shop.signer, QUICK):
        await node.ask("anvil_setBalance", address, hex(10**21))
    await shop.define()
    miner = asyncio.create_task(_mine_on(node))
    minting = await shop.open(confirmations=DEPTH, batch_items=10, rebroadcast_after_ms=20)
    await shop.settle(minting)
    miner.cancel()
    return minting


async def _held(node: AnvilNode, contract: str, address: str) -> int:
    return int.from_bytes(await node.client.call(contract, encode_balance_of(address, 1)), "big")


async def test_reorganisations_of_a_real_node_mint_everything_exactly_once(tmp_path: Path) -> None:
    chance = random.Random(3)
    async with anvil(tmp_path, "--no-mining") as node, world(tmp_path, node.client) as shop:
        minting = await _opened(shop, node)
        legs = await shop.request(*(shop.a_request(customer=index) for index in range(80)))
        assert await through_reorganisations(node, minting, chance, likely=0.3, most=15) > 3
        await shop.check_told_once(legs)
        for index in range(80):
            assert await _held(node, minting.contract, await shop.signer.address(f"customer/{index}")) == 1


async def test_a_return_on_a_real_node_reaches_the_treasury_once(tmp_path: Path) -> None:
    async with anvil(tmp_path, "--no-mining") as node, world(tmp_path, node.client) as shop:
        minting = await _opened(shop, node)
        miner = asyncio.create_task(_mine_on(node))
        (leg,) = await shop.request(shop.a_request())
        await shop.settle(minting)
        await shop.store.write(lambda uow: request_return(uow, leg))
        await shop.settle(minting)
        miner.cancel()
        assert (await shop.told(leg))[-1] == "returned"
        assert await _held(node, minting.contract, await shop.signer.address("treasury")) == 1
        assert await _held(node, minting.contract, await shop.signer.address("customer/0")) == 0
