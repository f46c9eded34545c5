"""uvicorn's protocol with bounds on what a connection may use before anybody knows who it is.

httptools collects a header until its line ends, however long that is, and uvicorn waits for the rest of a
head or body for ever. Here both have an end, and the number of connections too: a caller without a
credential must not be able to use up the memory or the files of the process.
"""

from __future__ import annotations

import asyncio
import resource
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD_BYTES = 32 * 1024
"""Of a request's line and headers together; also what may come between two pieces of a body."""
MESSAGE_S = 15.0
"""How long a request may take to come in, from the connection or its first byte to its last."""
LONG_MESSAGE_S = 600.0
"""The same where a long body is expected: a model of 50 MB over a slow line."""
_MOST_CONNECTIONS = 2_048
_ANSWER_431 = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)


def most_connections() -> int:
    """Return how many connections may be open: half of the files that the process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else min(_MOST_CONNECTIONS, soft // 2)


class BoundedProtocol(HttpToolsProtocol):
    """A connection that must send its requests whole, in time, and with small heads."""

    message_s = MESSAGE_S
    long_paths: frozenset[str] = frozenset()
    """Where a body may be long, because whoever reads it counts its bytes."""
    long_message_s = LONG_MESSAGE_S
    most_connections = staticmethod(most_connections)

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._idle_bytes = 0
        """What came since the parser last had something to tell."""
        self._deadline: asyncio.TimerHandle | None = None
        self._is_in_head = False
        self._is_handed_over = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as its base
        super().connection_made(transport)
        if len(self.connections) > self.most_connections():
            transport.abort()
            return
        # A connection that never sends anything ends like one that never finishes.
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return  # it was refused and goes on all the same
        self._idle_bytes += len(data)
        super().data_received(data)
        if self._is_handed_over:
            return
        if self._deadline is None and self.timeout_keep_alive_task is None and not self._is_at_work():
            # Something that begins no request, like line breaks, has ended uvicorn's wait for the next one.
            self._expect()
        if self._idle_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
            if self._is_in_head:
                self.transport.write(_ANSWER_431)
            self.transport.close()

    def on_message_begin(self) -> None:
        self._is_in_head = True
        if self._deadline is None:
            self._expect()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._idle_bytes = 0
        super().on_headers_complete()  # an upgrade leaves the scope without a path
        if self._deadline is not None and self.scope.get("path") in self.long_paths:
            self._forget()
            self._expect(self.long_message_s)

    def on_body(self, body: bytes) -> None:
        self._idle_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._idle_bytes = 0
        self._forget()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        # From here on the transport belongs to another protocol, with bounds of its own.
        self._is_handed_over = True
        self._forget()
        super().handle_websocket_upgrade()

    def _is_at_work(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _expect(self, within_s: float | None = None) -> None:
        self._deadline = self.loop.call_later(within_s or self.message_s, self._late)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self._deadline = None
        self.transport.abort()
