"""The embedded chain behind the port: the default for development and single-node installations.

py-evm is pure computation of many milliseconds per block, so it runs in one worker thread that owns the
chain and its file; the event loop only waits for answers. A method that is cancelled while it waits does
not stop the work: a transaction whose sending was cancelled may be in a block, as on any chain.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar

from wallets.minting.chain.embedded_chain import CHAIN_ID, EvmChain
from wallets.minting.chain.port import ChainUnavailable, Fees, Receipt

ResultT = TypeVar("ResultT")


class EmbeddedChain:
    """A ChainClient that is its own chain. A block is final when it is mined: depth 0 suffices."""

    def __init__(self, chain: EvmChain, worker: ThreadPoolExecutor) -> None:
        """Use `open`."""
        self._chain = chain
        self._worker = worker
        self._closed = threading.Event()

    @classmethod
    async def open(cls, path: Path, *, funded: Sequence[str] = ()) -> Self:
        """Open the chain in the file at ``path`` or begin one, and see that ``funded`` can pay for gas.

        Raises ChainUnavailable if another process has the file.
        """
        worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedded-chain")

        def begin() -> EvmChain:
            chain = EvmChain(path)
            try:
                chain.fund(funded)
            except BaseException:
                chain.close()
                raise
            return chain

        try:
            chain = await asyncio.get_running_loop().run_in_executor(worker, begin)
        except BaseException:
            worker.shutdown(wait=False)
            raise
        return cls(chain, worker)

    async def _run(self, work: Callable[[], ResultT]) -> ResultT:
        if self._closed.is_set():
            raise ChainUnavailable("the embedded chain is closed")
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    async def chain_id(self) -> int:
        """See ChainClient."""
        return CHAIN_ID

    async def head(self) -> int:
        """See ChainClient."""
        return await self._run(self._chain.head)

    async def block_hash(self, number: int) -> bytes | None:
        """See ChainClient."""
        return await self._run(lambda: self._chain.block_hash(number))

    async def nonce(self, address: str, block: int | None = None) -> int:
        """See ChainClient."""
        return await self._run(lambda: self._chain.nonce(address, block))

    async def balance(self, address: str) -> int:
        """See ChainClient."""
        return await self._run(lambda: self._chain.balance(address))

    async def call(self, to: str, data: bytes, block: int | None = None) -> bytes:
        """See ChainClient."""
        return await self._run(lambda: self._chain.call(to, data, block))

    async def send_raw(self, raw: bytes) -> bytes:
        """See ChainClient. Here, returning also means: in a block, and on the disk."""
        return await self._run(lambda: self._chain.send_raw(raw))

    async def receipt(self, tx_hash: bytes) -> Receipt | None:
        """See ChainClient."""
        return await self._run(lambda: self._chain.receipt(tx_hash))

    async def fees(self) -> Fees:
        """See ChainClient."""
        return await self._run(self._chain.fees)

    async def code(self, address: str) -> bytes:
        """See ChainClient."""
        return await self._run(lambda: self._chain.code(address))

    async def close(self) -> None:
        """Finish the work at hand and close the file. A second call does nothing."""
        if self._closed.is_set():
            return
        self._closed.set()
        await asyncio.get_running_loop().run_in_executor(self._worker, self._chain.close)
        self._worker.shutdown(wait=True)
