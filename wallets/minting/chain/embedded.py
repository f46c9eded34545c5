"""The embedded chain behind the port: the default for development and single-node installations.

py-evm is pure computation of many milliseconds per block. In the gateway's process even a thread of its own
would take the interpreter from everybody else, so chains have a process: `chain_process`. A method that is
cancelled while it waits does not stop the work: a transaction whose sending was cancelled may be in a block,
as on any chain.
"""

from __future__ import annotations

import asyncio
import atexit
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar

from wallets.minting.chain.port import ChainUnavailable, Fees, Receipt

ResultT = TypeVar("ResultT")
_ENDS_WITHIN_S = 10.0
_AGAIN_AFTER_S = 0.02
_ANSWERS_WITHIN_S = 60.0
"""A request takes some milliseconds; a process that takes so long hangs."""


class _ChainProcess:
    """The process that all embedded chains of this one share, and the conversation with it.

    Loading py-evm takes a second, so it stays for the next chain, until this process ends. All methods but
    `run` block; they run in one thread, so one request is under way at a time.
    """

    def __init__(self) -> None:
        self.life = 1
        """Counts the processes: a chain opened in an earlier one is open no more."""
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedded-chain")

    async def run(self, work: Callable[..., ResultT], *arguments: Any) -> ResultT:
        """Run one of the other methods, or what calls them, in their thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def later(self, work: Callable[[], object]) -> None:
        """Have it run in the thread after what waits there, with nobody to wait for it."""
        self._thread.submit(work)

    def ask(self, name: str, *arguments: Any) -> Any:
        """Return what `chain_process.Chains` returns, or raise what it raises.

        Raises ChainUnavailable if the process ended meanwhile, or was ended because it did not answer; the
        next request starts another.
        """
        request = pickle.dumps((name, arguments), pickle.HIGHEST_PROTOCOL)
        child = self._child or self._start()
        assert child.stdin is not None
        assert child.stdout is not None
        # Nothing else would end the wait, and the gateway could not close.
        deadline = threading.Timer(_ANSWERS_WITHIN_S, child.kill)
        deadline.daemon = True
        deadline.start()
        try:
            child.stdin.write(request)
            child.stdin.flush()
            succeeded, value = pickle.load(child.stdout)  # noqa: S301  # from our own child
        except Exception as error:
            # Whatever it was: the next answer could be the one to this request, so the conversation is over.
            self.end()
            raise ChainUnavailable("the process of the embedded chain ended") from error
        finally:
            deadline.cancel()
        if succeeded:
            return value
        raise value

    def end(self) -> None:
        """Let the process finish and wait for its end."""
        child, self._child = self._child, None
        if child is None:
            return
        self.life += 1
        try:
            child.communicate(timeout=_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()

    def _start(self) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C in a terminal is for the gateway, which then ends the chain.
        self._child = subprocess.Popen(  # this interpreter, a module of ours
            [sys.executable, "-m", "wallets.minting.chain.chain_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        return self._child


_PROCESS = _ChainProcess()
atexit.register(_PROCESS.end)


class EmbeddedChain:
    """A ChainClient that is its own chain. A block is final when it is mined: depth 0 suffices."""

    mines_on_send = True
    """`send_raw` answers with the block, and the next request waits for it."""

    def __init__(self, path: Path, funded: Sequence[str]) -> None:
        """Use `open`."""
        self._path = path.absolute()
        self._funded = tuple(funded)
        self._life = self._number = self._chain_id = 0
        self._closed = False

    @classmethod
    async def open(cls, path: Path, *, funded: Sequence[str] = (), within_s: float = 5.0) -> Self:
        """Open the chain in the file at ``path`` or begin one, and see that ``funded`` can pay for gas.

        Waits up to ``within_s`` for the file: the chain of a gateway that was killed may still be writing its
        last block. Raises ChainUnavailable if another keeps it.
        """
        chain = cls(path, funded)
        give_up_at = time.monotonic() + within_s
        while True:
            try:
                await _PROCESS.run(chain._open)
            except ChainUnavailable:
                if time.monotonic() > give_up_at:
                    raise
                await asyncio.sleep(_AGAIN_AFTER_S)
            except asyncio.CancelledError:
                _PROCESS.later(chain._close)
                raise
            else:
                return chain

    def _open(self) -> None:
        self._number, self._chain_id = _PROCESS.ask("open", self._path, self._funded)
        self._life = _PROCESS.life

    def _ask(self, method: str, *arguments: Any) -> Any:
        if self._life != _PROCESS.life:
            # The process was killed, and another chain or this one had it started again.
            self._open()
        return _PROCESS.ask("ask", self._number, method, arguments)

    def _close(self) -> None:
        if self._number and self._life == _PROCESS.life:
            _PROCESS.ask("close", self._number)

    async def _run(self, method: str, *arguments: Any) -> Any:
        if self._closed:
            raise ChainUnavailable("the embedded chain is closed")
        return await _PROCESS.run(self._ask, method, *arguments)

    async def chain_id(self) -> int:
        """See ChainClient."""
        return self._chain_id

    async def head(self) -> int:
        """See ChainClient."""
        number: int = await self._run("head")
        return number

    async def block_hash(self, number: int) -> bytes | None:
        """See ChainClient."""
        found: bytes | None = await self._run("block_hash", number)
        return found

    async def nonce(self, address: str, block: int | None = None) -> int:
        """See ChainClient."""
        count: int = await self._run("nonce", address, block)
        return count

    async def balance(self, address: str) -> int:
        """See ChainClient."""
        wei: int = await self._run("balance", address)
        return wei

    async def call(self, to: str | None, data: bytes, block: int | None = None) -> bytes:
        """See ChainClient."""
        returned: bytes = await self._run("call", to, data, block)
        return returned

    async def send_raw(self, raw: bytes) -> bytes:
        """See ChainClient. Here, returning also means: in a block, and on the disk."""
        tx_hash: bytes = await self._run("send_raw", raw)
        return tx_hash

    async def receipt(self, tx_hash: bytes) -> Receipt | None:
        """See ChainClient."""
        found: Receipt | None = await self._run("receipt", tx_hash)
        return found

    async def fees(self) -> Fees:
        """See ChainClient."""
        offered: Fees = await self._run("fees")
        return offered

    async def code(self, address: str) -> bytes:
        """See ChainClient."""
        found: bytes = await self._run("code", address)
        return found

    async def close(self) -> None:
        """Finish the work at hand and close the file. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        await _PROCESS.run(self._close)
