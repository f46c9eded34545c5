"""The gateway of the demo: a process of its own, on a free port, with a data directory that goes away."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parent.parent.parent
# The simulated warehouse is quick, so that nobody has to wait for a parcel.
_PACE = {"VITRINE_DISPATCH_AFTER_MS": "900", "VITRINE_DELIVER_AFTER_MS": "700"}
_OPENS_WITHIN_S = 40.0
_LAST_LINES = 15


class GatewayFailedError(Exception):
    """The gateway did not open, or ended on its own. The message is what it said."""


@dataclass(frozen=True, slots=True)
class Announced:
    """What the gateway said when it was open: ``samples.serve --json``."""

    url: str
    merchant: str
    api_key: str
    customer: str
    customer_id: str
    token: str

    @property
    def socket_url(self) -> str:
        return self.url.replace("http", "ws", 1) + "/v1/connect"


class GatewayProcess:
    """A gateway process. Use as an async context manager; leaving it ends the process."""

    def __init__(self, data_dir: Path, port: int, catalog: Path) -> None:
        self._arguments = ["--data-dir", str(data_dir), "--port", str(port), "--catalog", str(catalog)]
        self._process: Process | None = None
        self._said: deque[str] = deque(maxlen=_LAST_LINES)
        self._listening: asyncio.Task[None] | None = None
        self._opened: asyncio.Future[Announced]

    async def __aenter__(self) -> GatewayProcess:
        # Settings of the person's own gateway do not belong here.
        own = {name: value for name, value in os.environ.items() if not name.startswith("VITRINE_")}
        self._opened = asyncio.get_running_loop().create_future()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "samples.serve",
            "--json",
            *self._arguments,
            cwd=_ROOT,
            env=own | _PACE,
            # Its input ends with this process, and it ends with its input.
            stdin=PIPE,
            stdout=PIPE,
            stderr=STDOUT,
        )
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 10)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        if self._listening is not None:
            await self._listening
        # Nobody may have waited for it: an interrupted demo has no use for the reason.
        if not self._opened.cancelled():
            self._opened.exception()

    async def opened(self) -> Announced:
        """Wait until the gateway is open. Raises GatewayFailedError with what it said instead."""
        try:
            return await asyncio.wait_for(asyncio.shield(self._opened), _OPENS_WITHIN_S)
        except TimeoutError:
            raise GatewayFailedError(f"the gateway did not open within {_OPENS_WITHIN_S:.0f} s") from None

    async def ended(self) -> None:
        """Wait until the process ends by itself, which it should not; then raise GatewayFailedError."""
        assert self._process is not None and self._listening is not None
        code = await self._process.wait()
        await asyncio.wait([self._listening])
        raise GatewayFailedError(self._last_words() or f"the gateway ended with code {code}")

    async def _listen(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        async for raw in self._process.stdout:
            line = raw.decode("utf-8", "replace").rstrip()
            announced = _announcement(line)
            if announced is not None and not self._opened.done():
                self._opened.set_result(announced)
            elif line:
                self._said.append(line)
        if not self._opened.done():
            code = await self._process.wait()
            failed = GatewayFailedError(self._last_words() or f"the gateway ended with code {code}")
            self._opened.set_exception(failed)

    def _last_words(self) -> str:
        return "\n".join(self._said)


def _announcement(line: str) -> Announced | None:
    try:
        document: Any = json.loads(line)
        return Announced(**document)
    except (ValueError, TypeError):
        return None
