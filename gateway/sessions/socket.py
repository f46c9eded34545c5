"""The WebSocket shell: moves bytes between a socket and its session core, and carries out its actions.

Raw ASGI: a connection costs one task while it is idle. Outgoing messages wait in a bounded queue that one
short-lived task drains, so a slow reader can be told apart from a busy one.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any
from urllib.parse import parse_qs

import structlog

from gateway.commands.context import Context
from gateway.commands.customer import perform
from gateway.identity.tokens import authenticate_device
from gateway.kernel.errors import UnavailableError, VitrineError
from gateway.kernel.events.log import Position, events_after, open_stream, position
from gateway.kernel.events.model import RecordedEvent
from gateway.kernel.store.unit import Reader
from gateway.orders.views import open_orders
from gateway.protocol.close_codes import CloseCode
from gateway.protocol.messages import SUBPROTOCOL, AnyCommand, Auth, Resume
from gateway.sessions.core import (
    Action,
    Close,
    Perform,
    Send,
    Session,
    SessionLimits,
    SessionState,
    SignIn,
)
from gateway.sessions.hub import Hub

log = structlog.get_logger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
SendAsgi = Callable[[MutableMapping[str, Any]], Awaitable[None]]


_CLOSE_WITHIN_S = 5.0
"""How long a client may take to read what waits for it and the close."""
_REPLAY = 64
"""Events read at once when a client catches up: well below what may wait for it."""


def steady_ms() -> int:
    """Milliseconds of a clock that never jumps, for time-outs and rates."""
    return time.monotonic_ns() // 1_000_000


class Sockets:
    """All connections of this process: the ASGI endpoint and its housekeeping."""

    def __init__(self, context: Context, hub: Hub, limits: SessionLimits, server: str) -> None:
        self._context = context
        self._hub = hub
        self._limits = limits
        self._server = server
        self._open: set[_Connection] = set()
        self._unsigned: set[_Connection] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._commands: set[asyncio.Task[None]] = set()
        # Session ids name a connection in logs; they need no database and no order.
        self._made = 0

    def start(self) -> None:
        """Begin watching for silent connections."""
        self._keeper = asyncio.create_task(self._keep(), name="socket-keeper")

    async def stop(self) -> None:
        """Tell every client to reconnect elsewhere, after the commands in flight were answered."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._commands:
            await asyncio.wait(self._commands, timeout=10)
        for connection in tuple(self._open):
            connection.act([Close(CloseCode.RESTART, "restarting")])
        await asyncio.gather(
            *(connection.drained() for connection in tuple(self._open)), return_exceptions=True
        )

    @property
    def count(self) -> int:
        """Open connections."""
        return len(self._open)

    async def __call__(self, scope: Scope, receive: Receive, send: SendAsgi) -> None:
        """Serve one connection (ASGI)."""
        await receive()  # websocket.connect
        offered = scope.get("subprotocols", [])
        # Tools that cannot send the header name the version in the address instead; then none is answered
        # in the header either (RFC 6455 section 4.2.2).
        named = not offered and parse_qs(scope.get("query_string", b"")).get(b"subprotocol")
        if SUBPROTOCOL not in offered and named != [SUBPROTOCOL.encode()]:
            # No common version: the handshake is refused rather than guessed at (W1).
            await _refuse(send, 400, f"offer the subprotocol {SUBPROTOCOL}\n")
            return
        if len(self._unsigned) >= self._limits.connections_before_auth:
            await _refuse(send, 503, "too many connections are signing in; try again\n")
            return
        await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL if offered else None})
        self._made += 1
        connection = _Connection(self, send, f"ses_{self._made:x}_{secrets.token_hex(6)}")
        self._open.add(connection)
        self._unsigned.add(connection)
        try:
            connection.greet()
            while True:
                message = await receive()
                if message["type"] == "websocket.disconnect":
                    return
                connection.receive(message.get("text"))
        except asyncio.CancelledError:
            if not connection.given_up:
                raise
        finally:
            self._open.discard(connection)
            self._unsigned.discard(connection)
            connection.gone()

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(1)
            now_ms, wall_ms = steady_ms(), self._context.clock.now_ms()
            for connection in tuple(self._open):
                connection.watch(now_ms, wall_ms)


