"""The embedded chain: durable, alone in its file, off the event loop, with a clock of its own."""

import asyncio
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
from eth_account import Account

from wallets.minting.chain import embedded, embedded_chain
from wallets.minting.chain.deploy import DEPLOY_GAS, create_address, deployment_data
from wallets.minting.chain.embedded import EmbeddedChain
from wallets.minting.chain.embedded_chain import CHAIN_ID, EvmChain
from wallets.minting.chain.port import CallReverted, ChainRefused, ChainUnavailable, NonceTooHigh
from wallets.minting.contract import calls
from wallets.minting.contract.artifact import load_artifact

KEY = b"\x05" * 32
SENDER = Account.from_key(KEY).address


def signed(nonce: int, to: str | bytes, data: bytes, gas: int = 16_000_000, **changes) -> bytes:
    transaction = {
        "chainId": CHAIN_ID,
        "nonce": nonce,
        "gas": gas,
        "maxFeePerGas": 10**10,
        "maxPriorityFeePerGas": 1,
        "to": to,
        "value": 0,
        "data": data,
    }
    return bytes(Account.sign_transaction({**transaction, **changes}, KEY).raw_transaction)


DEPLOYMENT = signed(0, b"", deployment_data(load_artifact(), base_uri="https://goods.example"), DEPLOY_GAS)
GOODS = create_address(SENDER, 0)
DEFINITION = signed(1, GOODS, calls.encode_define(calls.Definition(7, calls.OPEN_EDITION)))


def batch(first: int, count: int = 100) -> bytes:
    items = [
        calls.MintItem(number, Account.from_key(number.to_bytes(32, "big")).address, 7)
        for number in range(first, first + count)
    ]
    return calls.encode_mint_many(items)


@pytest.fixture
async def chain(tmp_path: Path):
    client = await EmbeddedChain.open(tmp_path / "chain.sqlite3", funded=[SENDER])
    yield client
    await client.close()


WRITER = """
    import asyncio, sys, time
    from pathlib import Path
    from wallets.minting.chain.embedded import EmbeddedChain

    async def main():
        chain = await EmbeddedChain.open(Path(sys.argv[1]), funded=[sys.argv[2]])
        for raw in sys.argv[3:]:
            print((await chain.send_raw(bytes.fromhex(raw))).hex(), flush=True)
        time.sleep(60)

    asyncio.run(main())
"""


async def test_sent_transactions_survive_a_kill_right_after_the_answer(tmp_path):
    path = tmp_path / "chain.sqlite3"
    raws = [DEPLOYMENT, DEFINITION, signed(2, GOODS, batch(1)), signed(3, GOODS, batch(101))]
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(path), SENDER, *(raw.hex() for raw in raws)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        hashes = [bytes.fromhex(process.stdout.readline()) for _ in raws]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()

    chain = await EmbeddedChain.open(path, funded=[SENDER])
    try:
        assert await chain.nonce(SENDER) == len(raws)
        receipts = [await chain.receipt(tx_hash) for tx_hash in hashes]
        assert all(receipt is not None and receipt.succeeded for receipt in receipts)
        assert receipts[0].contract_address == GOODS
        assert len(receipts[3].logs) == 200
        assert {log.address for log in receipts[3].logs} == {GOODS}
        for first in (1, 101):
            answer = await chain.call(GOODS, calls.encode_are_minted(range(first, first + 100)))
            assert calls.decode_flags(answer, 100) == [True] * 100
        # And it goes on from there.
        tx_hash = await chain.send_raw(signed(4, GOODS, batch(201)))
        assert (await chain.receipt(tx_hash)).succeeded
    finally:
        await chain.close()


async def test_receipt_read_from_the_file_equals_the_one_kept_in_memory(tmp_path):
    path = tmp_path / "chain.sqlite3"
    chain = await EmbeddedChain.open(path, funded=[SENDER])
    kept = [await chain.receipt(await chain.send_raw(raw)) for raw in (DEPLOYMENT, DEFINITION)]
    await chain.close()
    chain = await EmbeddedChain.open(path)
    assert [await chain.receipt(receipt.tx_hash) for receipt in kept] == kept
    await chain.close()


