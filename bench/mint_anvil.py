"""Purchases minted per second on a real node, against the same calldata sent to it with nothing in between.

Two anvil nodes with the same chain. Our side mints on one through JSON-RPC; then the other is given the very
same signed transactions, ready before the clock starts, without waiting for their blocks, and is asked for
the receipt of the last until it has one. So both nodes have the same state at any time, since the sides take
turns.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from statistics import median
from typing import Any

import aiohttp
from eth_utils.crypto import keccak

from bench.anvil import MISSING, anvil, anvil_binary
from bench.figures import Figure, not_measured
from bench.mint_shop import mint_shop, minters, started
from bench.processes import BenchError
from bench.run import Run
from gateway.kernel.interpreter import tune
from wallets.minting.chain.failover import FailoverChain
from wallets.minting.model import MintingSettings

_NAME, _AIM = "mint_rate_anvil_vs_raw", 0.6
_OPTIONS = ("--hardfork", "osaka", "--enable-tx-gas-limit")
"""The cap on a transaction's gas as on the main network (EIP-7825); a block as soon as there is something."""
_SETTINGS = MintingSettings(poll_ms=1_000)
"""As the gateway sets them for a chain of others."""
_FUNDS_WEI = 10**24
_POLL_S = 0.002
_WITHIN_S = 30.0


class _Node:
    """What a client without a lane does: sends of signed bytes and one receipt."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url
        self._numbers = itertools.count(1)

    async def ask(self, method: str, *params: Any) -> Any:
        request = {"jsonrpc": "2.0", "id": next(self._numbers), "method": method, "params": params}
        async with self._http.post(self._url, json=request) as answer:
            document = await answer.json()
        if "error" in document:
            raise BenchError(f"{method}: {document['error']}")
        return document["result"]

    async def run(self, signed: Sequence[bytes]) -> float:
        """Have transactions in blocks; returns seconds."""
        ready = ["0x" + raw.hex() for raw in signed]
        last = "0x" + keccak(signed[-1]).hex()
        began = time.perf_counter()
        async with asyncio.timeout(_WITHIN_S):
            for raw in ready:
                # One after the other, though none waits for a block: a node that gets a later nonce first
                # may leave it in its pool until something else comes.
                await self.ask("eth_sendRawTransaction", raw)
            while (receipt := await self.ask("eth_getTransactionReceipt", last)) is None:
                await asyncio.sleep(_POLL_S)
        seconds = time.perf_counter() - began
        if int(receipt["status"], 16) != 1:
            raise BenchError("the node reverted a transaction")
        return seconds


async def measure(run: Run) -> list[Figure]:
    """Return the figure of minting on a node, or why there is none."""
    binary = anvil_binary()
    if binary is None:
        return [not_measured(_NAME, "ratio", _AIM, "higher", MISSING)]
    scale = run.scale
    ratios, ours_per_s, raw_per_s = [], [], []
    async with AsyncExitStack() as stack:
        ours_url, raw_url = [
            await stack.enter_async_context(anvil(binary, run.folder / name, *_OPTIONS))
            for name in ("ours", "raw")
        ]
        shop, signer = await stack.enter_async_context(mint_shop(run.folder / "mints.db"))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        raw = _Node(http, raw_url)
        for node in (_Node(http, ours_url), raw):
            for address in await minters(signer):
                await node.ask("anvil_setBalance", address, hex(_FUNDS_WEI))
        client = FailoverChain.of([ours_url])
        stack.push_async_callback(client.close)
        await started(shop, client, signer, stack, _SETTINGS)
        tune()  # as a gateway does once it is built
        for segment in range(scale.anvil_segments + 1):
            ours_s = await shop.mint(shop.purchases(scale.anvil_each))
            sent = await shop.sent()
            raw_s = await raw.run(sent)
            if segment:
                ratios.append(raw_s / ours_s)
                ours_per_s.append(scale.anvil_each / ours_s)
                raw_per_s.append(scale.anvil_each / raw_s)
    return [
        Figure(
            _NAME,
            median(ratios),
            "ratio",
            _AIM,
            "higher",
            f"{scale.anvil_each} purchases asked for at once, as on the embedded chain, through the lane and "
            f"JSON-RPC to anvil (a block as soon as there is a transaction, at most 2**24 gas each) until "
            f"the last is final: {median(ours_per_s):,.0f}/s; raw: the same {len(sent)} signed transactions, "
            f"made before, sent to another node with the same chain over one connection without waiting for "
            f"their blocks, then one receipt polled for every {1000 * _POLL_S:.0f} ms: "
            f"{median(raw_per_s):,.0f}/s; median of {scale.anvil_segments} interleaved pairs",
        )
    ]
