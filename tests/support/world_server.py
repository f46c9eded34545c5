"""A world's server as a test plays it: it takes webhooks on a real socket and checks them by itself.

The signature is checked as Standard Webhooks says, with nothing of the gateway's code.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

TOLERANCE_S = 300


@dataclass(frozen=True)
class Received:
    """One request, as it came in."""

    headers: dict[str, str]
    body: bytes

    @property
    def notice_id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def document(self) -> Any:
        return json.loads(self.body)


Reply = tuple[int, dict[str, str]] | int | None
"""A status, a status with headers, or None: no answer at all."""


@dataclass
class WorldServer:
    """Listens on loopback. ``answer`` says what each request gets; use it as an async context manager."""

    answer: Callable[[Received], Reply] = lambda received: 204
    received: list[Received] = field(default_factory=list)
    open_requests: int = 0
    most_open: int = 0
    _came: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None
    _at_work: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._at_work):
            task.cancel()
        await asyncio.gather(*self._at_work, return_exceptions=True)

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def types(self) -> list[str]:
        return [one.document["type"] for one in self.received]

    async def until(self, condition: Callable[[], bool], within_s: float = 5.0) -> None:
        """Wait until something is true of what came in."""
        async with asyncio.timeout(within_s):
            while not condition():
                self._came.clear()
                await self._came.wait()

    async def has(self, notices: int, within_s: float = 5.0) -> list[Received]:
        """Wait for so many requests in all."""
        await self.until(lambda: len(self.received) >= notices, within_s)
        return self.received

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._at_work.add(task)
        try:
            while (line := await reader.readline()).strip():
                assert line.startswith(b"POST "), line
                headers = {}
                while header := (await reader.readline()).decode("latin-1").strip():
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                body = await reader.readexactly(int(headers["content-length"]))
                found = Received(headers, body)
                self.open_requests += 1
                self.most_open = max(self.most_open, self.open_requests)
                self.received.append(found)
                self._came.set()
                reply = self.answer(found)
                if reply is None:
                    await asyncio.sleep(3600)
                    return
                status, more = reply if isinstance(reply, tuple) else (reply, {})
                self.open_requests -= 1
                lines = [f"{name}: {value}\r\n" for name, value in more.items()]
                writer.write(f"HTTP/1.1 {status} X\r\n{''.join(lines)}content-length: 0\r\n\r\n".encode())
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the other side went away, or the test ends
        finally:
            self._at_work.discard(task)
            writer.close()


def check_signature(received: Received, public_keys: list[str], now_s: float | None = None) -> None:
    """Raise AssertionError unless one of the keys has signed it, a short while ago."""
    timestamp = received.headers["webhook-timestamp"]
    age_s = (time.time() if now_s is None else now_s) - int(timestamp)
    assert abs(age_s) <= TOLERANCE_S, f"signed {age_s} s ago"
    content = b".".join([received.notice_id.encode(), timestamp.encode(), received.body])
    for signature in received.headers["webhook-signature"].split(" "):
        version, _, encoded = signature.partition(",")
        if version != "v1a":
            continue
        for key in public_keys:
            assert key.startswith("whpk_")
            public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key.removeprefix("whpk_")))
            try:
                public.verify(base64.b64decode(encoded), content)
            except InvalidSignature:
                continue
            return
    raise AssertionError("no valid signature")
