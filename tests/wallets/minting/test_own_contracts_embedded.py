"""Merchants' own contracts on the embedded chain: real ones, run by py-evm."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from tests.wallets.minting.lane_world import QUICK, World, world
from tests.wallets.minting.own_world import ERC721_MINT, ERC1155_MINT, a_contract, define_own
from tests.wallets.minting.vyper_contracts import CARDS, ITEMS, bytecode, send
from wallets.minting.chain.embedded import EmbeddedChain
from wallets.minting.contract.calls import encode_balance_of
from wallets.minting.service import minter_addresses

MERCHANT_KEY = "customer/900"


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path, None) as opened:
        funded = [*await minter_addresses(opened.signer, QUICK), await opened.signer.address(MERCHANT_KEY)]
        opened.chain = await EmbeddedChain.open(tmp_path / "chain.db", funded=funded)
        yield opened
        await opened.chain.close()


async def _deploy(shop: World, source: str, arguments: bytes) -> str:
    return await send(shop.chain, shop.signer, MERCHANT_KEY, to=None, data=bytecode(source) + arguments)


async def _allow(shop: World, contract: str) -> None:
    """The merchant lets the lane's key mint."""
    data = keccak(text="allow(address)")[:4] + encode(["address"], [await shop.signer.address("minter/0")])
    await send(shop.chain, shop.signer, MERCHANT_KEY, to=contract, data=data)


async def _declared(address: str, shop: World, description: Any) -> Any:
    return a_contract(description, address=address, chain_id=await shop.chain.chain_id())


async def test_an_erc1155_of_a_merchant_gets_its_mints_beside_ours(shop: World) -> None:
    contract = await _deploy(shop, ITEMS, encode(["uint256"], [1_000]))
    await _allow(shop, contract)
    await define_own(shop, await _declared(contract, shop, ERC1155_MINT), first_token_id=77)
    await shop.define(2)
    minting = await shop.open()
    own = await shop.request(*(shop.a_request(customer=index, amount=2) for index in range(4)))
    ours = await shop.request(*(shop.a_request(2, customer=index) for index in range(4)))
    await shop.settle(minting)
    for index in range(4):
        address = await shop.signer.address(f"customer/{index}")
        held = await shop.chain.call(contract, encode_balance_of(address, 77))
        assert int.from_bytes(held, "big") == 2
    await shop.check_told_once([*own, *ours])
    views = {view.leg_id: view for view in await shop.mints()}
    assert {views[leg].contract for leg in own} == {contract}
    assert {views[leg].token_id for leg in own} == {77}


async def test_an_erc721_of_a_merchant_gives_ids_of_its_own(shop: World) -> None:
    minter = await shop.signer.address("minter/0")
    contract = await _deploy(shop, CARDS, encode(["address"], [minter]))
    await define_own(shop, await _declared(contract, shop, ERC721_MINT))
    minting = await shop.open()
    legs = await shop.request(*(shop.a_request(customer=index) for index in range(3)))
    await shop.settle(minting)
    views = {view.token_id: view.recipient for view in await shop.mints()}
    assert set(views) == {1, 2, 3}
    for token_id, recipient in views.items():
        data = keccak(text="ownerOf(uint256)")[:4] + encode(["uint256"], [token_id])
        assert (await shop.chain.call(contract, data))[-20:] == bytes.fromhex(recipient[2:])
    await shop.check_told_once(legs)


async def test_a_contract_that_does_not_allow_our_key_reverts_and_ours_goes_on(shop: World) -> None:
    contract = await _deploy(shop, ITEMS, encode(["uint256"], [1_000]))
    await define_own(shop, await _declared(contract, shop, ERC1155_MINT))
    await shop.define(2)
    minting = await shop.open()
    (refused,) = await shop.request(shop.a_request())
    (ours,) = await shop.request(shop.a_request(2))
    await shop.settle(minting)
    assert (await shop.told(refused), await shop.told(ours)) == (["skipped"], ["minted"])
    reverted = [tx for tx in await shop.txs() if tx.kind == "own_mint"]
    assert [tx.failure for tx in reverted] == ["reverted"] * 3
    assert all(21_000 < tx.gas_used < tx.gas for tx in reverted)


async def test_a_contract_that_is_used_up_reverts_the_rest(shop: World) -> None:
    contract = await _deploy(shop, ITEMS, encode(["uint256"], [2]))
    await _allow(shop, contract)
    await define_own(shop, await _declared(contract, shop, ERC1155_MINT))
    minting = await shop.open()
    await shop.request(*(shop.a_request(customer=index) for index in range(4)))
    await shop.settle(minting)
    assert (await shop.states()) == {"final": 2, "skipped": 2}


async def test_what_was_claimed_before_a_restart_is_minted_once(shop: World) -> None:
    contract = await _deploy(shop, ITEMS, encode(["uint256"], [1_000]))
    await _allow(shop, contract)
    await define_own(shop, await _declared(contract, shop, ERC1155_MINT), first_token_id=5)
    minting = await shop.open()
    legs = await shop.request(*(shop.a_request() for _ in range(3)))
    for _ in range(4):
        await minting.recover()
        # Another process takes over after every step.
        minting = await shop.open()
    await shop.settle(minting)
    address = await shop.signer.address("customer/0")
    held = await shop.chain.call(contract, encode_balance_of(address, 5))
    assert int.from_bytes(held, "big") == 3
    await shop.check_told_once(legs)