class _Connection:
    """One socket with its session and its outgoing queue."""

    __slots__ = (
        "_announced",
        "_catching_up",
        "_closing",
        "_ended",
        "_listening",
        "_outbox",
        "_outbox_bytes",
        "_pending_close",
        "_send",
        "_sender",
        "_serving",
        "_session",
        "_sockets",
        "given_up",
    )

    def __init__(self, sockets: Sockets, send: SendAsgi, session_id: str) -> None:
        self._sockets = sockets
        self._send = send
        self._session = Session(session_id, sockets._server, sockets._limits, steady_ms())
        self._outbox: deque[bytes] | None = None
        self._outbox_bytes = 0
        self._sender: asyncio.Task[None] | None = None
        self._pending_close: Close | None = None
        self._listening: str | None = None
        self._catching_up = False
        self._announced = False
        self._closing = False
        self._ended = False
        self.given_up = False
        serving = asyncio.current_task()
        assert serving is not None
        self._serving = serving

    def greet(self) -> None:
        """Say hello."""
        self.act([self._session.hello(secrets.token_urlsafe(16), self._wall_ms())])

    def receive(self, text: str | None) -> None:
        """Hand a message to the core."""
        self.act(self._session.received(text, steady_ms(), self._wall_ms()))

    def act(self, actions: list[Action]) -> None:
        """Carry out what the core decided."""
        for action in actions:
            match action:
                case Send():
                    self._enqueue(action.data)
                case Perform():
                    self._spawn(self._perform(action.command))
                case SignIn():
                    self._spawn(self._sign_in(action.request))
                case Close():
                    self._close(action)

    def watch(self, now_ms: int, wall_ms: int) -> None:
        """Check time-outs and the token's end."""
        ended = self._session.tick(now_ms)
        principal = self._session.principal
        if (
            ended is None
            and principal is not None
            and principal.expires_at_ms <= wall_ms
            and not self._closing
        ):
            ended = self._session.token_ended()
        if ended is not None:
            self.act([ended])

    def gone(self) -> None:
        """The socket is closed: listen no more."""
        self._ended = True
        self._leave_hub()
        self._session.state = SessionState.CLOSING
        if self._sender is not None:
            self._sender.cancel()

    def _leave_hub(self) -> None:
        if self._listening is not None:
            self._sockets._hub.forget(self._listening, self._deliver)
            self._listening = None

    async def drained(self) -> None:
        """Wait until the outgoing queue is empty."""
        if self._sender is not None:
            await asyncio.wait([self._sender], timeout=2)

    # --- sign-in and events

    async def _sign_in(self, request: Auth | Resume) -> None:
        context, session = self._sockets._context, self._session
        try:
            principal = await context.store.read(
                lambda reader: authenticate_device(reader, request.body.token)
            )
            if session.is_closing():
                return  # the client left meanwhile: nobody would take the listener out again
            stream = principal.customer_id
            hub = self._sockets._hub
            if hub.count(stream) >= self._sockets._limits.connections_per_account:
                raise UnavailableError(
                    "auth.too_many_connections", "The account has too many connections open."
                )
            # Listening starts before the position is read, so no event can fall between; what comes
            # twice or too early is sorted out by its number.
            self._catching_up = True
            self._listening = stream
            hub.listen(stream, self._deliver)
            where = await context.store.read(lambda reader: position(reader, stream))
            if where is None:
                where = await context.store.write(lambda uow: open_stream(uow, stream))
        except VitrineError as error:
            self.act(session.refused(request, error, self._wall_ms()))
            return
        except Exception:
            log.exception("session.sign_in_failed", session_id=session.session_id)
            self.act(session.refused(request, _internal(), self._wall_ms()))
            return
        if session.is_closing():
            return
        ready, resumed = session.signed_in(principal, where, request, self._wall_ms())
        self._sockets._unsigned.discard(self)
        self.act([ready])
        await self._follow(snapshot=isinstance(request, Resume) and not resumed)

    async def _follow(self, *, snapshot: bool = False) -> None:
        """Bring the client up to date and go live; if that cannot be done, it resumes on a new connection."""
        principal = self._session.principal
        assert principal is not None
        try:
            if snapshot:
                await self._send_snapshot(principal.customer_id)
            await self._catch_up()
        except Exception:
            log.exception("session.catch_up_failed", session_id=self._session.session_id)
            self.act([self._session.close_failed()])

    async def _send_snapshot(self, customer_id: str) -> None:
        """Orders and the number they are current at, from one committed state."""

        def query(reader: Reader) -> tuple[Position | None, list[Any]]:
            return position(reader, customer_id), open_orders(reader, customer_id)

        where, orders = await self._sockets._context.store.read(query)
        assert where is not None
        self._session.sent_seq = where.seq
        self.act([self._session.snapshot(orders, self._wall_ms())])

    def _deliver(self, recorded: list[RecordedEvent]) -> None:
        """New events of the customer: the next ones go out, a gap is read from the log."""
        if self._catching_up:
            self._announced = True
            return
        if self._session.state is not SessionState.READY:
            return
        for happened in recorded:
            if happened.seq <= self._session.sent_seq:
                continue
            message = self._session.event(happened)
            if message is None:
                self._catching_up = True
                self._spawn(self._follow())
                return
            self._enqueue(message.data)

    async def _catch_up(self) -> None:
        """Send what the log has behind the last number, then go live.

        Events announced while a page is read may or may not be on it: then one more page is read. Going
        live follows the last page without a pause, so nothing fits in between.
        """
        session, store = self._session, self._sockets._context.store
        assert session.principal is not None
        stream = session.principal.customer_id
        while session.state is SessionState.READY:
            self._announced = False
            after = session.sent_seq
            missed = await store.read(partial(_page_after, stream, after))
            for happened in missed:
                message = session.event(happened)
                assert message is not None, "the log has no gaps"
                self._enqueue(message.data)
            if len(missed) < _REPLAY and not self._announced:
                self._catching_up = False
                return
            await self._room()

    async def _room(self) -> None:
        """Let a long replay go at the pace of the client."""
        if self._sender is not None and self._outbox and len(self._outbox) > _REPLAY // 2:
            await asyncio.wait([self._sender])

    # --- commands

    async def _perform(self, command: AnyCommand) -> None:
        session = self._session
        assert session.principal is not None
        try:
            body = await perform(self._sockets._context, session.principal, command)
            reply = session.replied(command, body, self._wall_ms())
        except VitrineError as error:
            reply = session.failed(command, error, self._wall_ms())
        except Exception:
            log.exception("command.failed", type=command.type, session_id=session.session_id)
            reply = session.failed(command, _internal(), self._wall_ms())
        self._enqueue(reply.data)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._sockets._commands.add(task)
        task.add_done_callback(self._sockets._commands.discard)

    # --- sending

    def _enqueue(self, data: bytes) -> None:
        if self._closing:
            return
        if self._outbox is None:
            self._outbox = deque()
        self._outbox.append(data)
        self._outbox_bytes += len(data)
        limits = self._sockets._limits
        if len(self._outbox) > limits.outbound_messages or self._outbox_bytes > limits.outbound_bytes:
            self._outbox.clear()
            self._outbox_bytes = 0
            self._close(self._session.close_slow())
            return
        if self._sender is None:
            self._sender = asyncio.create_task(self._drain())

    def _close(self, close: Close) -> None:
        if self._closing:
            return
        self._closing = True
        self._pending_close = close
        self._leave_hub()
        if self._sender is None:
            self._sender = asyncio.create_task(self._drain())
        # A client that reads nothing would keep the close, and with it this connection, waiting for ever.
        asyncio.get_running_loop().call_later(_CLOSE_WITHIN_S, self._give_up)

    def _give_up(self) -> None:
        """End the connection's task; the server then drops the transport."""
        if not self._ended:
            self.given_up = True
            self._serving.cancel()

    async def _drain(self) -> None:
        """Send what waits, then the close if one is due. Ends when there is nothing left."""
        try:
            while self._outbox:
                data = self._outbox.popleft()
                self._outbox_bytes -= len(data)
                await self._send({"type": "websocket.send", "text": data.decode()})
            self._outbox = None
            if self._pending_close is not None:
                close, self._pending_close = self._pending_close, None
                await self._send({"type": "websocket.close", "code": int(close.code), "reason": close.reason})
        except Exception:
            # The client is gone; what it missed it gets when it resumes.
            self._closing = True
            self._outbox = None
        finally:
            self._sender = None

    def _wall_ms(self) -> int:
        return self._sockets._context.clock.now_ms()


def _page_after(stream: str, seq: int, reader: Reader) -> list[RecordedEvent]:
    return events_after(reader, stream, seq, _REPLAY)


async def _refuse(send: SendAsgi, status: int, text: str) -> None:
    """Answer the handshake with an HTTP status instead of a connection."""
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": text.encode()})


def _internal() -> VitrineError:
    return UnavailableError("internal", "Something failed on our side.", retry_after_ms=1000)
