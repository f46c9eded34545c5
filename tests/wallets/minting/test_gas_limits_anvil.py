"""Gas on a real node: the cap of a transaction (EIP-7825), and fees that rise while a transaction waits.

Skipped where there is no anvil.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.anvil import AnvilNode, anvil
from tests.wallets.minting.lane_world import World, world
from wallets.minting.chain.port import ChainRefused
from wallets.minting.contract.calls import MAX_BATCH, encode_balance_of
from wallets.minting.model import MintingSettings
from wallets.minting.service import Minting, minter_addresses

CAP = 1 << 24
"""Most gas of one transaction, from the Osaka hard fork on (EIP-7825)."""
OSAKA = ("--hardfork", "osaka", "--enable-tx-gas-limit")


async def _opened(shop: World, node: AnvilNode, **changes: Any) -> Minting:
    settings = MintingSettings(**{"window_ms": 5, "poll_ms": 20, "start_timeout_s": 60, **changes})
    for address in await minter_addresses(shop.signer, settings):
        await node.ask("anvil_setBalance", address, hex(10**22))
    return await shop.open(settings)


async def _receipts(shop: World, kind: str) -> list[Any]:
    found = []
    for tx in await shop.txs():
        if tx.kind == kind:
            found.append((tx, await shop.chain.receipt(bytes.fromhex(tx.mined_hash[2:]))))
    return found


async def test_the_largest_batches_that_settings_allow_are_mined_under_the_cap(tmp_path: Path) -> None:
    async with anvil(tmp_path, *OSAKA) as node, world(tmp_path, node.client) as shop:
        # The dearest there is: every item of an edition of its own, numbered, to a holder of its own.
        for number in range(1, MAX_BATCH + 1):
            await shop.define(number, cap=9, numbered=True)
        minting = await _opened(shop, node, batch_items=MAX_BATCH, batch_gas=CAP)
        await shop.settle(minting)
        legs = await shop.request(
            *(shop.a_request(number, serial=1, customer=number) for number in range(1, MAX_BATCH + 1))
        )
        await shop.settle(minting, within_s=60)
        await shop.check_told_once(legs)
        mints = await _receipts(shop, "mint")
        assert max(tx.gas for tx, _ in mints) > 0.95 * CAP, "the limit is made use of"
        for kind in ("deploy", "define", "mint"):
            for tx, receipt in await _receipts(shop, kind):
                assert tx.gas <= CAP
                assert receipt.succeeded
                assert receipt.gas_used < tx.gas


async def test_the_most_items_of_one_edition_are_one_transaction_under_the_cap(tmp_path: Path) -> None:
    async with anvil(tmp_path, *OSAKA) as node, world(tmp_path, node.client) as shop:
        await shop.define(numbered=True, cap=MAX_BATCH)
        minting = await _opened(shop, node, batch_items=MAX_BATCH, batch_gas=CAP)
        await shop.settle(minting)
        legs = await shop.request(
            *(shop.a_request(serial=serial, customer=serial) for serial in range(1, MAX_BATCH + 1))
        )
        await shop.settle(minting, within_s=60)
        await shop.check_told_once(legs)
        ((tx, receipt),) = await _receipts(shop, "mint")
        assert receipt.succeeded
        assert receipt.gas_used < tx.gas <= CAP


async def test_the_node_holds_to_the_cap(tmp_path: Path) -> None:
    async with anvil(tmp_path, *OSAKA) as node, world(tmp_path, node.client) as shop:
        await shop.define()
        minting = await _opened(shop, node)
        fees = await node.client.fees()
        fields = {
            "type": 2,
            "chainId": await node.client.chain_id(),
            "nonce": await node.client.nonce(await shop.signer.address("minter/0")),
            "gas": CAP + 1,
            "maxFeePerGas": fees.max_fee,
            "maxPriorityFeePerGas": fees.priority_fee,
            "value": 0,
            "data": b"",
            "to": minting.contract,
        }
        signed = await shop.signer.sign_transaction("minter/0", fields)
        with pytest.raises(ChainRefused):
            await node.client.send_raw(signed.raw)


@pytest.mark.parametrize("changes", [{"batch_gas": CAP + 1}, {"batch_items": MAX_BATCH + 1}])
def test_settings_above_the_cap_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"at most 256|caps a transaction"):
        MintingSettings(**changes)


async def test_fees_that_rise_while_a_transaction_waits_are_paid_and_it_is_mined_once(tmp_path: Path) -> None:
    async with anvil(tmp_path, "--block-time", "1") as node, world(tmp_path, node.client) as shop:
        await shop.define()
        minting = await _opened(
            shop, node, poll_ms=50, rebroadcast_after_ms=300, stuck_after_ms=600, batch_items=5
        )
        await shop.settle(minting)
        minting.start()
        # Above what the fees of this moment allow for: the next transactions wait in the pool.
        offered = await node.client.fees()
        raised = offered.max_fee * 3
        rising = asyncio.create_task(_keep_base_fee(node, raised, 4))
        legs = await shop.request(*(shop.a_request(customer=index) for index in range(20)))
        await shop.until(lambda: _is_final(shop, 20), within_s=60)
        await minting.stop()
        await rising
        await shop.check_told_once(legs)
        attempts = [len(await shop.bytes_of(tx.tx_id)) for tx in await shop.txs() if tx.kind == "mint"]
        assert max(attempts) > 1, "a fee was raised"
        for tx, receipt in await _receipts(shop, "mint"):
            assert receipt.succeeded, tx.nonce
        for index in range(20):
            data = encode_balance_of(await shop.signer.address(f"customer/{index}"), 1)
            assert int.from_bytes(await node.client.call(minting.contract, data), "big") == 1


async def _keep_base_fee(node: AnvilNode, fee: int, seconds: int) -> None:
    """Have the next blocks ask for this fee; without it anvil lets it fall while blocks are empty."""
    for _ in range(seconds * 5):
        await node.ask("anvil_setNextBlockBaseFeePerGas", hex(fee))
        await asyncio.sleep(0.2)


async def _is_final(shop: World, count: int) -> bool:
    return (await shop.states())["final"] == count
