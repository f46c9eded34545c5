"""A server as a process of its own that can be killed with SIGKILL and started again on the same files."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

PROCESSES = multiprocessing.get_context("forkserver")


class Lives(ABC):
    """One server in several lives. Who inherits says what is run (`serve`) and where it is asked (`answers`)."""

    serve: Callable[..., None]

    def begin(self, settings: Any, log: Path) -> None:
        """Note how the process is started; ``log`` collects what all its lives print."""
        self.settings, self.log = settings, log
        self.process: Any = None

    def start(self, serve: Callable[..., None] | None = None, *given: Any) -> None:
        """Start a life, perhaps another one than usual; it may take a while until it answers."""
        target = serve or type(self).serve
        self.process = PROCESSES.Process(target=target, args=(self.settings, self.log, *given))
        self.process.start()

    def kill(self) -> None:
        """SIGKILL, now. Fails if the process had ended by itself."""
        self.process.kill()
        self.process.join()
        assert self.process.exitcode == -signal.SIGKILL, self.ended()

    def terminate(self, within_s: float = 20.0) -> None:
        """Ask the process to end and wait for it; fails if it does not end well."""
        self.process.terminate()
        self.process.join(within_s)
        # uvicorn raises the signal again once everything is closed.
        assert self.process.exitcode in (0, -signal.SIGTERM), self.ended()

    def destroy(self) -> None:
        """Leave no process behind."""
        if self.process is not None and self.process.is_alive():
            self.process.kill()
            self.process.join()

    @abstractmethod
    async def answers(self) -> bool:
        """Whether the process says that it can work; may raise httpx.TransportError."""

    async def until_ready(self, within_s: float = 20.0) -> None:
        """Wait until the process answers that it can work."""
        give_up_at = time.monotonic() + within_s
        while time.monotonic() < give_up_at:
            assert self.process.is_alive(), self.ended()
            try:
                if await self.answers():
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.02)
        raise AssertionError(f"not ready after {within_s} s: {self.ended()}")

    async def kills_itself(self, within_s: float = 20.0) -> None:
        """Wait until the process has killed itself; fails if it ended in another way, or goes on."""
        await asyncio.to_thread(self.process.join, within_s)
        assert self.process.exitcode == -signal.SIGKILL, self.ended()

    def ended(self) -> str:
        """Return what can be said of its end."""
        said = self.log.read_text()[-3000:] if self.log.exists() else ""
        return f"exit code {self.process.exitcode}; the last it said:\n{said}"
