"""A headset's connection to a Vitrine gateway: connect, sign in, send commands, follow events, resume.

It shows what every client does to be safe:

- the key of a changing command is written to disk before it is sent and used again until it is answered,
  also after the application was killed;
- the number of the last event seen is kept, and a new connection resumes from it;
- a dropped connection is opened again with growing, jittered pauses, unless the close code says stop.
"""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

SUBPROTOCOL = Subprotocol("vitrine.v1.json")
Document = dict[str, Any]
CHANGING = frozenset(
    {
        "quote.create",
        "order.place",
        "order.pay",
        "order.pay_link",
        "order.cancel",
        "order.choose_wallet",
        "payment.authenticate",
        "guardian.approve",
        "guardian.decline",
        "passkey.add",
        "passkey.remove",
        "world.allow",
        "world.revoke",
        "wallet.link",
        "wallet.unlink",
    }
)
"""Commands that change something: they carry a key."""


class CommandError(Exception):
    """The gateway refused a command; ``body`` is the body of its ``error``."""

    def __init__(self, body: Document) -> None:
        super().__init__(f"{body['code']}: {body['message']}")
        self.body = body
        self.code: str = body["code"]


class SignInRefusedError(Exception):
    """No connection, and trying again would not help.

    The gateway closed for good (another token is needed, or the client must be fixed), or it did not answer
    for as long as this headset waits.
    """


