"""What every ChainClient promises, on the embedded chain and, where there is one, on an anvil node."""

import asyncio
import os
import shutil
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from eth_account import Account

from bench.anvil import MISSING
from wallets.minting.chain.deploy import DEPLOY_GAS, create_address, deployment_data
from wallets.minting.chain.embedded import EmbeddedChain
from wallets.minting.chain.jsonrpc import JsonRpcChain, _mapped
from wallets.minting.chain.port import (
    AlreadyKnown,
    CallReverted,
    ChainClient,
    ChainError,
    ChainRefused,
    ChainUnavailable,
    FeeTooLow,
    InsufficientFunds,
    NonceTooHigh,
    NonceTooLow,
    Throttled,
)
from wallets.minting.contract import calls
from wallets.minting.contract.artifact import load_artifact

# The first account of every anvil and hardhat node; the key is published with them.
KEY = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
SENDER = Account.from_key(KEY).address
POOR_KEY = b"\x77" * 32
SOMEONE = Account.from_key(b"\x78" * 32).address


def anvil_binary() -> str | None:
    """The binary named by ANVIL, on the PATH, or installed by npm beside the tests."""
    named = os.environ.get("ANVIL")
    if named:
        return named
    local = Path("node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil")
    return shutil.which("anvil") or (str(local.resolve()) if local.exists() else None)


@dataclass
class Node:
    client: ChainClient
    chain_id: int

    async def signed(self, key: bytes = KEY, **changes) -> bytes:
        fees = await self.client.fees()
        transaction = {
            "chainId": self.chain_id,
            "nonce": await self.client.nonce(Account.from_key(key).address),
            "gas": 100_000,
            "maxFeePerGas": fees.max_fee,
            "maxPriorityFeePerGas": fees.priority_fee,
            "to": SOMEONE,
            "value": 1,
            "data": b"",
        }
        return bytes(Account.sign_transaction({**transaction, **changes}, key).raw_transaction)

    async def mined(self, **changes):
        tx_hash = await self.client.send_raw(await self.signed(**changes))
        for _ in range(200):
            receipt = await self.client.receipt(tx_hash)
            if receipt is not None:
                return receipt
            await asyncio.sleep(0.02)
        raise AssertionError("the transaction was not mined")

    async def deployed(self) -> str:
        data = deployment_data(load_artifact(), base_uri="https://goods.example")
        expected = create_address(SENDER, await self.client.nonce(SENDER))
        receipt = await self.mined(to=b"", value=0, data=data, gas=DEPLOY_GAS)
        assert receipt.succeeded
        assert receipt.contract_address == expected
        return expected


@asynccontextmanager
async def embedded(tmp_path):
    client = await EmbeddedChain.open(tmp_path / "chain.sqlite3", funded=[SENDER])
    yield client
    await client.close()


@asynccontextmanager
async def anvil(tmp_path):
    binary = anvil_binary()
    if binary is None:
        pytest.skip(MISSING)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        binary, "--host", "127.0.0.1", "--port", str(port), "--silent",
        "--hardfork", "osaka", "--enable-tx-gas-limit",
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    client = JsonRpcChain(f"http://127.0.0.1:{port}")
    try:
        for _ in range(250):
            try:
                await client.chain_id()
                break
            except ChainUnavailable:
                await asyncio.sleep(0.02)
        yield client
    finally:
        await client.close()
        process.kill()
        await process.wait()


@pytest.fixture(params=[embedded, anvil], ids=["embedded", "anvil"])
async def node(request, tmp_path):
    async with request.param(tmp_path) as client:
        yield Node(client, await client.chain_id())


async def test_transfer_is_in_a_block_with_its_receipt(node):
    head = await node.client.head()
    receipt = await node.mined(value=123)
    assert receipt.succeeded
    assert receipt.block_number == head + 1 == await node.client.head()
    assert receipt.block_hash == await node.client.block_hash(receipt.block_number)
    assert receipt.gas_used == 21_000
    assert receipt.contract_address is None
    assert await node.client.balance(SOMEONE) == 123
    assert await node.client.nonce(SENDER) == 1
    assert await node.client.nonce(SENDER, head) == 0


async def test_unknown_transaction_and_block_are_none(node):
    assert await node.client.receipt(b"\x01" * 32) is None
    assert await node.client.block_hash(await node.client.head() + 1) is None


async def test_contract_mints_and_its_logs_and_flags_are_read(node):
    goods = await node.deployed()
    assert await node.client.code(goods) == load_artifact().runtime_bytecode
    assert await node.client.code(SOMEONE) == b""
    definition = calls.encode_define(calls.Definition(7, 2))
    assert (await node.mined(to=goods, value=0, data=definition, gas=200_000)).succeeded
    items = [calls.MintItem(number, SOMEONE, 7) for number in (1, 2, 3)]
    before = await node.client.head()
    receipt = await node.mined(to=goods, value=0, data=calls.encode_mint_many(items), gas=500_000)
    assert receipt.succeeded
    assert calls.purchase_skips(receipt.logs, goods) == {3: calls.SkipReason.SOLD_OUT}
    question = calls.encode_are_minted([1, 2, 3])
    assert calls.decode_flags(await node.client.call(goods, question), 3) == [True, True, False]
    assert calls.decode_flags(await node.client.call(goods, question, before), 3) == [False] * 3


