"""Connections that end roughly: dropped during sign-in, never read from, failing while they catch up."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway import serving
from gateway.kernel.errors import UnavailableError
from gateway.protocol.close_codes import CloseCode
from gateway.sessions import socket as sessions
from gateway.sessions.core import SessionLimits
from tests.support import gateway as support
from tests.support.buying import buy, ended, told, until
from tests.support.gateway import OpenGateway, opened
from tests.support.seed import Seed
from tests.support.wire import wired


async def _closed(shop: OpenGateway) -> None:
    async def nobody() -> bool:
        return shop.gateway.sockets.count == 0

    await until(nobody)


@pytest.mark.parametrize("reading", [1, 2], ids=["the token is read", "the position is read"])
async def test_a_sign_in_dropped_half_way_leaves_no_listener(reading: int, shop: OpenGateway) -> None:
    customer = await shop.customer("visa")
    async with wired(shop.base_url, customer.token):
        pass  # the stream exists
    await _closed(shop)
    store = shop.gateway.context.store
    read, reached, go, reads = store.read, asyncio.Event(), asyncio.Event(), 0

    async def held(query: Any, **given: Any) -> Any:
        nonlocal reads
        reads += 1
        if reads == reading:
            reached.set()
            await go.wait()
        return await read(query, **given)

    async with wired(shop.base_url) as wire:
        store.read = held
        await wire.send(json.dumps({"v": 1, "id": "in", "type": "auth", "body": {"token": customer.token}}))
        await asyncio.wait_for(reached.wait(), 5)
        wire.socket.transport.abort()
        await _closed(shop)
        go.set()
    store.read = read
    hub = shop.gateway.sockets._hub

    async def nobody() -> bool:
        return hub.count(customer.customer_id) == 0

    await until(nobody)
    await asyncio.sleep(0.1)
    assert hub.count(customer.customer_id) == 0
    async with wired(shop.base_url, customer.token):
        assert hub.count(customer.customer_id) == 1


def _frame(message: Any) -> bytes:
    """A masked text frame (RFC 6455 section 5.2)."""
    payload, mask = json.dumps(message).encode(), os.urandom(4)
    size = len(payload)
    head = bytes([0x81, 0x80 | size]) if size < 126 else bytes([0x81, 0xFE]) + struct.pack(">H", size)
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def _connect_without_reading(port: int, token: str) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    key = base64.b64encode(os.urandom(16))
    client.sendall(
        b"GET /v1/connect HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n"
        b"Sec-WebSocket-Protocol: vitrine.v1.json\r\n\r\n"
    )
    assert client.recv(512).startswith(b"HTTP/1.1 101")
    client.sendall(_frame({"v": 1, "id": "in", "type": "auth", "body": {"token": token}}))
    return client


async def _never(_: Any) -> None:
    await asyncio.Event().wait()


def _ask_on(client: socket.socket) -> None:
    """Send commands until the other end takes no more."""
    client.settimeout(0.5)
    try:
        for number in range(5_000):
            client.sendall(_frame({"v": 1, "id": f"c{number}", "type": "catalog.list", "body": {}}))
    except OSError:
        return


def _read_to_the_end(client: socket.socket) -> None:
    """Read what still comes; fails if the other end keeps the connection open."""
    client.settimeout(5)
    try:
        while client.recv(65536):
            pass
    except TimeoutError:
        raise
    except OSError:
        return  # cut off, as it should be


@pytest.fixture
async def stalling(seed: Seed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OpenGateway]:
    """A gateway that is soon done with clients that read nothing, over sockets that hold little."""
    monkeypatch.setattr(sessions, "_CLOSE_WITHIN_S", 0.3)
    monkeypatch.setattr(serving, "_LINGER_S", 0.3)
    listen = support.listen

    def small(host: str, port: int) -> socket.socket:
        listening = listen(host, port)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        return listening

    monkeypatch.setattr(support, "listen", small)
    limits = SessionLimits(
        connections_per_account=1,
        commands_per_second=10_000,
        burst=10_000,
        in_flight=10_000,
        outbound_messages=10_000,
        outbound_bytes=1024 * 1024,
    )
    async with opened(seed, tmp_path / "data", limits=limits) as shop:
        yield shop


@pytest.mark.parametrize("stalled", [True, False], ids=["the close stays unsent", "the close is sent"])
async def test_a_client_that_reads_nothing_is_ended_and_its_account_signs_in_again(
    stalled: bool, stalling: OpenGateway
) -> None:
    shop = stalling
    customer = await shop.customer("visa")
    client = await asyncio.to_thread(_connect_without_reading, shop.gateway.settings.port, customer.token)
    sockets = shop.gateway.sockets
    try:

        async def signed_in() -> bool:
            return sockets._hub.count(customer.customer_id) == 1

        await until(signed_in)
        (connection,) = sockets._open
        if stalled:
            # What sending does once every buffer on the way is full, however large the kernel's are.
            connection._send = _never
        asking = asyncio.create_task(asyncio.to_thread(_ask_on, client))

        async def given_up() -> bool:
            return connection._closing

        await until(given_up)
        # The account is free as soon as the close is decided, the connection a moment later.
        async with wired(shop.base_url, customer.token):
            pass
        await _closed(shop)
        assert sockets._hub.count(customer.customer_id) == 0
        assert connection.given_up or not stalled
        await asking
        await asyncio.to_thread(_read_to_the_end, client)
    finally:
        client.close()


async def test_a_catch_up_that_fails_closes_the_connection_and_the_client_resumes(shop: OpenGateway) -> None:
    customer = await shop.customer("visa")
    async with wired(shop.base_url) as wire:
        epoch = (await wire.sign_in(customer.token))["body"]["epoch"]
    store = shop.gateway.context.store
    read, failures = store.read, 0

    async def failing(query: Any, **given: Any) -> Any:
        nonlocal failures
        if failures and getattr(getattr(query, "func", None), "__name__", "") == "_page_after":
            failures -= 1
            raise UnavailableError("store.read_too_long", "The read took too long.")
        return await read(query, **given)

    store.read = failing
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "HALM-CHAIR:digital")
        await ended(headset, order_id)
        whole = told(headset, order_id)
        failures = 1
        async with wired(shop.base_url) as wire:
            assert (await wire.sign_in(customer.token, epoch=epoch, seq=0))["type"] == "ready"
            assert await wire.closed() == CloseCode.INTERNAL_ERROR == 1011
        # A headset does by itself what that code asks for: it resumes and misses nothing.
        await headset.drop()
        failures = 1
        second = await buy(headset, customer, "HALM-CHAIR:digital")
        await ended(headset, second)
        assert failures == 0
        assert told(headset, second) == whole
        seen = [event["seq"] for event in headset.events]
        assert seen == list(range(seen[0], seen[0] + len(seen)))
    await shop.check()
