"""Endpoints that lie: of three one may, and all is minted meanwhile; of two one may, and all waits for the
truth. Nothing is ever told as final that is not, and nothing is minted twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.kernel.errors import VitrineError
from tests.support.fake_chain import FakeChain
from tests.support.lying_client import LIES, LyingClient
from tests.wallets.minting.lane_world import World, world
from wallets.minting.chain import endpoint, failover
from wallets.minting.chain.failover import FailoverChain
from wallets.minting.model import MintingSettings
from wallets.minting.requests import request_return
from wallets.minting.sender import FeeLimitReachedError

DEPTH = 3
COUNT = 12

LANES = MintingSettings(
    window_ms=1,
    poll_ms=1,
    confirmations=DEPTH,
    batch_items=4,
    rebroadcast_after_ms=5,
    stuck_after_ms=60,
    start_timeout_s=20,
)
# What one endpoint is believed in when it is the only one.
BELIEVED = {"all is minted", "a final state that is not", "a final refusal that is not"}
# What makes two endpoints wait until they agree again; after all others minting just goes on.
DELAYS_TWO = {
    "a head that stands",
    "nonces too low",
    "no nonce at all",
    "all is minted",
    "nothing is minted",
    "a final state that is not",
    "a final refusal that is not",
    # The lower offer is taken, and the fee then raised step by step.
    "fees of nothing",
}
# The preferred endpoint tells every lie, the next one the worst ones.
LIARS = [(lie, 0) for lie in LIES] + [
    (lie, 1) for lie in sorted(BELIEVED | {"a made-up head", "no receipts"})
]
LIES_FOR_S = 0.25


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds with real endpoints takes milliseconds here."""
    monkeypatch.setattr(endpoint, "_FIRST_ASIDE_S", 0.005)
    monkeypatch.setattr(endpoint, "_LONGEST_ASIDE_S", 0.02)
    monkeypatch.setattr(failover, "_HEAD_GOOD_FOR_S", 0.0)
    monkeypatch.setattr(failover, "_OTHER_HEADS_GOOD_FOR_S", 0.0)
    monkeypatch.setattr(failover, "_FEES_GOOD_FOR_S", 0.0)
    monkeypatch.setattr(failover, "_NONCE_GOOD_FOR_S", 0.01)
    monkeypatch.setattr(failover, "_DOUBTED_FOR_S", 0.02)
    monkeypatch.setattr(failover, "_LIAR_ASIDE_S", 0.02)


class Shop:
    """Minting over several endpoints of a chain that mines and reorganises at every turn."""

    def __init__(self, opened: World, chain: FakeChain, clients: list[LyingClient]) -> None:
        self.world = opened
        self.chain = chain
        self.clients = clients
        self.minting: Any = None
        self.legs: list[str] = []
        self.turns = 0

    async def open(self) -> None:
        async def mine() -> None:
            while True:
                self.chain.mine()
                await asyncio.sleep(0.002)

        await self.world.define()
        miner = asyncio.create_task(mine())
        self.minting = await self.world.open(LANES)
        await self.world.settle(self.minting)
        miner.cancel()
        self.legs = await self.world.request(
            *(self.world.a_request(customer=index) for index in range(COUNT))
        )

    async def turn(self) -> None:
        """Let the chain and the lanes go on, and see that nothing untrue was told as final."""
        self.turns += 1
        if self.turns % 7 == 0:
            self.chain.reorg(2)
        self.chain.mine()
        try:
            await self.minting.recover()
        except (VitrineError, FeeLimitReachedError):
            await asyncio.sleep(0.002)
        deep = self.chain._blocks[max(0, len(self.chain._blocks) - 1 - DEPTH)].state.minted
        for row in await self.world.mint_rows():
            assert row.state != "final" or row.purchase_number in deep, "told as final, and it is not"
            assert row.state != "skipped", "told as refused, and it is not"

    async def is_done(self) -> bool:
        return (await self.world.states())["final"] == COUNT

    async def go_on(self, *, for_s: float) -> bool:
        """Turn until all is final, or the time is over; says whether it is."""
        deadline = time.monotonic() + for_s
        while time.monotonic() < deadline:
            await self.turn()
            if await self.is_done():
                return True
        return False

    async def check(self) -> None:
        """Every purchase is minted once, on the chain and in what was told."""
        assert self.chain.state.supply == {1: COUNT}
        assert sum(self.chain.holding(1).values()) == COUNT
        assert len(self.chain.state.contracts) == 1
        await self.world.check_told_once(self.legs)


