"""Asking the chain who holds what, without waiting for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import decode, encode

from gateway.kernel.clock import ManualClock
from gateway.kernel.store.unit import UnitOfWork
from tests.support.stores import gateway_store
from tests.wallets.minting.lane_world import QUICK, world
from wallets.minting.chain.embedded import EmbeddedChain
from wallets.minting.chain.port import CallReverted, ChainUnavailable
from wallets.minting.holdings import Holdings
from wallets.minting.service import minter_addresses
from wallets.minting.tables import own_contract

CHAIN_ID = 31337
OURS, SINGLE = "0x" + "aa" * 20, "0x" + "bb" * 20
ADA, BEA = "0x" + "01" * 20, "0x" + "02" * 20


class Node:
    """A node that holds what a test says, and can be away, hang, refuse or lie."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str, int], int] = {}
        self.owners: dict[int, str] = {}
        self.trouble: Any = None
        self.calls = 0

    async def call(self, to: str, data: bytes, block: int | None = None) -> bytes:
        self.calls += 1
        if self.trouble == "hangs":
            await asyncio.sleep(60)
        if isinstance(self.trouble, bytes):
            return self.trouble
        if self.trouble is not None:
            raise self.trouble
        if to == SINGLE:
            (token,) = decode(["uint256"], data[4:])
            if token not in self.owners:
                raise CallReverted("no such token")
            return encode(["address"], [self.owners[token]])
        wallets, tokens = decode(["address[]", "uint256[]"], data[4:])
        return encode(
            ["uint256[]"],
            [[self.held.get((to, wallet, token), 0) for wallet, token in zip(wallets, tokens, strict=True)]],
        )


@pytest.fixture
async def asked(tmp_path: Path) -> AsyncIterator[tuple[Holdings, Node, ManualClock]]:
    clock, node = ManualClock(), Node()
    async with gateway_store(tmp_path, clock) as store:

        def declare(uow: UnitOfWork) -> None:
            uow.core(
                own_contract.insert().values(
                    contract_id="x",
                    merchant_id="m",
                    name="n",
                    chain_id=CHAIN_ID,
                    address=SINGLE,
                    standard="erc721",
                    call="mint(address,uint256)",
                    arguments="[]",
                    data=b"",
                    updated_at_ms=0,
                )
            )

        await store.write(declare)
        client: Any = node
        yield Holdings(client, CHAIN_ID, store, clock), node, clock


Asked = tuple[Holdings, Node, ManualClock]


async def test_wallets_and_tokens_of_one_contract_are_asked_in_one_call(asked: Asked) -> None:
    holdings, node, clock = asked
    node.held = {(OURS, ADA, 1): 3, (OURS, BEA, 2): 1}
    keys = {(CHAIN_ID, OURS, ADA, 1), (CHAIN_ID, OURS, BEA, 2), (CHAIN_ID, OURS, BEA, 1)}
    found = await holdings.held(keys)
    assert {(wallet, token): one.amount for (_, _, wallet, token), one in found.items()} == {
        (ADA, 1): 3,
        (BEA, 2): 1,
        (BEA, 1): 0,
    }
    assert node.calls == 1 and {one.at_ms for one in found.values()} == {clock.now_ms()}


async def test_a_contract_of_single_tokens_is_asked_for_the_owner(asked: Asked) -> None:
    holdings, node, _ = asked
    node.owners = {1: ADA, 2: BEA}
    found = await holdings.held({(CHAIN_ID, SINGLE, ADA, token) for token in (1, 2, 3)})
    assert [found[CHAIN_ID, SINGLE, ADA, token].amount for token in (1, 2, 3)] == [1, 0, 0]


async def test_answers_are_kept_for_a_moment(asked: Asked) -> None:
    holdings, node, clock = asked
    key = (CHAIN_ID, OURS, ADA, 1)
    node.held[OURS, ADA, 1] = 1
    await holdings.held({key})
    node.held.clear()
    assert (await holdings.held({key}))[key].amount == 1 and node.calls == 1
    clock.advance(16_000)
    assert (await holdings.held({key}))[key].amount == 0 and node.calls == 2


@pytest.mark.parametrize("trouble", ["hangs", ChainUnavailable("away")])
async def test_a_node_that_is_away_costs_a_moment_once(asked: Asked, trouble: Any) -> None:
    holdings, node, clock = asked
    key = (CHAIN_ID, OURS, ADA, 1)
    node.held[OURS, ADA, 1] = 1
    before = await holdings.held({key})
    clock.advance(60_000)
    node.trouble = trouble
    began = time.monotonic()
    assert await holdings.held({key}) == before, "an older answer, which says of when it is"
    assert time.monotonic() - began < 2.5
    calls = node.calls
    assert await holdings.held({key, (CHAIN_ID, OURS, BEA, 9)}) == before
    assert node.calls == calls, "left alone for a while"
    clock.advance(600_000)
    assert await holdings.held({key}) == {}, "too old to tell anything"


@pytest.mark.parametrize(
    "lie", [b"", b"\0" * 31, encode(["uint256[]"], [[]]), encode(["uint256[]"], [[1, 2]])]
)
async def test_an_answer_of_another_shape_tells_nothing(asked: Asked, lie: bytes) -> None:
    holdings, node, _ = asked
    node.trouble = lie
    assert await holdings.held({(CHAIN_ID, OURS, ADA, 1)}) == {}


async def test_another_chain_cannot_be_asked(asked: Asked) -> None:
    holdings, node, _ = asked
    assert await holdings.held({(1, OURS, ADA, 1)}) == {} and node.calls == 0


async def test_the_goods_contract_answers(tmp_path: Path) -> None:
    async with world(tmp_path, None) as shop:
        funded = await minter_addresses(shop.signer, QUICK)
        shop.chain = await EmbeddedChain.open(tmp_path / "chain.db", funded=funded)
        await shop.define()
        minting = await shop.open(window_ms=20)
        minting.start()
        await shop.request(shop.a_request(customer=1))
        address = await shop.signer.address("customer/1")
        holdings = Holdings(shop.chain, minting.chain_id, shop.store, ManualClock())
        key = (minting.chain_id, minting.contract, address, 1)

        async with asyncio.timeout(10):
            while (await holdings.held({key}))[key].amount != 1:
                holdings._known.clear()
                await asyncio.sleep(0.05)
        await minting.stop()
        await shop.chain.close()
