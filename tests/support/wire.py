"""A bare connection: whatever a test sends, byte for byte, and whatever comes back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

Document = dict[str, Any]


class Wire:
    """One connection without any help: no resume, no keys, no heartbeat."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.events: list[Document] = []
        self._sent = 0

    async def send(self, raw: str | bytes) -> None:
        await self.socket.send(raw)

    async def receive(self, within_s: float = 5.0) -> Document:
        """Return the next message."""
        async with asyncio.timeout(within_s):
            found: Document = json.loads(await self.socket.recv())
            return found

    async def reply(self, within_s: float = 5.0) -> Document:
        """Return the next ``ok`` or ``error``; events on the way are kept."""
        while True:
            message = await self.receive(within_s)
            if message["type"] in ("ok", "error"):
                return message
            if "seq" in message:
                self.events.append(message)

    async def ask(self, type: str, body: Any = None, **envelope: Any) -> Document:
        """Send a command and return its reply."""
        self._sent += 1
        message = {"v": 1, "id": f"w{self._sent}", "type": type, "body": {} if body is None else body}
        await self.send(json.dumps(message | envelope))
        reply = await self.reply()
        assert reply.get("re") == (message | envelope)["id"], reply
        return reply

    async def sign_in(self, token: str, **resume: Any) -> Document:
        """Sign in, or resume with ``epoch`` and ``seq``; returns what was answered."""
        kind = "resume" if resume else "auth"
        await self.send(json.dumps({"v": 1, "id": "in", "type": kind, "body": {"token": token, **resume}}))
        return await self.receive()

    async def closed(self, within_s: float = 5.0) -> int:
        """Wait for the gateway to close the connection and return its code."""
        try:
            while True:
                await self.receive(within_s)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd is not None else 1006


@asynccontextmanager
async def wired(base_url: str, token: str = "") -> AsyncIterator[Wire]:
    """Connect and read ``hello``; sign in if a token is given."""
    async with connect(
        base_url.replace("http", "ws", 1) + "/v1/connect",
        subprotocols=[Subprotocol("vitrine.v1.json")],
        compression=None,
        max_size=2**22,
    ) as socket:
        wire = Wire(socket)
        assert (await wire.receive())["type"] == "hello"
        if token:
            assert (await wire.sign_in(token))["type"] == "ready"
        yield wire
