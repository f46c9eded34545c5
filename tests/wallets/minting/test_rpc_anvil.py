"""Minting on a real node behind bad lines: throttled, hanging, cut off, lagging and lying ones.

Skipped where there is no anvil.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.anvil import AnvilNode, anvil
from tests.support.rpc_proxy import (
    Limit,
    RpcProxy,
    another,
    changed_field,
    higher_by,
    minted_is,
    rpc_proxy,
)
from tests.wallets.minting.lane_world import World, world
from wallets.minting.chain.failover import FailoverChain
from wallets.minting.chain.jsonrpc import JsonRpcChain
from wallets.minting.contract.calls import encode_balance_of
from wallets.minting.model import MintingSettings
from wallets.minting.service import Minting, minter_addresses

DEPTH = 3


class Lines:
    """A node behind proxies, a shop that mints through them, and the chain as it really is."""

    def __init__(self, node: AnvilNode, proxies: list[RpcProxy], shop: World, chain: FailoverChain) -> None:
        self.node = node
        self.proxies = proxies
        self.shop = shop
        self.chain = chain

    async def open(self, **changes: Any) -> Minting:
        """Open minting on an untroubled line, with the keys funded."""
        settings = MintingSettings(**{"window_ms": 5, "poll_ms": 20, "start_timeout_s": 60, **changes})
        for address in await minter_addresses(self.shop.signer, settings):
            await self.node.ask("anvil_setBalance", address, hex(10**21))
        await self.shop.define()
        return await self.shop.open(settings)

    async def check_each_has_one(self, minting: Minting, customers: int) -> None:
        """Each of so many customers holds one token, asked of the node itself."""
        for index in range(customers):
            data = encode_balance_of(await self.shop.signer.address(f"customer/{index}"), 1)
            held = int.from_bytes(await self.node.client.call(minting.contract, data), "big")
            assert held == 1, f"customer {index} holds {held}"

    async def final(self) -> int:
        return (await self.shop.states())["final"]


@asynccontextmanager
async def lines(directory: Path, count: int, *options: str, timeout_s: float = 0.5) -> AsyncIterator[Lines]:
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(anvil(directory, *options))
        url = node.url
        proxies = [await stack.enter_async_context(rpc_proxy(url)) for _ in range(count)]
        chain = FailoverChain([JsonRpcChain(proxy.url, timeout_s=timeout_s) for proxy in proxies])
        stack.push_async_callback(chain.close)
        shop = await stack.enter_async_context(world(directory, chain))
        yield Lines(node, proxies, shop, chain)


@asynccontextmanager
async def mining(node: AnvilNode, every_s: float = 0.02) -> AsyncIterator[None]:
    async def mine() -> None:
        while True:
            await node.ask("evm_mine")
            await asyncio.sleep(every_s)

    miner = asyncio.create_task(mine())
    try:
        yield
    finally:
        miner.cancel()


@pytest.mark.parametrize("retry_after", [None, "1"])
async def test_a_hundred_buyers_at_ten_requests_a_second_get_one_each(
    tmp_path: Path, retry_after: str | None
) -> None:
    async with lines(tmp_path, 1) as line:
        minting = await line.open(batch_items=10)
        (proxy,) = line.proxies
        proxy.limit, proxy.retry_after = Limit(10), retry_after
        minting.start()

        async def buy(index: int) -> list[str]:
            return await line.shop.request(line.shop.a_request(customer=index))

        legs = [leg for bought in await asyncio.gather(*map(buy, range(100))) for leg in bought]
        start = time.monotonic()
        await line.shop.until(lambda: _is(line, 100), within_s=60)
        line.chain.hurry()
        await minting.stop()
        print(f"{time.monotonic() - start:.1f} s, {proxy.refused} refused, {proxy.asked}")
        assert proxy.refused <= 30, "refused requests are few"
        await line.shop.check_told_once(legs)
        await line.check_each_has_one(minting, 100)


@pytest.mark.timeout(240)
async def test_a_hundred_lanes_share_one_throttled_endpoint(tmp_path: Path) -> None:
    async with lines(tmp_path, 1, timeout_s=10) as line:
        minting = await line.open(minters=100, batch_items=1, open_transactions=3)
        (proxy,) = line.proxies
        before = sum(proxy.asked.values())
        proxy.limit = Limit(10)
        start = time.monotonic()
        minting.start()
        legs = await line.shop.request(*(line.shop.a_request(customer=index) for index in range(100)))
        await line.shop.until(lambda: _is(line, 100), within_s=180)
        line.chain.hurry()
        await minting.stop()
        took_s = time.monotonic() - start
        print(f"{took_s:.1f} s, {proxy.refused} refused, {sum(proxy.asked.values()) - before} asked")
        lanes = {tx.lane for tx in await line.shop.txs() if tx.kind == "mint"}
        assert len(lanes) > 50
        assert proxy.refused < 120
        await line.shop.check_told_once(legs)
        await line.check_each_has_one(minting, 100)


TROUBLES: dict[str, dict[str, Any]] = {
    "hangs": {"hangs": True},
    "cuts off in the middle of an answer": {"cuts_off": True},
    "a bad gateway": {"status": 502},
    "a page in place of an answer": {"answers_page": True},
    "keeps what it is sent": {"keeps_sent": True},
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_one_endpoint_in_trouble_holds_up_nothing(tmp_path: Path, trouble: str) -> None:
    async with lines(tmp_path, 2, "--no-mining", timeout_s=0.2) as line, mining(line.node):
        minting = await line.open(batch_items=5, confirmations=DEPTH, rebroadcast_after_ms=100)
        for name, value in TROUBLES[trouble].items():
            setattr(line.proxies[0], name, value)
        minting.start()
        legs = await line.shop.request(*(line.shop.a_request(customer=index) for index in range(20)))
        await line.shop.until(lambda: _is(line, 20), within_s=30)
        line.chain.hurry()
        await minting.stop()
        await line.shop.check_told_once(legs)
        await line.check_each_has_one(minting, 20)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("count", [1, 2])
async def test_lines_that_fail_in_turn_mint_everything_once(tmp_path: Path, count: int) -> None:
    chance = random.Random(count)
    async with lines(tmp_path, count, "--no-mining", timeout_s=0.2) as line, mining(line.node):
        minting = await line.open(batch_items=5, confirmations=DEPTH, rebroadcast_after_ms=100)
        minting.start()
        legs = []
        for _ in range(16):
            legs += await line.shop.request(*(line.shop.a_request(customer=len(legs) + i) for i in range(5)))
            for proxy in line.proxies:
                for name in ("hangs", "cuts_off", "answers_page", "keeps_sent"):
                    setattr(proxy, name, chance.random() < 0.2)
                proxy.status = 503 if chance.random() < 0.2 else None
                proxy.limit = Limit(5) if chance.random() < 0.2 else None
            await asyncio.sleep(0.15)
        for proxy in line.proxies:
            proxy.hangs = proxy.cuts_off = proxy.answers_page = proxy.keeps_sent = False
            proxy.status = proxy.limit = None
        await line.shop.until(lambda: _is(line, 80), within_s=120)
        line.chain.hurry()
        await minting.stop()
        await line.shop.check_told_once(legs)
        await line.check_each_has_one(minting, 80)


LIES: dict[str, dict[str, Any]] = {
    "a made-up head": {"eth_blockNumber": higher_by(10**6)},
    "nonces too high": {"eth_getTransactionCount": higher_by(1)},
    "nothing is minted": {"eth_call": minted_is(False)},
    "all is minted, for good": {
        "eth_call": minted_is(True),
        "eth_blockNumber": higher_by(10**6),
        "eth_getTransactionCount": higher_by(1),
    },
    "no receipts": {"eth_getTransactionReceipt": another(None)},
    "reverted": {"eth_getTransactionReceipt": changed_field("status", "0x0")},
    "no receipt at all": {"eth_getTransactionReceipt": changed_field("logs", None)},
    "wrong block hashes": {"eth_getTransactionReceipt": changed_field("blockHash", "0x" + "7" * 64)},
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_lying_endpoint_among_three_holds_up_nothing(tmp_path: Path, lie: str) -> None:
    async with lines(tmp_path, 3, "--no-mining", timeout_s=2) as line, mining(line.node):
        minting = await line.open(batch_items=5, confirmations=DEPTH, rebroadcast_after_ms=100)
        line.proxies[0].lies = LIES[lie]
        minting.start()
        legs = await line.shop.request(*(line.shop.a_request(customer=index) for index in range(10)))
        await line.shop.until(lambda: _is(line, 10), within_s=40)
        line.chain.hurry()
        await minting.stop()
        await line.shop.check_told_once(legs)
        await line.check_each_has_one(minting, 10)


async def test_an_endpoint_that_lags_among_two_delays_and_misleads_nobody(tmp_path: Path) -> None:
    async with lines(tmp_path, 2, "--no-mining", timeout_s=2) as line, mining(line.node):
        minting = await line.open(batch_items=5, confirmations=DEPTH, rebroadcast_after_ms=100)
        line.proxies[1].stands_at = await line.node.client.head()
        minting.start()
        legs = await line.shop.request(*(line.shop.a_request(customer=index) for index in range(10)))
        head = await line.node.client.head()
        while await line.node.client.head() < head + 3 * DEPTH:
            await asyncio.sleep(0.05)
        assert await line.final() == 0
        line.proxies[1].stands_at = None
        await line.shop.until(lambda: _is(line, 10), within_s=40)
        line.chain.hurry()
        await minting.stop()
        await line.shop.check_told_once(legs)
        await line.check_each_has_one(minting, 10)


async def _is(line: Lines, count: int) -> bool:
    return await line.final() == count