async def test_reverted_transaction_has_a_receipt_that_says_so(node):
    goods = await node.deployed()
    receipt = await node.mined(to=goods, value=0, data=calls.encode_set_minter(SOMEONE, True), gas=30_000)
    assert not receipt.succeeded
    assert receipt.logs == ()


async def test_refused_call_tells_the_contracts_reason(node):
    goods = await node.deployed()
    with pytest.raises(CallReverted) as refused:
        await node.client.call(goods, calls.encode_mint(calls.MintItem(1, SOMEONE, 7)))
    assert refused.value.reason == "minter"
    assert refused.value.return_data[:4].hex() == "08c379a0"


async def test_same_bytes_again_are_told_as_known_or_used(node):
    raw = await node.signed()
    await node.client.send_raw(raw)
    with pytest.raises((AlreadyKnown, NonceTooLow)):
        await node.client.send_raw(raw)
    # A node may take a moment to put it into a block.
    async with asyncio.timeout(5):
        while not await node.client.balance(SOMEONE):
            await asyncio.sleep(0.02)
    assert await node.client.balance(SOMEONE) == 1


async def test_used_nonce_is_too_low(node):
    await node.mined()
    with pytest.raises(NonceTooLow):
        await node.client.send_raw(await node.signed(nonce=0, value=2))


async def test_unfunded_sender_is_told(node):
    with pytest.raises(InsufficientFunds):
        await node.client.send_raw(await node.signed(key=POOR_KEY))


async def test_fee_below_the_base_fee_is_told(node):
    with pytest.raises(FeeTooLow):
        await node.client.send_raw(await node.signed(maxFeePerGas=1, maxPriorityFeePerGas=1))


async def test_bytes_that_are_no_transaction_are_refused(node):
    with pytest.raises(ChainRefused):
        await node.client.send_raw(b"\x02\xff\xff")


async def test_silent_endpoint_is_unavailable_within_the_timeout():
    server = await asyncio.start_server(lambda reader, writer: reader.read(), "127.0.0.1", 0)
    client = JsonRpcChain(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout_s=0.1)
    with pytest.raises(ChainUnavailable, match="no answer"):
        await client.head()
    await client.close()
    server.close()


async def test_closed_port_is_unavailable_and_the_endpoint_is_not_told():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    client = JsonRpcChain(f"http://127.0.0.1:{port}/secret-key")
    with pytest.raises(ChainUnavailable) as unavailable:
        await client.head()
    assert "secret-key" not in str(unavailable.value)
    await client.close()


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b'"x"', b'{"jsonrpc":"2.0","id":1}', b'{"result":"zz"}', b"\xff"]
)
async def test_answer_that_is_not_json_rpc_is_unavailable(body):
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    client = JsonRpcChain(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    with pytest.raises(ChainUnavailable):
        await client.head()
    await client.close()
    server.close()


@pytest.mark.parametrize(
    ("text", "code", "kind"),
    [
        ("already known", -32000, AlreadyKnown),
        ("ALREADY_EXISTS: already known", -32000, AlreadyKnown),
        ("Known transaction", -32000, AlreadyKnown),
        ("transaction already imported", -32003, AlreadyKnown),
        ("nonce too low: next nonce 5, tx nonce 4", -32000, NonceTooLow),
        ("OldNonce, Current nonce: 5", -32010, NonceTooLow),
        ("nonce too high", -32000, NonceTooHigh),
        ("replacement transaction underpriced", -32000, FeeTooLow),
        ("max fee per gas less than block base fee: address 0x", -32000, FeeTooLow),
        ("insufficient funds for gas * price + value", -32000, InsufficientFunds),
        ("daily request limit exceeded", -32005, Throttled),
        ("rate limit reached", 429, Throttled),
        ("internal error", -32603, ChainUnavailable),
        ("something new", -32000, ChainRefused),
    ],
)
def test_words_of_many_nodes_have_one_meaning(text, code, kind):
    assert type(_mapped("eth_sendRawTransaction", {"message": text, "code": code})) is kind


def test_every_error_has_a_code_of_its_own_and_retry_advice():
    def tree(kind: type[ChainError]) -> list[type[ChainError]]:
        return [kind, *(found for child in kind.__subclasses__() for found in tree(child))]

    kinds = tree(ChainError)
    assert len({kind.stable_code for kind in kinds}) == len(kinds) == 10
    assert ChainUnavailable("x").error_class == "retry"
    assert CallReverted("no").code == "chain.call_reverted"
