"""Minting on the embedded chain: the real contract, run by py-evm, in files that outlive the process."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

from tests.wallets.minting.lane_world import QUICK, LeapClock, World, new_store, world
from wallets.minting.chain.embedded import EmbeddedChain
from wallets.minting.contract.calls import (
    encode_are_minted,
    encode_are_returned,
    encode_balance_of,
    numbered_token_id,
)
from wallets.minting.requests import request_return
from wallets.minting.service import minter_addresses


async def _chain(directory: Path, signer: Any) -> EmbeddedChain:
    funded = await minter_addresses(signer, QUICK)
    return await EmbeddedChain.open(directory / "chain.db", funded=funded)


async def _held(chain: EmbeddedChain, contract: str, address: str, token_id: int) -> int:
    return int.from_bytes(await chain.call(contract, encode_balance_of(address, token_id)), "big")


async def test_three_hundred_mints_exactly_once(tmp_path: Path) -> None:
    async with world(tmp_path, None) as shop:
        shop.chain = await _chain(tmp_path, shop.signer)
        await shop.define()
        minting = await shop.open(window_ms=20)
        minting.start()
        legs: list[str] = []
        for first in range(0, 300, 60):
            legs += await shop.request(
                *(shop.a_request(customer=index) for index in range(first, first + 60))
            )
            await asyncio.sleep(0.05)
        await shop.until(lambda: _final(shop, 300), within_s=30)
        await minting.stop()
        for index in range(300):
            address = await shop.signer.address(f"customer/{index}")
            assert await _held(shop.chain, minting.contract, address, 1) == 1
        await shop.check_told_once(legs)
        await shop.chain.close()


async def test_the_contract_is_deployed_once_across_restarts(tmp_path: Path) -> None:
    addresses = set()
    for _ in range(3):
        async with world(tmp_path, None) as shop:
            shop.chain = await _chain(tmp_path, shop.signer)
            minting = await shop.open()
            addresses.add(minting.contract)
            assert [tx.kind for tx in await shop.txs()] == ["deploy"]
            await shop.chain.close()
    assert len(addresses) == 1


async def test_numbered_copies_sold_out_editions_and_returns(tmp_path: Path) -> None:
    async with world(tmp_path, None) as shop:
        shop.chain = await _chain(tmp_path, shop.signer)
        await shop.define(1, cap=2)
        await shop.define(2, cap=3, numbered=True)
        minting = await shop.open()
        plain = await shop.request(*(shop.a_request(1) for _ in range(3)))
        numbered = await shop.request(*(shop.a_request(2, serial=serial, customer=5) for serial in (1, 2, 3)))
        await shop.settle(minting)
        assert await shop.states() == {"final": 5, "skipped": 1}
        assert [await shop.told(leg) for leg in plain] == [["minted"], ["minted"], ["skipped"]]
        for leg in (plain[0], numbered[1], numbered[2]):
            await shop.store.write(lambda uow, leg=leg: request_return(uow, leg))
        await shop.settle(minting)
        treasury = await shop.signer.address("treasury")
        assert await _held(shop.chain, minting.contract, treasury, 1) == 1
        for serial, held in ((1, 0), (2, 1), (3, 1)):
            token_id = numbered_token_id(2, serial)
            assert await _held(shop.chain, minting.contract, treasury, token_id) == held
        assert await shop.told(numbered[1]) == ["minted", "returned"]
        await shop.chain.close()


async def test_estimates_of_gas_cover_the_dearest_batches(tmp_path: Path) -> None:
    async with world(tmp_path, None) as shop:
        shop.chain = await _chain(tmp_path, shop.signer)
        for item_number in range(1, 61):
            await shop.define(item_number, cap=9, numbered=True, uri="u" * 256 if item_number % 2 else "")
        minting = await shop.open(batch_items=50)
        # Every item of an edition of its own, to a holder of its own: no storage word is shared.
        legs = await shop.request(
            *(shop.a_request(number, serial=1, customer=number) for number in range(1, 61))
        )
        await shop.settle(minting)
        for leg in legs:
            await shop.store.write(lambda uow, leg=leg: request_return(uow, leg))
        await shop.settle(minting)
        used: dict[str, float] = {}
        for tx in await shop.txs():
            receipt = await shop.chain.receipt(bytes.fromhex(tx.mined_hash[2:]))
            assert receipt is not None
            assert receipt.succeeded
            used[tx.kind] = max(used.get(tx.kind, 0.0), receipt.gas_used / tx.gas)
        # Enough, but not so generous that a batch would hold half of what it could.
        assert set(used) == {"deploy", "define", "mint", "return"}
        assert all(0.5 < share < 0.95 for share in used.values()), used
        await shop.chain.close()


async def test_killed_processes_leave_everything_minted_and_returned_exactly_once(tmp_path: Path) -> None:
    chance = random.Random(11)
    for life in range(4):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.wallets.minting.lane_victim", str(tmp_path), str(life),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert child.stdout is not None
        assert (await asyncio.wait_for(child.stdout.readline(), 30)) == b"started\n"
        await asyncio.sleep(chance.uniform(0.0, 0.4))
        os.kill(child.pid, signal.SIGKILL)
        await child.wait()
    clock = LeapClock()
    store = new_store(tmp_path, clock)
    shop = World(store, None, clock)
    shop.order_id = "ord_victim"
    shop.chain = await _chain(tmp_path, shop.signer)
    minting = await shop.open()
    await shop.settle(minting, within_s=30)
    rows = await shop.mint_rows()
    assert {row.state for row in rows} == {"final"}
    await shop.check_told_once([row.leg_id for row in rows])
    numbers = sorted(row.purchase_number for row in rows)
    assert len(set(numbers)) == len(rows) >= 30
    for first in range(0, len(numbers), 200):
        some = numbers[first : first + 200]
        answer = await shop.chain.call(minting.contract, encode_are_minted(some))
        assert answer[64:] == (1).to_bytes(32, "big") * len(some)
    held = [
        await _held(shop.chain, minting.contract, await shop.signer.address(f"customer/{index}"), 1)
        for index in range(5)
    ]
    treasury = await _held(shop.chain, minting.contract, await shop.signer.address("treasury"), 1)
    returned = [row for row in rows if row.return_state == "returned"]
    assert treasury == len(returned)
    assert sum(held) + treasury == len(rows)
    if returned:
        asked = [row.purchase_number for row in returned][:200]
        answer = await shop.chain.call(minting.contract, encode_are_returned(asked))
        assert answer[64:] == (1).to_bytes(32, "big") * len(asked)
    assert sum(tx.kind == "deploy" for tx in await shop.txs()) == 1
    await store.close()
    await shop.chain.close()


async def _final(shop: World, count: int) -> bool:
    return (await shop.states())["final"] == count
