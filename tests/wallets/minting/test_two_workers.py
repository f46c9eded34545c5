"""What one process signs, another process, or the other work of the same lane, may find in its rows and send."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_chain import FakeChain
from tests.wallets.minting.lane_world import QUICK, World, world
from wallets.minting.carrying import Carrier
from wallets.minting.claims import LaneKey
from wallets.minting.model import MintingSettings, TxState
from wallets.minting.sender import Sender
from wallets.minting.service import Minting
from wallets.minting.settle import Settler
from wallets.minting.waiting import Waiting, what_waits

SETTINGS = MintingSettings(window_ms=1, poll_ms=1, confirmations=3, rebroadcast_after_ms=60_000)


@pytest.fixture
def chain() -> FakeChain:
    return FakeChain(automine=False)


@pytest.fixture
async def shop(tmp_path: Path, chain: FakeChain) -> Any:
    async with world(tmp_path, chain) as opened:
        yield opened


async def _opened(shop: World, chain: FakeChain) -> Minting:
    async def mine_on() -> None:
        while True:
            chain.mine()
            await asyncio.sleep(0.002)

    await shop.define()
    miner = asyncio.create_task(mine_on())
    minting = await shop.open(QUICK, confirmations=3, rebroadcast_after_ms=60_000)
    await shop.settle(minting)
    miner.cancel()
    return minting


def _carrier(shop: World, minting: Minting) -> tuple[Carrier, LaneKey]:
    """The hands of a further process with the same key."""
    key = minting._lanes[0].key
    settler = Settler(shop.chain, shop.store, SETTINGS, key, shop.on_outcomes)
    sender = Sender(shop.chain, shop.signer, shop.store, SETTINGS, key)
    return Carrier(shop.chain, SETTINGS, key, sender, settler), key


async def _view(shop: World, key: LaneKey) -> Waiting:
    view: Waiting = await shop.store.read(lambda reader: what_waits(reader, key.name, None, 0))
    return view


async def _claimed(shop: World, minting: Minting, key: LaneKey) -> tuple[str, Waiting]:
    (leg,) = await shop.request(shop.a_request())
    lane = minting._lanes[0]
    while not (view := await _view(shop, key)).txs:
        await lane._claim_or_wait(await lane._look())
        await asyncio.sleep(0.002)
    assert view.txs[0].state is TxState.CLAIMED
    return leg, view


async def test_what_another_process_sent_is_settled_by_the_one_that_signed_it(
    shop: World, chain: FakeChain
) -> None:
    minting = await _opened(shop, chain)
    mine, key = _carrier(shop, minting)
    other, _ = _carrier(shop, minting)
    leg, claimed = await _claimed(shop, minting, key)
    await mine.sign(claimed)
    await other.send_and_settle(await _view(shop, key))
    chain.mine()
    await asyncio.sleep(0.02)
    await other.send_and_settle(await _view(shop, key))
    assert await shop.told(leg) == ["minted"]
    # The other process is gone now.
    chain.mine(4)
    await mine.settle_and_send(await _view(shop, key))
    assert await shop.told(leg) == ["minted", "final"]
    assert len(set(chain.sent)) == len(chain.sent)


async def test_bytes_that_are_sent_out_of_their_rows_are_not_held_back_as_unsent(
    shop: World, chain: FakeChain
) -> None:
    """The other work sees the rows of a signature before the one that stored it goes on."""
    minting = await _opened(shop, chain)
    carrier, key = _carrier(shop, minting)
    leg, claimed = await _claimed(shop, minting, key)
    signed, sent = asyncio.Event(), asyncio.Event()
    sign = carrier._sender.sign

    async def slow_sign(tx_id: str) -> Any:
        stored = await sign(tx_id)
        signed.set()
        await sent.wait()
        return stored

    carrier._sender.sign = slow_sign  # type: ignore[method-assign]
    signing = asyncio.create_task(carrier.sign(claimed))
    await signed.wait()
    await carrier.settle_and_send(await _view(shop, key))
    sent.set()
    await signing
    chain.mine(4)
    await asyncio.sleep(0.02)
    view = await _view(shop, key)
    await carrier.settle_and_send(view)
    assert await shop.told(leg) == ["minted"]
    assert not carrier._fresh
