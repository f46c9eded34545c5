"""Merchants' own contracts on a real node whose blocks go away again. Skipped where there is no anvil."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from tests.support.anvil import AnvilNode, anvil
from tests.wallets.minting.lane_world import QUICK, World, through_reorganisations, world
from tests.wallets.minting.own_world import ERC721_MINT, a_contract, define_own
from tests.wallets.minting.vyper_contracts import CARDS, bytecode, send
from wallets.minting.service import Minting, minter_addresses

DEPTH = 4
MERCHANT_KEY = "customer/900"


async def _opened(shop: World, node: AnvilNode) -> tuple[Minting, str]:
    merchant = await shop.signer.address(MERCHANT_KEY)
    for address in [*await minter_addresses(shop.signer, QUICK), merchant]:
        await node.ask("anvil_setBalance", address, hex(10**21))
    minter = await shop.signer.address("minter/0")
    data = bytecode(CARDS) + encode(["address"], [minter])
    contract = await send(node.client, shop.signer, MERCHANT_KEY, to=None, data=data)
    chain_id = await node.client.chain_id()
    await define_own(shop, a_contract(ERC721_MINT, address=contract, chain_id=chain_id))
    miner = asyncio.create_task(_mine_on(node))
    minting = await shop.open(confirmations=DEPTH, rebroadcast_after_ms=20)
    await shop.settle(minting)
    miner.cancel()
    return minting, contract


async def _mine_on(node: AnvilNode) -> None:
    while True:
        await node.ask("evm_mine")
        await asyncio.sleep(0.01)


async def test_reorganisations_leave_every_mint_there_made_once(tmp_path: Path) -> None:
    chance = random.Random(5)
    async with anvil(tmp_path, "--no-mining") as node, world(tmp_path, node.client) as shop:
        minting, contract = await _opened(shop, node)
        legs = await shop.request(*(shop.a_request(customer=index) for index in range(15)))
        assert await through_reorganisations(node, minting, chance, likely=0.2, most=12) > 3
        await shop.check_told_once(legs)
        owners = [await _owner(node, contract, token_id) for token_id in range(1, 17)]
        # Every token that was made belongs to the mint that was told of it, and there is no other.
        assert int(owners[15], 16) == 0
        views = await shop.mints()
        told = {view.token_id: view.recipient.lower() for view in views}
        assert told == dict(enumerate(owners[:15], 1))
        assert (await minting.status()).parked == 0


async def _owner(node: AnvilNode, contract: str, token_id: int) -> str:
    data = keccak(text="ownerOf(uint256)")[:4] + encode(["uint256"], [token_id])
    return "0x" + (await node.client.call(contract, data))[-20:].hex()
