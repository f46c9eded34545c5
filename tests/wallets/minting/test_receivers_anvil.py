"""Recipients with code on a real node: they refuse, burn gas, or are accounts that were delegated (EIP-7702).

Their neighbours get their tokens all the same, and their own mint ends as one the customer can resolve.
Skipped where there is no anvil.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from tests.support.anvil import AnvilNode, anvil
from tests.wallets.minting.lane_world import World, world
from wallets.minting import gas
from wallets.minting.contract.calls import encode_balance_of
from wallets.minting.model import MintingSettings, SkipCode
from wallets.minting.service import Minting, minter_addresses

# The first account of every anvil node; the key is published with it.
RICH = Account.from_key("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
NEIGHBOURS = 12

# Runtime code, in words of the EVM.
REVERTS = "60006000fd"  # PUSH1 0 PUSH1 0 REVERT
BURNS = "5b600056"  # JUMPDEST PUSH1 0 JUMP: round and round until the gas is gone
SAYS_NOTHING = "00"  # STOP: no return data
SAYS_OTHERWISE = "60206000f3"  # returns 32 zero bytes, not the hook's selector
RETURNS_A_BOMB = "620f42406000f3"  # returns a million zero bytes
# Returns the selector of onERC1155Received, as EIP-1155 asks.
ACCEPTS = "63f23a6e6160e01b60005260206000f3"

SETTINGS = MintingSettings(window_ms=5, poll_ms=10, start_timeout_s=60)


class Shop:
    """Minting on a node that mines every transaction at once."""

    def __init__(self, node: AnvilNode, opened: World, minting: Minting) -> None:
        self.node = node
        self.world = opened
        self.minting = minting

    async def neighbours(self) -> list[Any]:
        return [self.world.a_request(customer=index) for index in range(NEIGHBOURS)]

    def to(self, address: str) -> Any:
        """A mint to an outside wallet."""
        return self.world.a_request(recipient=address, holder_key=None)

    async def held(self, address: str) -> int:
        data = encode_balance_of(address, 1)
        return int.from_bytes(await self.node.client.call(self.minting.contract, data), "big")

    async def check_neighbours(self, each: int = 1) -> None:
        for index in range(NEIGHBOURS):
            assert await self.held(await self.world.signer.address(f"customer/{index}")) == each

    async def delegate(self, account: Any, to: str) -> None:
        """Delegate an account by an authorization it signed (EIP-7702), sent by another account."""
        chain_id = await self.node.client.chain_id()
        nonce = await self.node.client.nonce(account.address)
        signed = account.sign_authorization({"chainId": chain_id, "address": to, "nonce": nonce})
        fees = await self.node.client.fees()
        transaction = {
            "type": 4,
            "chainId": chain_id,
            "nonce": await self.node.client.nonce(RICH.address),
            "gas": 200_000,
            "maxFeePerGas": fees.max_fee,
            "maxPriorityFeePerGas": fees.priority_fee,
            "to": RICH.address,
            "value": 0,
            "data": b"",
            "authorizationList": [signed],
        }
        await self.node.client.send_raw(bytes(RICH.sign_transaction(transaction).raw_transaction))
        async with asyncio.timeout(5):
            while not await self.node.client.code(account.address):
                await asyncio.sleep(0.01)

    async def refusals(self) -> dict[str, str | None]:
        """The skipped mints' reasons, by recipient."""
        return {view.recipient: view.skip_reason for view in await self.world.mints() if view.skip_reason}


@asynccontextmanager
async def shop_on(directory: Path, **changes: Any) -> AsyncIterator[Shop]:
    async with anvil(directory, "--hardfork", "osaka") as node, world(directory, node.client) as opened:
        for address in await minter_addresses(opened.signer, MintingSettings(minters=2)):
            await node.ask("anvil_setBalance", address, hex(10**21))
        await opened.define()
        minting = await opened.open(SETTINGS, **changes)
        yield Shop(node, opened, minting)


