"""Contract accounts for tests: an honest one, hostile ones, and a factory, on any chain that takes a transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from eth_abi.abi import encode
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from gateway.commands.chain_state import ChainQuestions
from tests.support.anvil import AnvilNode, anvil
from wallets.custody.proving import AddressProofs
from wallets.minting.chain.deploy import create_address
from wallets.minting.chain.embedded import EmbeddedChain
from wallets.minting.chain.port import ChainClient

DEPLOYER = Account.from_key(keccak(text="who deploys test accounts"))
OWNER = Account.from_key(keccak(text="the owner of test accounts"))
STRANGER = Account.from_key(keccak(text="somebody else"))

_YES = "631626ba7e60e01b5f52"  # mstore(0, 0x1626ba7e << 224)
FACTORY = "6020360380" + "60205f375f35905f5ff55f5260205ff3"
"""create2 of the input after its first 32 bytes, which are the salt."""
HOSTILE = {
    "reverts": "5f5ffd",
    "reverts with the answer": _YES + "60205ffd",
    "loops": "5b5f56",
    "returns nothing": "00",
    "returns 4 bytes": _YES + "60045ff3",
    "returns 64 bytes": _YES + "60405ff3",
    "returns its input": "365f5f37365ff3",
    "returns more in the word": "7f1626ba7e" + "00" * 27 + "01" + "5f5260205ff3",
    "returns another word": "6001" + "5f5260205ff3",
    "writes first": "60015f55" + _YES + "60205ff3",
    "returns a megabyte": _YES + "620fffff5ff3",
    "fails": "fe",
}


@cache
def owned_code() -> bytes:
    """Creation code of ``owned.vy``, without its argument."""
    from vyper.cli.vyper_compile import compile_files

    source = Path(__file__).with_name("owned.vy")
    (compiled,) = compile_files([source], ["bytecode"], paths=[source.parent]).values()
    return bytes.fromhex(compiled["bytecode"][2:])


def owned_by(owner: str) -> bytes:
    return owned_code() + encode(["address"], [owner])


def deploying(runtime: bytes) -> bytes:
    """Return creation code that leaves this code."""
    return bytes.fromhex("61") + len(runtime).to_bytes(2, "big") + bytes.fromhex("80600a5f395ff3") + runtime


def signed(account: Any, text: str) -> str:
    """Return the account's signature as a wallet gives it for ``personal_sign``."""
    return "0x" + bytes(account.sign_message(encode_defunct(text=text)).signature).hex()


def wrapped(factory: str, factory_data: bytes, signature: str) -> str:
    """Wrap a signature as ERC-6492 says."""
    values = [factory, factory_data, bytes.fromhex(signature[2:])]
    return "0x" + encode(["address", "bytes", "bytes"], values).hex() + "6492" * 16


class OnChain:
    """A chain with somebody who can deploy."""

    def __init__(self, client: ChainClient, node: AnvilNode | None = None) -> None:
        self.client = client
        self.node = node
        self.proofs = AddressProofs(ChainQuestions(client))

    async def delegate(self, account: Any, code: str) -> None:
        """Have an account delegate to the code at an address (EIP-7702)."""
        chain_id = await self.client.chain_id()
        nonce = await self.client.nonce(account.address)
        allowed = account.sign_authorization({"chainId": chain_id, "address": code, "nonce": nonce})
        fees = await self.client.fees()
        fields = {
            "type": 4, "chainId": chain_id, "nonce": await self.client.nonce(DEPLOYER.address), "gas": 200_000,
            "maxFeePerGas": fees.max_fee, "maxPriorityFeePerGas": fees.priority_fee, "value": 0,
            "data": b"", "to": DEPLOYER.address, "authorizationList": [allowed],
        }  # fmt: skip
        tx_hash = await self.client.send_raw(bytes(DEPLOYER.sign_transaction(fields).raw_transaction))
        while await self.client.receipt(tx_hash) is None:
            await asyncio.sleep(0.02)
        assert await self.client.code(account.address) == bytes.fromhex("ef0100" + code[2:])

    async def deploy(self, creation_code: bytes) -> str:
        """Deploy and return the address."""
        nonce = await self.client.nonce(DEPLOYER.address)
        fees = await self.client.fees()
        fields = {
            "type": 2, "chainId": await self.client.chain_id(), "nonce": nonce, "gas": 2_000_000,
            "maxFeePerGas": fees.max_fee, "maxPriorityFeePerGas": fees.priority_fee, "value": 0,
            "data": creation_code,
        }  # fmt: skip
        tx_hash = await self.client.send_raw(bytes(DEPLOYER.sign_transaction(fields).raw_transaction))
        while (receipt := await self.client.receipt(tx_hash)) is None:
            await asyncio.sleep(0.02)
        assert receipt.succeeded
        return create_address(DEPLOYER.address, nonce)

    async def factory(self) -> str:
        return await self.deploy(deploying(bytes.fromhex(FACTORY)))


def to_come(factory: str, creation_code: bytes, salt: bytes = bytes(32)) -> tuple[str, bytes]:
    """Return the address of what the factory would deploy, and what to call it with."""
    image = keccak(b"\xff" + bytes.fromhex(factory[2:]) + salt + keccak(creation_code))
    return to_checksum_address(image[-20:]), salt + creation_code


@asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[OnChain]:
    client = await EmbeddedChain.open(folder / "chain.db", funded=[DEPLOYER.address])
    try:
        yield OnChain(client)
    finally:
        await client.close()


@asynccontextmanager
async def on_anvil(folder: Path) -> AsyncIterator[OnChain]:
    async with anvil(folder) as node:
        await node.ask("anvil_setBalance", DEPLOYER.address, hex(10**20))
        yield OnChain(node.client, node)
