"""Connections from a gateway to its vault: HTTP/1.1 requests on sockets that stay open.

Written for this one use because a general client library costs a millisecond of processor time per call,
half as much as a whole purchase, and more the more connections there are (httpx 0.28: its pool polls every
idle socket at every call). The parser is the server's own, httptools.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import cast
from urllib.parse import urlsplit

import httptools

_IDLE_S = 60.0
"""Shorter than the server keeps an idle connection (`http.serving`)."""
_CONNECT_S = 2.0
_MOST_BYTES = 16 * 1024 * 1024
"""Of one answer."""


class BrokenConnectionError(Exception):
    """The other side is not there, went away, or said what is not HTTP. Whether it acted is open."""


class _Connection(asyncio.Protocol):
    """One socket with one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body = bytearray()
        self.idle_since = 0.0

    @property
    def is_usable(self) -> bool:
        transport = self._transport
        return (
            transport is not None
            and not transport.is_closing()
            and time.monotonic() - self.idle_since < _IDLE_S
        )

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a whole request and return status and body. Raises BrokenConnectionError."""
        transport = self._transport
        if transport is None:
            raise BrokenConnectionError("closed")
        self._answer = asyncio.get_running_loop().create_future()
        transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Drop the socket, with whatever is under way on it."""
        if self._transport is not None:
            self._transport.abort()

    # What the socket tells:

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of the standard library's classes.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"not HTTP: {type(error).__name__}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail("closed")

    # What the parser tells:

    def on_message_begin(self) -> None:
        self._body.clear()

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > _MOST_BYTES:
            self._fail("too large")

    def on_message_complete(self) -> None:
        answer, self._answer = self._answer, None
        if not self._parser.should_keep_alive():
            self.close()
        if answer is not None and not answer.done():
            answer.set_result((self._parser.get_status_code(), bytes(self._body)))
        self._parser = httptools.HttpResponseParser(self)

    def _fail(self, reason: str) -> None:
        answer, self._answer = self._answer, None
        self.close()
        if answer is not None and not answer.done():
            answer.set_exception(BrokenConnectionError(reason))


class Connections:
    """Connections to one server, made as they are needed and used again, the last one used first."""

    def __init__(
        self, url: str, headers: dict[str, str], trust: ssl.SSLContext | None, *, most: int = 64
    ) -> None:
        """``most`` connections at a time; further calls wait for one. Raises ValueError."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or parts.hostname is None:
            raise ValueError(f"not an address of a vault: {url!r}")
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._trust = None
        if parts.scheme == "https":
            self._trust = trust or ssl.create_default_context()
        self._base = parts.path.rstrip("/")
        given = {"Host": parts.netloc, **headers}
        if any(character in value for value in given.values() for character in "\r\n"):
            raise ValueError("a header has a line break in it")
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        self._free: list[_Connection] = []
        self._turns = asyncio.Semaphore(most)
        self._closed = False

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Return status and body of the answer. Raises BrokenConnectionError. Bound it with a deadline."""
        head = f"POST {self._base}{path} HTTP/1.1\r\n{self._headers}Content-Length: {len(body)}\r\n\r\n"
        async with self._turns:
            connection = self._idle() or await self._connect()
            try:
                answer = await connection.ask(head.encode("latin-1") + body)
            except BaseException:
                # Given up or broken: an answer that still comes must not be taken for another's.
                connection.close()
                raise
            connection.idle_since = time.monotonic()
            if self._closed:
                connection.close()
            else:
                self._free.append(connection)
            return answer

    def close(self) -> None:
        """Close all connections."""
        self._closed = True
        while self._free:
            self._free.pop().close()

    def _idle(self) -> _Connection | None:
        while self._free:
            connection = self._free.pop()
            if connection.is_usable:
                return connection
            connection.close()
        return None

    async def _connect(self) -> _Connection:
        try:
            async with asyncio.timeout(_CONNECT_S):
                _, connection = await asyncio.get_running_loop().create_connection(
                    _Connection, self._host, self._port, ssl=self._trust
                )
        except (OSError, TimeoutError) as error:
            raise BrokenConnectionError(f"no connection: {type(error).__name__}") from None
        connection.idle_since = time.monotonic()
        return connection
