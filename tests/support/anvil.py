"""An anvil node of our own for a test, on loopback, with its files in a temporary home."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.anvil import MISSING
from wallets.minting.chain.jsonrpc import JsonRpcChain
from wallets.minting.chain.port import ChainUnavailable


def anvil_binary() -> str | None:
    """The binary named by ANVIL, on the PATH, or installed by npm beside the tests."""
    named = os.environ.get("ANVIL")
    if named:
        return named
    local = Path("node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil")
    return shutil.which("anvil") or (str(local.resolve()) if local.exists() else None)


class AnvilNode:
    """The node: ``client`` as the gateway sees it, `ask` for what only a test node does."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = JsonRpcChain(url)
        self._http = httpx.AsyncClient(base_url=url, timeout=10)

    async def ask(self, method: str, *params: Any) -> Any:
        """Call a JSON-RPC method and return its result. Raises RuntimeError if the node refused."""
        answer = await self._http.post(
            "", json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        )
        document = answer.json()
        if "error" in document:
            raise RuntimeError(document["error"])
        return document["result"]

    async def ask_many(self, method: str, asked: Sequence[Sequence[Any]]) -> list[Any]:
        """Call one method with many lists of parameters in one request; a refused one answers None."""
        batch = [
            {"jsonrpc": "2.0", "id": index, "method": method, "params": params}
            for index, params in enumerate(asked)
        ]
        answer = await self._http.post("", json=batch)
        results = {document["id"]: document.get("result") for document in answer.json()}
        return [results[index] for index in range(len(batch))]

    async def close(self) -> None:
        await self.client.close()
        await self._http.aclose()


@asynccontextmanager
async def anvil(home: Path, *options: str) -> AsyncIterator[AnvilNode]:
    """Start a node and stop it again; skips the test where there is no anvil."""
    binary = anvil_binary()
    if binary is None:
        pytest.skip(MISSING)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        binary, "--host", "127.0.0.1", "--port", str(port), "--silent", *options,
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    node = AnvilNode(f"http://127.0.0.1:{port}")
    try:
        for _ in range(250):
            try:
                await node.client.chain_id()
                break
            except ChainUnavailable:
                await asyncio.sleep(0.02)
        yield node
    finally:
        await node.close()
        process.kill()
        await process.wait()
