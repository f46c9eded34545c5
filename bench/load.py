"""The clients, as a process: many connections, each with one command in flight.

It takes requests as lines of JSON from its input and answers each with one line; see the functions named
after the requests in `Load`. The parent decides when, and measures the server meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import uvloop
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from bench.goods import FORMATS, MERCHANT, item
from bench.sockets import allow_many_sockets

_SUBPROTOCOL = Subprotocol("vitrine.v1.json")
_CONNECTING_AT_ONCE = 32
_SHIP_TO = {"name": "Ada", "line1": "Weg 1", "postal_code": "10115", "city": "Berlin", "country": "DE"}
_CONSENT = {
    "kind": "digital_content_start",
    "text_version": "1",
    "locale": "de-DE",
    "at": "2026-11-21T10:00:00Z",
}
_EVENT = '{"v":1,"id":"evt_'
_ENDED = ('"type":"order.completed"', '"type":"order.canceled"')
_AUTHORIZED = '"type":"payment.authorized"'


class RefusedError(Exception):
    """The gateway answered with an error; a benchmark expects none."""


class Client:
    """One signed-in connection of one customer."""

    def __init__(self, customer: dict[str, Any], number: int) -> None:
        self.customer_id: str = customer["customer_id"]
        self._token: str = customer["token"]
        self._payment_method_id: str | None = customer["payment_method_id"]
        self.number = number
        self.quotes: list[tuple[str, str]] = []
        """Quotes to be ordered, with their formats; the last is taken first."""
        self.orders: list[str] = []
        self._socket: ClientConnection
        self._reader: asyncio.Task[None]
        self._sent = 0
        self._answer: asyncio.Future[str] | None = None
        self._ended: dict[str, asyncio.Future[str]] = {}
        self._early: dict[str, str] = {}
        self.authorized_at: dict[str, float] | None = None
        """When the event of an order's authorization came; only noted while somebody wants to know."""

    async def open(self, url: str) -> None:
        """Connect and sign in."""
        self._socket = await connect(
            url, subprotocols=[_SUBPROTOCOL], compression=None, ping_interval=None, open_timeout=30
        )
        await self._socket.recv()
        await self._socket.send(
            json.dumps({"v": 1, "id": "in", "type": "auth", "body": {"token": self._token}})
        )
        ready = json.loads(await self._socket.recv())
        if ready["type"] != "ready":
            raise RefusedError(str(ready))
        self._reader = asyncio.create_task(self._read())

    async def close(self) -> None:
        """Disconnect."""
        self._reader.cancel()
        await self._socket.close()

    async def quote(self, name: str) -> None:
        """Have one unit priced and held."""
        body = {"merchant": MERCHANT, "items": [item(name)], "currency": "EUR", "country": "DE"}
        quoted = await self._changing("quote.create", body)
        self.quotes.append((quoted["quote_id"], name))

    async def place(self) -> str:
        """Order the next quote; returns the order's id once the gateway has accepted it."""
        quote_id, name = self.quotes.pop()
        body: dict[str, Any] = {"quote_id": quote_id, "payment_method_id": self._payment_method_id}
        if name != "digital":
            body["ship_to"] = _SHIP_TO
        if name != "physical":
            body["consents"] = [_CONSENT]
        placed = await self._changing("order.place", body)
        order_id: str = placed["order_id"]
        self.orders.append(order_id)
        return order_id

    async def ended(self, order_id: str) -> str:
        """Wait for the event that ends the order and return its type."""
        if order_id in self._early:
            return self._early.pop(order_id)
        waiting: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._ended[order_id] = waiting
        return await waiting

    async def ask(self, text: str) -> str:
        """Send one text and return the next answer."""
        self._answer = asyncio.get_running_loop().create_future()
        await self._socket.send(text)
        return await self._answer

    async def _changing(self, type: str, body: dict[str, Any]) -> Any:
        self._sent += 1
        key = f"key_{uuid.uuid4().hex}"
        text = json.dumps({"v": 1, "id": f"c{self._sent}", "type": type, "key": key, "body": body})
        answer = json.loads(await self.ask(text))
        if answer["type"] != "ok":
            raise RefusedError(f"{type}: {answer['body']}")
        return answer["body"]

    async def _read(self) -> None:
        try:
            async for text in self._socket:
                assert isinstance(text, str)
                if not text.startswith(_EVENT):
                    answer, self._answer = self._answer, None
                    assert answer is not None, text
                    answer.set_result(text)
                elif self.authorized_at is not None and _AUTHORIZED in text:
                    self.authorized_at[json.loads(text)["body"]["order_id"]] = time.perf_counter()
                elif any(mark in text for mark in _ENDED):
                    event = json.loads(text)
                    order_id, how = event["body"]["order_id"], event["type"]
                    waiting = self._ended.pop(order_id, None)
                    if waiting is None:
                        self._early[order_id] = how
                    else:
                        waiting.set_result(how)
        except ConnectionClosed as closed:
            self._fail(closed)
        else:
            self._fail(RefusedError("the gateway closed the connection"))

    def _fail(self, error: Exception) -> None:
        for waiting in (self._answer, *self._ended.values()):
            if waiting is not None and not waiting.done():
                waiting.set_exception(error)