class Memory:
    """What a headset keeps across restarts: its place in the stream and the keys it has not seen answered."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.epoch = ""
        self.seq = 0
        self.pending: dict[str, Document] = {}
        if path is not None and path.exists():
            saved = json.loads(path.read_text())
            self.epoch, self.seq, self.pending = saved["epoch"], saved["seq"], saved["pending"]

    def save(self) -> None:
        """Write to disk, whole or not at all."""
        if self._path is None:
            return
        partial = self._path.with_suffix(".new")
        partial.write_text(json.dumps({"epoch": self.epoch, "seq": self.seq, "pending": self.pending}))
        partial.replace(self._path)


class Headset:
    """One signed-in connection that opens itself again. Use as an async context manager.

    ``sign_in_within_s`` bounds the wait for the first sign-in (None: no bound of its own), and
    ``give_up_after_s`` how long a gateway that was there may be away. ``on_waiting`` is called once each time
    that a connection cannot be opened, before the attempts that follow.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        memory: Memory | None = None,
        on_event: Callable[[Document], None] | None = None,
        on_waiting: Callable[[], None] | None = None,
        sign_in_within_s: float | None = None,
        give_up_after_s: float = 60.0,
    ) -> None:
        self._url = url
        self._token = token
        self.memory = memory or Memory()
        self._on_event = on_event
        self._on_waiting = on_waiting
        self._sign_in_within_s = sign_in_within_s
        self._give_up_after_s = give_up_after_s
        self._socket: ClientConnection | None = None
        self._waiting: dict[str, asyncio.Future[Document]] = {}
        self._sent = 0
        self._ready = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._stopped: BaseException | None = None
        self.events: list[Document] = []
        self.customer_id = ""
        self._news = asyncio.Event()
        self._beat_s = 20.0

    async def __aenter__(self) -> Self:
        self._reader = asyncio.create_task(self._keep_connected())
        try:
            async with asyncio.timeout(self._sign_in_within_s):
                await self._until_ready()
        except BaseException as error:
            # Nobody would end the reader otherwise: ``__aexit__`` follows only a successful entry.
            await self.__aexit__()
            if isinstance(error, TimeoutError):
                raise SignInRefusedError(f"{self._url} does not answer") from error
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        if self._socket is not None:
            await self._socket.close()

    async def command(self, type: str, body: Document | None = None, *, key: str | None = None) -> Document:
        """Send a command and return the body of its ``ok``; raises CommandError for ``error``.

        Commands that change something get a key of their own if none is given. While no answer has come
        they are sent again on every new connection, and after errors of class ``retry``.
        """
        changes = type in CHANGING
        if changes:
            key = key or str(uuid.uuid4())
            self.memory.pending[key] = {"type": type, "body": body or {}}
            self.memory.save()
        pause_s = 0.05
        while True:
            try:
                reply = await self._ask(type, body or {}, key)
            except ConnectionClosed:
                await self._until_ready()
                continue
            if reply["type"] == "error" and reply["body"]["class"] == "retry":
                wait_s = reply["body"].get("retry_after_ms", 0) / 1000
                await asyncio.sleep(max(wait_s, random.uniform(0, pause_s)))
                pause_s = min(pause_s * 2, 2.0)
                continue
            if key is not None:
                self.memory.pending.pop(key, None)
                self.memory.save()
            if reply["type"] == "error":
                raise CommandError(reply["body"])
            found: Document = reply["body"]
            return found

    async def event(
        self,
        type: str,
        *,
        order_id: str | None = None,
        within_s: float = 30.0,
        or_types: tuple[str, ...] = (),
    ) -> Document:
        """Wait for the first event of this type (or of ``or_types``) about the order and return it."""
        wanted = (type, *or_types)
        seen = 0
        async with asyncio.timeout(within_s):
            while True:
                for found in self.events[seen:]:
                    seen += 1
                    if found["type"] in wanted and order_id in (None, found["body"].get("order_id")):
                        return found
                self._news.clear()
                if len(self.events) == seen:
                    await self._news.wait()

    async def drop(self) -> None:
        """Lose the connection, as headsets do; the client resumes by itself."""
        if self._socket is not None:
            self._socket.transport.abort()

    async def _ask(self, type: str, body: Document, key: str | None) -> Document:
        await self._until_ready()
        assert self._socket is not None
        self._sent += 1
        message: Document = {"v": 1, "id": f"c{self._sent}", "type": type, "body": body}
        if key is not None:
            message["key"] = key
        answer: asyncio.Future[Document] = asyncio.get_running_loop().create_future()
        self._waiting[message["id"]] = answer
        try:
            await self._socket.send(json.dumps(message, ensure_ascii=False))
            return await answer
        finally:
            self._waiting.pop(message["id"], None)
            if answer.done() and not answer.cancelled():
                answer.exception()  # seen, also when sending failed first

    async def _until_ready(self) -> None:
        if self._stopped is not None:
            raise self._stopped
        assert self._reader is not None
        ready = asyncio.create_task(self._ready.wait())
        try:
            await asyncio.wait([ready, self._reader], return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if self._stopped is not None:
            raise self._stopped

    async def _keep_connected(self) -> None:
        loop = asyncio.get_running_loop()
        pause_s, lost_at, waiting_told = 0.1, loop.time(), False
        try:
            while True:
                try:
                    async with connect(
                        self._url,
                        subprotocols=[SUBPROTOCOL],
                        compression=None,
                        ping_interval=None,
                        max_size=2**20,
                    ) as socket:
                        self._socket = socket
                        await self._sign_in(socket)
                        pause_s = 0.1
                        await self._read(socket)
                except ConnectionClosed as closed:
                    code = closed.rcvd.code if closed.rcvd is not None else 1006
                    if 4500 <= code <= 4999:
                        reason = (closed.rcvd.reason if closed.rcvd is not None else "") or "no reason given"
                        raise SignInRefusedError(
                            f"the gateway closed the connection: {reason} ({code})"
                        ) from closed
                except (OSError, InvalidStatus, WebSocketException, TimeoutError):
                    pass  # the gateway is away: try again below
                if self._ready.is_set():
                    lost_at, waiting_told = loop.time(), False
                elif not waiting_told:
                    waiting_told = True
                    if self._on_waiting is not None:
                        self._on_waiting()
                self._ready.clear()
                for waiting in self._waiting.values():
                    if not waiting.done():
                        waiting.set_exception(ConnectionClosed(None, None))
                if loop.time() - lost_at > self._give_up_after_s:
                    raise SignInRefusedError(f"{self._url} does not answer")
                await asyncio.sleep(random.uniform(0, pause_s))
                pause_s = min(pause_s * 2, 5.0)
        except SignInRefusedError as refused:
            self._stopped = refused

    async def _sign_in(self, socket: ClientConnection) -> None:
        # Not `asyncio.wait_for`: before Python 3.12 it loses a cancellation that meets the answer.
        async with asyncio.timeout(10):
            hello = json.loads(await socket.recv())
        assert hello["type"] == "hello"
        self._beat_s = hello["body"]["heartbeat_ms"] / 1000
        memory = self.memory
        body: Document = {"token": self._token, "device": {"kind": "headset", "name": "sample headset"}}
        kind = "auth"
        if memory.epoch:
            kind = "resume"
            body |= {"epoch": memory.epoch, "seq": memory.seq}
        await socket.send(json.dumps({"v": 1, "id": "sign-in", "type": kind, "body": body}))

    async def _read(self, socket: ClientConnection) -> None:
        beating = asyncio.create_task(self._beat(socket))
        try:
            async for raw in socket:
                self._take(json.loads(raw))
            raise ConnectionClosed(socket.protocol.close_rcvd, None)
        finally:
            beating.cancel()

    async def _beat(self, socket: ClientConnection) -> None:
        # Before the gateway has said ``ready`` it takes nothing but the sign-in.
        await self._ready.wait()
        await asyncio.sleep(random.uniform(0, self._beat_s))
        with suppress(ConnectionClosed):  # the reader notices it too and connects again
            while True:
                await socket.send(
                    json.dumps({"v": 1, "id": "beat", "type": "heartbeat", "body": {"seq": self.memory.seq}})
                )
                await asyncio.sleep(self._beat_s)

    def _take(self, message: Document) -> None:
        kind, memory = message["type"], self.memory
        if kind == "ready":
            self.customer_id = message["body"]["customer_id"]
            memory.epoch, memory.seq = message["body"]["epoch"], message["body"]["seq"]
            memory.save()
            self._ready.set()
        elif kind == "snapshot":
            memory.epoch, memory.seq = message["body"]["epoch"], message["body"]["seq"]
            memory.save()
        elif "seq" in message:
            assert message["epoch"] == memory.epoch and message["seq"] == memory.seq + 1, (
                "a gap in the stream"
            )
            memory.seq = message["seq"]
            memory.save()
            self.events.append(message)
            self._news.set()
            if self._on_event is not None:
                self._on_event(message)
        elif "re" in message:
            waiting = self._waiting.get(message["re"])
            if waiting is not None and not waiting.done():
                waiting.set_result(message)