async def test_file_belongs_to_one_chain_at_a_time(tmp_path):
    path = tmp_path / "chain.sqlite3"
    first = await EmbeddedChain.open(path)
    with pytest.raises(ChainUnavailable):
        await EmbeddedChain.open(path, within_s=0.1)
    await first.close()
    await (await EmbeddedChain.open(path)).close()


async def test_the_file_is_waited_for_while_the_chain_of_a_killed_gateway_ends(tmp_path):
    path = tmp_path / "chain.sqlite3"
    first = await EmbeddedChain.open(path)
    opening = asyncio.create_task(EmbeddedChain.open(path))
    await asyncio.sleep(0.1)
    assert not opening.done()
    await first.close()
    await (await opening).close()


async def test_a_chain_whose_opening_is_cancelled_gives_the_file_back(tmp_path):
    path = tmp_path / "chain.sqlite3"
    opening = asyncio.create_task(EmbeddedChain.open(path))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await (await EmbeddedChain.open(path)).close()


async def test_a_chain_whose_process_is_killed_is_unavailable_once_and_then_goes_on(chain):
    tx_hash = await chain.send_raw(DEPLOYMENT)
    (process,) = [
        child
        for child in psutil.Process().children()
        if "wallets.minting.chain.chain_process" in child.cmdline()
    ]
    process.kill()
    with pytest.raises(ChainUnavailable):
        await chain.head()
    assert (await chain.receipt(tx_hash)).contract_address == GOODS
    await chain.send_raw(DEFINITION)


async def test_a_chain_whose_process_hangs_is_unavailable_and_closes(chain, monkeypatch):
    monkeypatch.setattr(embedded, "_ANSWERS_WITHIN_S", 0.2)
    (process,) = [
        child
        for child in psutil.Process().children()
        if "wallets.minting.chain.chain_process" in child.cmdline()
    ]
    process.suspend()
    with pytest.raises(ChainUnavailable):
        await chain.head()
    await asyncio.wait_for(chain.close(), 10)


async def test_the_chain_process_ends_when_the_one_it_serves_is_killed(tmp_path):
    path = tmp_path / "chain.sqlite3"
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(path), SENDER, DEPLOYMENT.hex()],
        stdout=subprocess.PIPE,
        text=True,
    )
    process.stdout.readline()
    (child,) = psutil.Process(process.pid).children()
    process.kill()
    process.wait()
    process.stdout.close()
    await asyncio.to_thread(child.wait, 10)


async def test_what_the_chain_refuses_reads_the_same_on_this_side_of_the_process(chain):
    await chain.send_raw(DEPLOYMENT)
    with pytest.raises(NonceTooHigh, match="nonce 5 comes too early, the next is 1"):
        await chain.send_raw(signed(5, GOODS, b""))
    with pytest.raises(CallReverted) as reverted:
        await chain.call(GOODS, calls.encode_mint_many([]))
    assert isinstance(reverted.value.return_data, bytes)


async def test_closed_chain_refuses_work_and_closes_twice(tmp_path):
    chain = await EmbeddedChain.open(tmp_path / "chain.sqlite3")
    await chain.close()
    await chain.close()
    with pytest.raises(ChainUnavailable):
        await chain.head()


