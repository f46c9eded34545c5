"""What a single endpoint says of a transaction, where it is the only one: asked again before gas is burnt."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.kernel.errors import UnavailableError
from tests.support.fake_chain import FakeChain
from tests.support.lying_client import LIES, LyingClient
from tests.wallets.minting.lane_world import World, world
from wallets.minting.requests import request_return


@pytest.fixture
def client() -> LyingClient:
    return LyingClient(FakeChain())


@pytest.fixture
async def shop(tmp_path: Path, client: LyingClient) -> Any:
    async with world(tmp_path, client) as opened:
        yield opened


async def _steps(minting: Any, count: int = 20) -> None:
    for _ in range(count):
        await minting.recover()
        await asyncio.sleep(0.004)


async def test_what_the_state_denies_and_the_receipt_tells_is_not_minted_again_at_once(
    shop: World, client: LyingClient
) -> None:
    await shop.define()
    minting = await shop.open(poll_ms=1)
    await shop.settle(minting)
    already = len(client.chain.sent)
    client.lies = LIES["nothing is minted"]
    (leg,) = await shop.request(shop.a_request())
    await _steps(minting)
    assert len(client.chain.sent) == already + 1
    # Long enough after it counts as lost, and is sent once more.
    shop.clock.leap_ms += 3_600_000
    await _steps(minting)
    assert len(client.chain.sent) == already + 2
    client.lies = {}
    await shop.settle(minting)
    await shop.check_told_once([leg])
    assert client.chain.state.supply == {1: 1}


async def test_a_denied_return_is_not_sent_again_at_once(shop: World, client: LyingClient) -> None:
    await shop.define()
    minting = await shop.open(poll_ms=1)
    (leg,) = await shop.request(shop.a_request())
    await shop.settle(minting)
    already = len(client.chain.sent)
    client.lies = {"call": lambda true, *_: true[:-1] + b"\0"}
    await shop.store.write(lambda uow: request_return(uow, leg))
    await _steps(minting)
    assert len(client.chain.sent) == already + 1
    client.lies = {}
    await shop.settle(minting)
    assert (await shop.told(leg))[-1] == "returned"


async def test_a_key_may_mint_when_the_contract_says_so(shop: World, client: LyingClient) -> None:
    await shop.open()
    client.chain.paused = True
    client.lies = {"receipt": lambda true, *_: true and replace(true, succeeded=True)}
    with pytest.raises(UnavailableError, match="not deployed yet"):
        await shop.open(minters=2, start_timeout_s=0.3)
    client.chain.paused = False
    client.lies = {}
    await shop.open(minters=2)
    assert await shop.signer.address("minter/1") in client.chain.state.minters


async def test_a_mined_transaction_is_asked_about_once_a_block(shop: World, client: LyingClient) -> None:
    await shop.define()
    minting = await shop.open(poll_ms=1)
    await shop.settle(minting)
    await minting.stop()
    minting = await shop.open(poll_ms=1, confirmations=3)
    (leg,) = await shop.request(shop.a_request())
    await shop.until(lambda: _is_told(shop, minting, leg, ["minted"]))
    client.asked.clear()
    await _steps(minting)
    assert client.asked["head"] > 5
    assert client.asked["receipt"] <= 1
    for _ in range(3):
        client.chain.mine()
        await _steps(minting, 3)
    assert client.asked["receipt"] <= 4
    assert await shop.told(leg) == ["minted", "final"]


async def _is_told(shop: World, minting: Any, leg: str, kinds: list[str]) -> bool:
    await minting.recover()
    return await shop.told(leg) == kinds