class Echoed:
    """One connection to the echo server."""

    async def open(self, url: str) -> None:
        """Connect."""
        self._socket = await connect(url, compression=None, ping_interval=None)

    async def ask(self, text: str) -> str:
        """Send one text and return it as it comes back."""
        await self._socket.send(text)
        answer = await self._socket.recv()
        assert isinstance(answer, str)
        return answer


class Load:
    """The requests the parent can make."""

    def __init__(self) -> None:
        self._clients: list[Client] = []
        self._echoed: list[Echoed] = []
        self._shopping: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()
        self._completed: list[str] = []
        self._waits_s: list[float] = []

    async def connect(self, url: str, customers: list[dict[str, Any]]) -> int:
        """Sign one client in per customer; returns how many are connected now."""
        first = len(self._clients)
        clients = [Client(customer, first + number) for number, customer in enumerate(customers)]
        await _few_at_once([partial(client.open, url) for client in clients])
        self._clients += clients
        return len(self._clients)

    async def connect_echo(self, url: str, count: int) -> int:
        """Connect to the echo server."""
        self._echoed = [Echoed() for _ in range(count)]
        await _few_at_once([partial(echoed.open, url) for echoed in self._echoed])
        return count

    async def disconnect(self) -> int:
        """Close all connections to the gateway."""
        await asyncio.gather(*(client.close() for client in self._clients))
        self._clients = []
        return 0

    async def quotes(self, each: int, clients: int) -> int:
        """Let the first clients have ``each`` quotes made, a third per format; returns the number."""

        async def several(client: Client) -> None:
            for number in range(each):
                await client.quote(FORMATS[(client.number + number) % len(FORMATS)])

        await asyncio.gather(*(several(client) for client in self._clients[:clients]))
        return each * clients

    async def quote_one(self, format: str) -> str:
        """Let the first client have one quote of this format made; returns its id."""
        await self._clients[0].quote(format)
        return self._clients[0].quotes[-1][0]

    async def place_one(self) -> str:
        """Let the first client order its latest quote; returns the order's id."""
        return await self._clients[0].place()

    async def place(self, each: int) -> dict[str, Any]:
        """Every client places ``each`` orders, one after the other.

        Returns the time from the first request to the last answer, all latencies, and the ids accepted.
        """
        latencies: list[float] = []
        accepted: list[str] = []

        async def several(client: Client) -> None:
            for _ in range(each):
                asked = time.perf_counter()
                accepted.append(await client.place())
                latencies.append(time.perf_counter() - asked)

        began = time.perf_counter()
        await asyncio.gather(*(several(client) for client in self._clients))
        return {
            "seconds": time.perf_counter() - began,
            "latencies_s": latencies,
            "order_ids": accepted,
        }

    async def shop(self) -> int:
        """Every client quotes, places and waits for the end of its order, over and over, until `leave`."""
        self._stop.clear()

        async def shop(client: Client) -> None:
            turn = client.number
            while not self._stop.is_set():
                began = time.perf_counter()
                await client.quote(FORMATS[turn % len(FORMATS)])
                order_id = await client.place()
                how = await client.ended(order_id)
                if how != "order.completed":
                    raise RefusedError(f"{order_id} ended as {how}")
                self._completed.append(order_id)
                self._waits_s.append(time.perf_counter() - began)
                turn += 1

        self._shopping = [asyncio.create_task(shop(client)) for client in self._clients]
        return len(self._shopping)

    async def arrive(self, rate: float, seconds: float, clients: int) -> dict[str, Any]:
        """Customers decide at random moments, ``rate`` a second in all, whatever the gateway does meanwhile.

        An open loop: a slow answer does not hold the next decision back (no coordinated omission). Returns
        the seconds from each decision to the event that says its order is authorized, the orders' ids, and
        when each was decided, in seconds from the beginning.
        Quotes must be there; each arrival takes one of a client that has no command under way.
        """
        chance = random.Random(4)
        arrivals: list[asyncio.Task[tuple[float, str, Client]]] = []
        free = self._clients[:clients]
        for client in free:
            client.authorized_at = {}
        late = 0

        async def one(client: Client, decided: float) -> tuple[float, str, Client]:
            order_id = await client.place()
            free.append(client)
            return decided, order_id, client

        began = decided = time.perf_counter()
        while True:
            decided += chance.expovariate(rate)
            if decided - began > seconds:
                break
            await asyncio.sleep(max(0.0, decided - time.perf_counter()))
            while not free:
                late += 1
                await asyncio.sleep(0.0005)
            client = free.pop(0)
            arrivals.append(asyncio.create_task(one(client, decided)))
        placed = await asyncio.gather(*arrivals)
        waits_s, decided_s = [], []
        for decided, order_id, client in placed:
            assert client.authorized_at is not None
            if await client.ended(order_id) != "order.completed":
                raise RefusedError(f"{order_id} was not completed")
            waits_s.append(client.authorized_at[order_id] - decided)
            decided_s.append(decided - began)
        for client in self._clients:
            client.authorized_at = None
        order_ids = [order_id for _, order_id, _ in placed]
        return {"waits_s": waits_s, "decided_s": decided_s, "late": late, "order_ids": order_ids}

    async def completed(self) -> int:
        """Return how many purchases are completed so far."""
        for shopper in self._shopping:
            if shopper.done() and (error := shopper.exception()) is not None:
                raise error
        return len(self._completed)

    async def leave(self) -> dict[str, Any]:
        """End the shopping after the purchases under way; returns what was completed and how long it took."""
        self._stop.set()
        await asyncio.gather(*self._shopping)
        return {"order_ids": self._completed, "waits_s": self._waits_s}

    async def ask(self, each: int, clients: int) -> int:
        """Clients ask ``each`` times for an order of theirs, one question in flight; returns the number."""

        async def several(client: Client) -> None:
            text = _order_get(client.orders[-1])
            for _ in range(each):
                answer = await client.ask(text)
                if '"type":"ok"' not in answer[:80]:
                    raise RefusedError(answer)

        await asyncio.gather(*(several(client) for client in self._clients[:clients]))
        return each * clients

    async def echo(self, each: int) -> int:
        """Like `ask`, with the same message, to the echo server."""
        text = _order_get(self._clients[0].orders[-1])

        async def several(echoed: Echoed) -> None:
            for _ in range(each):
                await echoed.ask(text)

        await asyncio.gather(*(several(echoed) for echoed in self._echoed))
        return each * len(self._echoed)


def _order_get(order_id: str) -> str:
    return json.dumps({"v": 1, "id": "ask", "type": "order.get", "body": {"order_id": order_id}})


async def _few_at_once(openings: list[Callable[[], Awaitable[None]]]) -> None:
    at_once = asyncio.Semaphore(_CONNECTING_AT_ONCE)

    async def one(opening: Callable[[], Awaitable[None]]) -> None:
        async with at_once:
            await opening()

    await asyncio.gather(*(one(opening) for opening in openings))


async def run() -> None:
    """Answer requests until the input ends."""
    requests = asyncio.StreamReader(limit=64 * 1024 * 1024)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(requests), sys.stdin
    )
    load = Load()
    while line := await requests.readline():
        request = json.loads(line)
        try:
            value = await getattr(load, request.pop("work"))(**request)
            answer = {"value": value}
        except Exception as error:
            answer = {"error": repr(error)[:2_000]}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    allow_many_sockets()
    uvloop.run(run())
