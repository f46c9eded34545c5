"""Two thousand purchases through twenty killed processes and forty reorganisations, on a real node.

The killed ones are real processes, ended by SIGKILL wherever they are; the reorganisations drop blocks that
are not final yet; the second of two endpoints fails now and then. Each purchase is minted once and told once,
and nothing is left over. A failure names its seed: VITRINE_TEST_SEED repeats the run's chances. Skipped where
there is no anvil.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from tests.support.anvil import AnvilNode, anvil
from tests.support.chance import seeds
from tests.support.rpc_proxy import rpc_proxy
from tests.wallets.minting import chain_victim
from tests.wallets.minting.chain_victim import DEPTH, SETTINGS
from tests.wallets.minting.lane_world import LeapClock, World, new_store, told_outcome
from wallets.minting.chain.failover import FailoverChain
from wallets.minting.chain.jsonrpc import JsonRpcChain
from wallets.minting.contract.calls import decode_flags, encode_are_minted, encode_balance_of
from wallets.minting.service import minter_addresses

LIVES = 20
A_LIFE = 100
"""Purchases before each life."""
REORGS = 40
CUSTOMERS = 50


class Chain:
    """The node: it mines all the time, and drops blocks when told."""

    def __init__(self, node: AnvilNode, chance: random.Random) -> None:
        self._node = node
        self._chance = chance
        self.reorgs = 0
        self._due = 0

    def reorganise_soon(self) -> None:
        self._due += 1

    async def run(self) -> None:
        while True:
            if self._due:
                self._due -= 1
                # Less deep than what counts as final.
                await self._node.ask("anvil_reorg", self._chance.randint(1, DEPTH - 1), [])
                self.reorgs += 1
            await self._node.ask("evm_mine")
            await asyncio.sleep(0.02)


async def _kill_one(chance: random.Random, chain: Chain, directory: Path, addresses: list[str]) -> str:
    """Let one process live for a while, through two reorganisations; says how far it came."""
    context: Any = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe(duplex=False)
    victim = context.Process(target=chain_victim.live, args=(directory, addresses, theirs))
    victim.start()
    theirs.close()
    assert await _word(ours) == "open"
    # One in five dies while it opens; the others while they mint.
    came = "open"
    if chance.random() >= 0.2:
        came = await _word(ours)
    for _ in range(2):
        await asyncio.sleep(chance.uniform(0.0, 0.3))
        chain.reorganise_soon()
    await asyncio.sleep(chance.uniform(0.0, 0.3))
    victim.kill()
    await asyncio.to_thread(victim.join)
    assert victim.exitcode == -9, "it was still alive when it was killed"
    return came


async def _word(connection: Connection) -> str:
    ready = await asyncio.to_thread(connection.poll, 60)
    assert ready, "the process does not come up"
    return str(connection.recv())


async def _request(directory: Path, first: int) -> list[str]:
    clock = LeapClock()
    shop = World(new_store(directory, clock), None, clock)
    try:
        if not first:
            await shop.define()
        return await shop.request(
            *(shop.a_request(customer=index % CUSTOMERS) for index in range(first, first + A_LIFE))
        )
    finally:
        await shop.store.close()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", seeds())
async def test_two_thousand_purchases_through_kills_and_reorganisations(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    multiprocessing.get_context("forkserver").set_forkserver_preload([chain_victim.__name__])
    async with anvil(tmp_path, "--no-mining") as node, rpc_proxy(node.url) as other:
        addresses = [node.url, other.url]
        clock = LeapClock()
        chain = Chain(node, chance)
        signer = World(None, None, clock).signer
        for address in await minter_addresses(signer, SETTINGS):
            await node.ask("anvil_setBalance", address, hex(10**21))
        miner = asyncio.create_task(chain.run())
        start = time.monotonic()
        legs: list[str] = []
        came: Counter[str] = Counter()
        left = 0
        for _ in range(LIVES):
            legs += await _request(tmp_path, len(legs))
            # The second endpoint is in trouble every other life; the first is the node itself.
            other.status = 503 if chance.random() < 0.2 else None
            other.cuts_off = chance.random() < 0.2
            other.keeps_sent = chance.random() < 0.2
            came[await _kill_one(chance, chain, tmp_path, addresses)] += 1
            left += await _left(tmp_path)
        other.status, other.cuts_off, other.keeps_sent = None, False, False
        assert came["minting"] > LIVES / 2
        lived_s = time.monotonic() - start
        shop = World(
            new_store(tmp_path, clock), FailoverChain([JsonRpcChain(url) for url in addresses]), clock
        )
        minting = await shop.open(SETTINGS)
        await shop.settle(minting, within_s=90)
        assert chain.reorgs == REORGS
        assert left, "what was killed left work to what came after it"
        await shop.check_told_once(legs)
        rows = await shop.mint_rows()
        assert Counter(row.state for row in rows) == {"final": LIVES * A_LIFE}
        numbers = sorted(row.purchase_number for row in rows)
        assert len(set(numbers)) == LIVES * A_LIFE
        for first in range(0, len(numbers), 200):
            some = numbers[first : first + 200]
            answer = await node.client.call(minting.contract, encode_are_minted(some))
            assert all(decode_flags(answer, len(some)))
        held = [await _held(node, minting.contract, signer, index) for index in range(CUSTOMERS)]
        assert held == [LIVES * A_LIFE // CUSTOMERS] * CUSTOMERS
        assert sum(tx.kind == "deploy" for tx in await shop.txs()) == 1
        told = Counter(row.kind for row in await shop.table(told_outcome))
        print(f"seed {seed}: {came} in {lived_s:.0f} s, {left} left to others, {told}")
        miner.cancel()
        await shop.chain.close()
        await shop.store.close()


async def _left(directory: Path) -> int:
    clock = LeapClock()
    shop = World(new_store(directory, clock), None, clock)
    try:
        return sum(row.state != "final" for row in await shop.mint_rows())
    finally:
        await shop.store.close()


async def _held(node: AnvilNode, contract: str, signer: Any, customer: int) -> int:
    data = encode_balance_of(await signer.address(f"customer/{customer}"), 1)
    return int.from_bytes(await node.client.call(contract, data), "big")
