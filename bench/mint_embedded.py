"""Purchases minted per second on the embedded chain, against the same transactions run by its EVM alone.

Our side is everything from the request for a mint to its final row: unit, claim, signature, stored bytes,
the chain in its process, settlement. The other side is a chain of the same kind in this process: it is given
the very bytes our side sent, and has each block on the disk before the next. Both have the same state at any
time, since they take turns.
"""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, closing
from statistics import median, quantiles

from bench.figures import Figure
from bench.heartbeat import Heartbeat
from bench.mint_shop import MintShop, mint_shop, minters, started
from bench.run import Run
from gateway.kernel.interpreter import tune
from wallets.minting.chain.embedded import EmbeddedChain
from wallets.minting.chain.embedded_chain import EvmChain


async def measure(run: Run) -> list[Figure]:
    """Return the figures of minting on the embedded chain."""
    scale = run.scale
    heartbeat = Heartbeat()
    ratios, ours_per_s, raw_per_s, blocks = [], [], [], 0
    async with AsyncExitStack() as stack:
        shop, signer = await stack.enter_async_context(mint_shop(run.folder / "mints.db"))
        funded = await minters(signer)
        client = await EmbeddedChain.open(run.folder / "chain.db", funded=funded)
        stack.push_async_callback(client.close)
        raw = stack.enter_context(closing(EvmChain(run.folder / "raw.db")))
        raw.fund(funded)
        await started(shop, client, signer, stack)
        tune()  # as a gateway does once it is built
        for segment in range(scale.mint_segments + 1):
            purchases = shop.purchases(scale.mint_each)
            if segment == 0:
                await shop.mint(purchases)
                await _run_raw(raw, shop)
                continue
            async with heartbeat.beating():
                ours_s = await shop.mint(purchases)
            raw_s, sent = await _run_raw(raw, shop)
            blocks += sent
            ratios.append(raw_s / ours_s)
            ours_per_s.append(scale.mint_each / ours_s)
            raw_per_s.append(scale.mint_each / raw_s)
    late_ms = [1000 * late for late in heartbeat.late_s]
    per_block = scale.mint_each * scale.mint_segments / blocks
    return [
        Figure(
            "mint_rate_embedded_vs_raw",
            median(ratios),
            "ratio",
            0.7,
            "higher",
            f"{scale.mint_each} purchases asked for at once, each in a unit of its own, one edition open and "
            f"one of numbered copies, every recipient new; through the lane on SQLite (synchronous=FULL) and "
            f"the embedded chain's process until the last is final: {median(ours_per_s):,.0f}/s in blocks of "
            f"{per_block:.0f}; raw: the same signed transactions given to a chain of the same kind in this "
            f"process (py-evm with the gateway's own loop for common opcodes and trie codec, a flush to the "
            f"disk per block): {median(raw_per_s):,.0f}/s; median of {scale.mint_segments} interleaved pairs",
        ),
        Figure(
            "loop_block_ms_max",
            max(late_ms),
            "ms",
            50.0,
            "lower",
            f"how late a task on the gateway's event loop is woken that asks for it every 2 ms, while the "
            f"lane mints as above; the largest of {len(late_ms):,} in {scale.mint_segments} segments; p99 "
            f"{quantiles(late_ms, n=100)[98]:.1f} ms, median {median(late_ms):.1f} ms",
        ),
    ]


async def _run_raw(raw: EvmChain, shop: MintShop) -> tuple[float, int]:
    """Run what our side sent since the last turn; returns seconds and how many transactions."""
    sent = await shop.sent()
    # On this thread on purpose: nothing else happens meanwhile, and both sides take turns.
    began = time.perf_counter()
    hashes = [raw.send_raw(signed) for signed in sent]
    seconds = time.perf_counter() - began
    receipts = [raw.receipt(tx_hash) for tx_hash in hashes]
    assert all(receipt is not None and receipt.succeeded for receipt in receipts)
    return seconds, len(sent)
