"""A running lane prepares the next batch while the chain is busy with the last one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.support.fake_chain import FakeChain
from tests.wallets.minting.lane_world import World, world
from wallets.minting.chain.port import ChainUnavailable
from wallets.minting.service import Minting


class SlowChain(FakeChain):
    """Takes a transaction only while ``is_open`` is set, and answers with ``failure`` if there is one."""

    mines_on_send = True

    def __init__(self) -> None:
        super().__init__()
        self.is_open = asyncio.Event()
        self.is_open.set()
        self.waiting = 0
        self.failure: Exception | None = None

    async def send_raw(self, raw: bytes) -> bytes:
        self.waiting += 1
        try:
            await self.is_open.wait()
        finally:
            self.waiting -= 1
        if self.failure is not None:
            raise self.failure
        return await super().send_raw(raw)


async def test_the_next_batch_is_signed_while_one_is_being_sent(tmp_path: Path) -> None:
    chain = SlowChain()
    async with world(tmp_path, chain) as shop:
        minting = await _opened(shop)
        chain.is_open.clear()
        minting.start()
        legs = await shop.request(*(shop.a_request(customer=index) for index in range(30)))
        await shop.until(lambda: _signed(shop, 2))
        # The nonces keep their order: one transaction at a time is at the node.
        assert chain.waiting == 1
        assert chain.state.supply.get(1, 0) == 0
        chain.is_open.set()
        await shop.until(lambda: _minted(shop, 30))
        await minting.stop()
        await shop.check_told_once(legs)
        assert chain.state.supply[1] == 30


async def test_a_node_with_a_pool_gets_the_next_batch_before_the_last_is_in_a_block(tmp_path: Path) -> None:
    chain = FakeChain(automine=False)
    async with world(tmp_path, chain) as shop:
        await shop.define()
        opening = asyncio.create_task(shop.open(batch_items=10))
        while not opening.done():
            chain.mine()
            await asyncio.sleep(0.005)
        minting = await opening
        minting.start()
        await shop.until(lambda: _is_defined(shop, chain))
        already = len(chain.sent)
        legs = await shop.request(*(shop.a_request(customer=index) for index in range(50)))
        await shop.until(lambda: _signed(shop, 3))
        await shop.until(lambda: _sent(chain, already + 3))
        while (await shop.states())["final"] < 50:
            chain.mine()
            await asyncio.sleep(0.005)
        await minting.stop()
        await shop.check_told_once(legs)
        assert chain.state.supply[1] == 50


async def test_a_batch_that_fills_up_does_not_wait_for_the_end_of_the_window(tmp_path: Path) -> None:
    async with world(tmp_path, FakeChain()) as shop:
        minting = await _opened(shop, window_ms=4_000)
        minting.start()
        began = asyncio.get_running_loop().time()
        await shop.request(*(shop.a_request(customer=index) for index in range(6)))
        await asyncio.sleep(0.05)
        await shop.request(*(shop.a_request(customer=index) for index in range(4)))
        await shop.until(lambda: _minted(shop, 10))
        assert asyncio.get_running_loop().time() - began < 1.5
        await minting.stop()


async def test_no_further_batch_is_claimed_while_sending_fails(tmp_path: Path) -> None:
    chain = SlowChain()
    async with world(tmp_path, chain) as shop:
        minting = await _opened(shop)
        chain.is_open.clear()
        chain.failure = ChainUnavailable("away")
        minting.start()
        await shop.request(*(shop.a_request(customer=index) for index in range(10)))
        await shop.until(lambda: _is_sending(chain))
        chain.is_open.set()
        await shop.until(lambda: _is_backing_off(minting))
        # Asked for while the chain is away: a customer may still cancel these.
        await shop.request(*(shop.a_request(customer=index) for index in range(20)))
        await asyncio.sleep(0.1)
        assert (await shop.states())["queued"] == 20
        chain.failure = None
        await shop.until(lambda: _minted(shop, 30))
        await minting.stop()
        assert chain.state.supply[1] == 30


async def _opened(shop: World, **changes: Any) -> Minting:
    await shop.define()
    minting = await shop.open(batch_items=10, **changes)
    await shop.settle(minting)
    return minting


async def _signed(shop: World, count: int) -> bool:
    return sum(tx.kind == "mint" and tx.state == "signed" for tx in await shop.txs()) >= count


async def _is_defined(shop: World, chain: FakeChain) -> bool:
    chain.mine()
    return 1 in chain.state.caps and all(tx.state == "final" for tx in await shop.txs())


async def _sent(chain: FakeChain, count: int) -> bool:
    return len(chain.sent) == count


async def _minted(shop: World, count: int) -> bool:
    return (await shop.states())["final"] == count


async def _is_sending(chain: SlowChain) -> bool:
    return chain.waiting == 1


async def _is_backing_off(minting: Minting) -> bool:
    return bool((await minting.status()).last_errors)