def _contract(number: int) -> str:
    return Account.from_key(bytes([number + 1]) * 32).address


@pytest.mark.parametrize("code_minter", [False, True])
async def test_hostile_contracts_are_refused_and_their_neighbours_are_served(
    tmp_path: Path, code_minter: bool
) -> None:
    async with shop_on(tmp_path, code_minter=code_minter) as shop:
        hostile = [REVERTS, BURNS, SAYS_NOTHING, SAYS_OTHERWISE, RETURNS_A_BOMB]
        for number, code in enumerate([*hostile, ACCEPTS]):
            await shop.node.ask("anvil_setCode", _contract(number), "0x" + code)
        wallets = [_contract(number) for number in range(len(hostile))]
        kind = _contract(len(hostile))
        requests = await shop.neighbours() + [shop.to(wallet) for wallet in [*wallets, kind]]
        await shop.world.request(*requests)
        await shop.world.settle(shop.minting, within_s=30)
        await shop.check_neighbours()
        assert await shop.refusals() == dict.fromkeys(wallets, SkipCode.RECEIVER_REFUSED)
        assert [await shop.held(wallet) for wallet in wallets] == [0] * len(wallets)
        assert await shop.held(kind) == 1
        for tx in await shop.world.txs():
            receipt = await shop.node.client.receipt(bytes.fromhex(tx.mined_hash[2:]))
            assert receipt is not None
            assert receipt.succeeded
            assert receipt.gas_used < gas.SINGLE_WITH_CODE or tx.gas != gas.SINGLE_WITH_CODE


async def test_delegated_accounts_are_served_as_their_code_does(tmp_path: Path) -> None:
    async with shop_on(tmp_path) as shop:
        codes = {"refuses": REVERTS, "burns": BURNS, "has no hook": SAYS_NOTHING, "accepts": ACCEPTS}
        accounts = {}
        for number, (name, code) in enumerate(codes.items()):
            await shop.node.ask("anvil_setCode", _contract(number), "0x" + code)
            accounts[name] = Account.from_key(bytes([100 + number]) * 32)
            await shop.delegate(accounts[name], _contract(number))
        code = await shop.node.client.code(accounts["refuses"].address)
        assert code.hex() == "ef0100" + _contract(0)[2:].lower(), "a delegation, as EIP-7702 writes it"
        accepts = accounts.pop("accepts").address
        wallets = [account.address for account in accounts.values()]
        requests = await shop.neighbours() + [shop.to(wallet) for wallet in [*wallets, accepts]]
        await shop.world.request(*requests)
        await shop.world.settle(shop.minting, within_s=30)
        await shop.check_neighbours()
        assert await shop.refusals() == dict.fromkeys(wallets, SkipCode.RECEIVER_REFUSED)
        assert await shop.held(accepts) == 1


@pytest.mark.parametrize("count", [1, 5])
async def test_wallets_delegated_to_a_burner_after_they_were_asked_about_hold_up_nobody(
    tmp_path: Path, count: int
) -> None:
    async with shop_on(tmp_path) as shop:
        await shop.node.ask("anvil_setCode", _contract(0), "0x" + BURNS)
        accounts = [Account.from_key(bytes([100 + index]) * 32) for index in range(count)]
        # The first mint finds plain accounts, and that is remembered.
        await shop.world.request(*(shop.to(account.address) for account in accounts))
        await shop.world.settle(shop.minting)
        assert [await shop.held(account.address) for account in accounts] == [1] * count
        for account in accounts:
            await shop.delegate(account, _contract(0))
        requests = [shop.to(account.address) for account in accounts] + await shop.neighbours()
        await shop.world.request(*requests)
        await shop.world.settle(shop.minting, within_s=30)
        await shop.check_neighbours()
        assert await shop.refusals() == {account.address: SkipCode.RECEIVER_REFUSED for account in accounts}
        assert [await shop.held(account.address) for account in accounts] == [1] * count
