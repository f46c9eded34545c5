"""An anvil node of the run's own: on loopback, with its files in the run's folder."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench.processes import ROOT, BenchError
from bench.solidity import INSTALL
from wallets.minting.chain.jsonrpc import JsonRpcChain
from wallets.minting.chain.port import ChainUnavailable

MISSING = f"no anvil: set ANVIL to its binary, or run '{INSTALL}'"
_READY_WITHIN_S = 20.0
_STOP_WITHIN_S = 10.0


def anvil_binary() -> str | None:
    """Return the binary named by ANVIL, on the PATH, or installed by npm in the repository; None without."""
    named = os.environ.get("ANVIL") or shutil.which("anvil")
    if named:
        return named
    local = ROOT / "node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil"
    return str(local) if local.exists() else None


@asynccontextmanager
async def anvil(binary: str, home: Path, *options: str) -> AsyncIterator[str]:
    """Run a node with an empty chain; gives its address."""
    home.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    child = await asyncio.create_subprocess_exec(
        binary, "--host", "127.0.0.1", "--port", str(port), "--silent", *options,
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        await _until_ready(child, url)
        yield url
    finally:
        if child.returncode is None:
            child.terminate()
            try:
                await asyncio.wait_for(child.wait(), _STOP_WITHIN_S)
            except TimeoutError:
                child.kill()
                await child.wait()


async def _until_ready(child: asyncio.subprocess.Process, url: str) -> None:
    client = JsonRpcChain(url)
    try:
        async with asyncio.timeout(_READY_WITHIN_S):
            while child.returncode is None:
                try:
                    await client.chain_id()
                    return
                except ChainUnavailable:
                    await asyncio.sleep(0.02)
    except TimeoutError:
        raise BenchError(f"anvil was not ready within {_READY_WITHIN_S:.0f} s") from None
    finally:
        await client.close()
    raise BenchError("anvil ended before it was ready")
