"""A process that mints over JSON-RPC until it is killed; see `live`.

It is forked from a server that has loaded all this, so that a life begins in a moment and may end in one.
"""

from __future__ import annotations

import asyncio
from multiprocessing.connection import Connection
from pathlib import Path

import aiohttp  # noqa: F401  # these take a second to load, and are loaded once, before the forks
import web3.providers.rpc  # noqa: F401  # as aiohttp

from tests.wallets.minting.lane_world import LeapClock, World, new_store
from wallets.minting.chain.failover import FailoverChain
from wallets.minting.chain.jsonrpc import JsonRpcChain
from wallets.minting.model import MintingSettings

DEPTH = 4
SETTINGS = MintingSettings(
    window_ms=2,
    poll_ms=10,
    batch_items=20,
    confirmations=DEPTH,
    rebroadcast_after_ms=40,
    minters=2,
    start_timeout_s=60,
)


def live(directory: Path, addresses: list[str], started: Connection) -> None:
    """Open minting on a directory's store and a node, say so, and mint until killed."""
    asyncio.run(_live(directory, addresses, started))


async def _live(directory: Path, addresses: list[str], started: Connection) -> None:
    clock = LeapClock()
    chain = FailoverChain([JsonRpcChain(address, timeout_s=5) for address in addresses])
    shop = World(new_store(directory, clock), chain, clock)
    started.send("open")
    minting = await shop.open(SETTINGS)
    minting.start()
    started.send("minting")
    await asyncio.Event().wait()
