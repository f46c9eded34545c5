"""The embedded chain's process is killed while lanes mint on it: the lanes go on, and each is minted once."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.support.chance import seeds
from tests.wallets.minting.lane_world import QUICK, world
from wallets.minting.chain import embedded
from wallets.minting.chain.embedded import EmbeddedChain
from wallets.minting.contract.calls import decode_flags, encode_are_minted
from wallets.minting.service import minter_addresses

KILLS = 6
PURCHASES = 180


@pytest.mark.parametrize("seed", seeds())
async def test_a_chain_that_is_killed_again_and_again_mints_everything_once(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    async with world(tmp_path, None) as shop:
        funded = await minter_addresses(shop.signer, QUICK)
        shop.chain = await EmbeddedChain.open(tmp_path / "chain.db", funded=funded)
        await shop.define()
        minting = await shop.open(batch_items=6)
        minting.start()
        legs: list[str] = []
        for _ in range(KILLS):
            legs += await shop.request(
                *(shop.a_request(customer=index % 9) for index in range(PURCHASES // KILLS))
            )
            await asyncio.sleep(chance.uniform(0.0, 0.4))
            child = embedded._PROCESS._child
            if child is not None:
                child.kill()

        async def all_final() -> bool:
            return (await shop.states())["final"] == PURCHASES

        await shop.until(all_final, within_s=60)
        await minting.stop()
        await shop.check_told_once(legs)
        numbers = sorted(row.purchase_number for row in await shop.mint_rows())
        assert len(set(numbers)) == PURCHASES
        answer = await shop.chain.call(minting.contract, encode_are_minted(numbers))
        assert all(decode_flags(answer, PURCHASES))
        await shop.chain.close()
