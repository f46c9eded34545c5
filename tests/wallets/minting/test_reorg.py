"""Blocks that go away again, and nodes that show receipts for what is in no block."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_chain import FakeChain
from tests.wallets.minting.lane_world import QUICK, World, world

DEPTH = 3


@pytest.fixture
def chain() -> FakeChain:
    return FakeChain(automine=False)


@pytest.fixture
async def shop(tmp_path: Path, chain: FakeChain) -> Any:
    async with world(tmp_path, chain) as opened:
        yield opened


async def _opened(shop: World, chain: FakeChain, **changes: Any) -> Any:
    """Open minting at a confirmation depth, on a chain that mines while it opens."""
    await shop.define()
    miner = asyncio.create_task(_mine_on(chain))
    minting = await shop.open(QUICK, confirmations=DEPTH, rebroadcast_after_ms=1, **changes)
    await shop.settle(minting)
    miner.cancel()
    return minting


async def _mine_on(chain: FakeChain) -> None:
    while True:
        chain.mine()
        await asyncio.sleep(0.002)


async def _steps(minting: Any, count: int = 4) -> None:
    for _ in range(count):
        await minting.recover()
        await asyncio.sleep(0.004)


async def test_a_mint_is_final_only_at_its_depth(shop: World, chain: FakeChain) -> None:
    minting = await _opened(shop, chain)
    (leg,) = await shop.request(shop.a_request())
    await _steps(minting)
    chain.mine()
    await _steps(minting)
    assert await shop.told(leg) == ["minted"]
    assert await shop.states() == {"minted": 1}
    chain.mine(DEPTH - 1)
    await _steps(minting)
    assert await shop.states() == {"minted": 1}
    chain.mine()
    await _steps(minting)
    assert await shop.told(leg) == ["minted", "final"]


async def test_a_mint_whose_block_is_gone_is_reopened_and_minted_again(shop: World, chain: FakeChain) -> None:
    minting = await _opened(shop, chain)
    legs = await shop.request(*(shop.a_request() for _ in range(3)))
    await _steps(minting)
    chain.mine()
    await _steps(minting)
    chain.reorg(1)
    assert not chain.state.minted
    await _steps(minting)
    assert await shop.states() == {"sent": 3}
    chain.mine(DEPTH + 1)
    await _steps(minting)
    for leg in legs:
        assert await shop.told(leg) == ["minted", "reopened", "minted", "final"] or (
            # It was as deep as asked before anybody looked.
            await shop.told(leg) == ["minted", "reopened", "minted"]
        )
    await shop.check_told_once(legs)
    assert chain.state.supply[1] == 3


async def test_a_mint_that_moved_to_another_block_is_told_once(shop: World, chain: FakeChain) -> None:
    minting = await _opened(shop, chain)
    (leg,) = await shop.request(shop.a_request())
    await _steps(minting)
    chain.mine()
    await _steps(minting)
    before = (await shop.txs())[-1]
    raw = (await shop.bytes_of(before.tx_id))[-1].raw
    chain.reorg(1)
    await chain.send_raw(bytes(raw))
    chain.mine()
    await _steps(minting)
    after = (await shop.txs())[-1]
    assert (after.state, after.block_number) == ("mined", before.block_number + 1)
    assert await shop.told(leg) == ["minted"]
    chain.mine(DEPTH)
    await _steps(minting)
    assert await shop.told(leg) == ["minted", "final"]


async def test_a_receipt_without_the_nonce_settles_nothing(shop: World, chain: FakeChain) -> None:
    minting = await _opened(shop, chain)
    (leg,) = await shop.request(shop.a_request())
    await _steps(minting)
    chain.mine()
    chain.lie_about_receipts = True
    chain.reorg(1)
    await _steps(minting)
    assert await shop.told(leg) == []
    assert await shop.states() == {"sent": 1}
    chain.mine(DEPTH + 1)
    await _steps(minting)
    await shop.check_told_once([leg])


async def test_a_mined_mint_whose_nonce_is_undone_is_reopened_whatever_the_receipt_says(
    shop: World, chain: FakeChain
) -> None:
    minting = await _opened(shop, chain)
    (leg,) = await shop.request(shop.a_request())
    await _steps(minting)
    chain.mine()
    await _steps(minting)
    chain.lie_about_receipts = True
    chain.reorg(1)
    await _steps(minting)
    assert await shop.told(leg) == ["minted", "reopened"]


async def test_a_skip_is_told_only_when_it_is_final(shop: World, chain: FakeChain) -> None:
    await shop.define(2, cap=1)
    minting = await _opened(shop, chain)
    first, second = await shop.request(shop.a_request(2), shop.a_request(2))
    await _steps(minting)
    chain.mine()
    await _steps(minting)
    assert (await shop.told(first), await shop.told(second)) == (["minted"], [])
    chain.mine(DEPTH)
    await _steps(minting)
    assert (await shop.told(first), await shop.told(second)) == (["minted", "final"], ["skipped"])


async def test_many_reorganisations_mint_everything_exactly_once(shop: World, chain: FakeChain) -> None:
    chance = random.Random(7)
    minting = await _opened(shop, chain, batch_items=4, minters=2)
    legs = await shop.request(*(shop.a_request(customer=index % 7) for index in range(240)))
    reorgs = 0
    for _ in range(2_000):
        if chance.random() < 0.35 and reorgs < 60:
            chain.reorg(chance.randint(1, DEPTH))
            reorgs += 1
        chain.mine()
        chain.lie_about_receipts = chance.random() < 0.3
        await minting.recover()
        status = await minting.status()
        if not status.queued and not status.open_transactions:
            break
        await asyncio.sleep(0.001)
    assert reorgs > 20
    assert chain.state.supply[1] == 240
    assert sum(chain.holding(1).values()) == 240
    await shop.check_told_once(legs)
    assert Counter(view.state for view in await shop.mints()) == {"final": 240}