async def test_event_loop_stays_free_while_a_batch_is_minted(chain):
    await chain.send_raw(DEPLOYMENT)
    await chain.send_raw(DEFINITION)
    raws = [signed(2 + number, GOODS, batch(1 + 100 * number)) for number in range(5)]
    lags_s: list[float] = []

    async def probe() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            lags_s.append(time.perf_counter() - began - 0.001)

    probing = asyncio.create_task(probe())
    for raw in raws:
        await chain.send_raw(raw)
    probing.cancel()
    lags_s.sort()
    # A batch on the loop itself would take some 50 ms.
    assert lags_s[len(lags_s) // 2] < 0.02
    assert len(lags_s) > 10


async def test_funded_account_is_funded_once_and_others_can_join_later(tmp_path):
    path, other = tmp_path / "chain.sqlite3", Account.from_key(b"\x06" * 32).address
    chain = await EmbeddedChain.open(path, funded=[SENDER])
    balance, head = await chain.balance(SENDER), await chain.head()
    assert balance == embedded_chain.GRANT_GWEI * 10**9
    await chain.close()
    chain = await EmbeddedChain.open(path, funded=[SENDER])
    assert (await chain.balance(SENDER), await chain.head()) == (balance, head)
    await chain.close()
    chain = await EmbeddedChain.open(path, funded=[SENDER, other])
    assert await chain.balance(other) == balance
    await chain.close()


async def test_earlier_blocks_can_still_be_asked(chain):
    await chain.send_raw(DEPLOYMENT)
    await chain.send_raw(DEFINITION)
    before = await chain.head()
    await chain.send_raw(signed(2, GOODS, batch(1)))
    question = calls.encode_are_minted([1])
    assert calls.decode_flags(await chain.call(GOODS, question, before), 1) == [False]
    assert calls.decode_flags(await chain.call(GOODS, question), 1) == [True]
    assert await chain.nonce(SENDER, before) == 2
    with pytest.raises(ChainRefused):
        await chain.call(GOODS, question, before + 2)


async def test_missing_nonce_is_refused_because_nothing_queues(chain):
    with pytest.raises(NonceTooHigh):
        await chain.send_raw(signed(1, SENDER, b"", 21_000))
    assert await chain.nonce(SENDER) == 0


async def test_refused_transaction_leaves_nothing_behind(chain):
    head = await chain.head()
    for raw in (
        signed(0, b"", b"", 40_000_000),  # above the block's gas
        signed(0, SENDER, b"", 20_000),  # below what any transaction takes
        signed(0, SENDER, b"", 21_000, chainId=1),
        b"",
        b"\x02\xc0",
        b"\xff" * 100,
    ):
        with pytest.raises(ChainRefused):
            await chain.send_raw(raw)
    assert await chain.head() == head
    assert await chain.send_raw(signed(0, SENDER, b"", 21_000))


def test_many_blocks_a_second_do_not_move_the_chains_clock_ahead(tmp_path):
    chain = EvmChain(tmp_path / "chain.sqlite3")
    chain.fund([SENDER])
    for nonce in range(30):
        chain.send_raw(signed(nonce, SENDER, b"", 21_000))
    timestamp = chain._chain.get_canonical_head().timestamp
    assert timestamp <= time.time()
    chain.close()


def test_failed_write_keeps_the_chain_at_its_last_block(tmp_path, monkeypatch):
    import sqlite3

    chain = EvmChain(tmp_path / "chain.sqlite3")
    chain.fund([SENDER])
    head, raw = chain.head(), signed(0, SENDER, b"", 21_000)

    def full() -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(chain._blocks, "flush", full)
        with pytest.raises(ChainUnavailable):
            chain.send_raw(raw)
    assert (chain.head(), chain.nonce(SENDER, None)) == (head, 0)
    tx_hash = chain.send_raw(raw)
    assert chain.receipt(tx_hash).block_number == head + 1
    chain.close()


def test_web3_is_loaded_by_no_import_of_ours():
    modules = [
        "chain.port",
        "chain.embedded",
        "chain.jsonrpc",
        "chain.deploy",
        "contract.calls",
        "contract.artifact",
    ]
    program = "import sys\n" + "".join(f"import wallets.minting.{module}\n" for module in modules)
    program += "print(sorted({'web3', 'vyper', 'aiohttp'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_calls_and_port_load_no_chain():
    program = "import sys, wallets.minting.chain.port, wallets.minting.contract.calls\n"
    program += "print(sorted({'eth', 'eth_tester', 'web3'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