@pytest.fixture
async def shop_of(tmp_path: Path, quick: None) -> AsyncIterator[Any]:
    chain = FakeChain(automine=False)
    clients: list[LyingClient] = []
    async with world(tmp_path, None) as opened:

        async def build(count: int) -> Shop:
            clients.extend(LyingClient(chain) for _ in range(count))
            opened.chain = FailoverChain(clients, stale_after_s=30, patience_s=1)
            shop = Shop(opened, chain, clients)
            await shop.open()
            return shop

        yield build
        if opened.chain is not None:
            await opened.chain.close()


@pytest.mark.parametrize(("lie", "liar"), LIARS)
async def test_one_liar_of_three_holds_up_nothing(shop_of: Any, lie: str, liar: int) -> None:
    shop = await shop_of(3)
    shop.clients[liar].lies = LIES[lie]
    assert await shop.go_on(for_s=20)
    await shop.check()


@pytest.mark.parametrize(("lie", "liar"), LIARS)
async def test_one_liar_of_two_loses_and_doubles_nothing(shop_of: Any, lie: str, liar: int) -> None:
    shop = await shop_of(2)
    shop.clients[liar].lies = LIES[lie]
    was_done = await shop.go_on(for_s=LIES_FOR_S if lie in DELAYS_TWO else 20)
    assert was_done or lie in DELAYS_TWO
    shop.clients[liar].lies = {}
    assert was_done or await shop.go_on(for_s=20)
    await shop.check()


@pytest.mark.parametrize("lie", [lie for lie in LIES if lie not in BELIEVED])
async def test_what_a_lone_liar_can_say_without_harm(shop_of: Any, lie: str) -> None:
    shop = await shop_of(1)
    shop.clients[0].lies = LIES[lie]
    was_done = await shop.go_on(for_s=LIES_FOR_S)
    shop.clients[0].lies = {}
    assert was_done or await shop.go_on(for_s=20)
    await shop.check()


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_endpoints_that_lag_come_and_go(shop_of: Any, count: int) -> None:
    shop = await shop_of(count)
    for turn in range(60):
        one = shop.clients[turn % count]
        one.away = turn % 5 == 1
        one.keeps_sent = turn % 5 == 2
        one.stands_at = max(0, len(shop.chain._blocks) - 6) if turn % 5 == 3 else None
        await shop.turn()
    for one in shop.clients:
        one.away = one.keeps_sent = False
        one.stands_at = None
    assert await shop.go_on(for_s=20)
    await shop.check()


async def test_a_return_is_believed_only_of_two(shop_of: Any) -> None:
    shop = await shop_of(3)
    assert await shop.go_on(for_s=20)
    shop.clients[0].lies = {
        "call": lambda true, *arguments: true[:-1] + b"\1",
        "nonce": lambda true, *_: true + 1,
    }
    leg = shop.legs[0]
    await shop.world.store.write(lambda uow: request_return(uow, leg))
    deadline = time.monotonic() + 20
    while (await shop.world.told(leg))[-1] != "returned":
        assert time.monotonic() < deadline
        assert ("treasury", 1) in shop.chain.state.balances or "returned" not in await shop.world.told(leg)
        await shop.turn()
    assert shop.chain.state.balances["treasury", 1] == 1
