"""What a caller without a credential can make the listener use up: nothing without an end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from gateway.kernel.bounded_http import MOST_HEAD_BYTES, BoundedProtocol
from gateway.kernel.errors import NotFoundError
from tests.wallets.vault.apart import served
from tests.wallets.vault.shop import sql
from wallets.vault.embedded import EmbeddedVault
from wallets.vault.http.problems import problem
from wallets.vault.http.serving import VaultServer
from wallets.vault.http.settings import VaultSettings
from wallets.vault.http.webhook_route import WebhookRoute
from wallets.vault.listening import listen


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the length of the body."""
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(length).encode()})


@asynccontextmanager
async def listener() -> AsyncIterator[int]:
    listening = listen("127.0.0.1", 0)
    server = VaultServer(echo, VaultSettings(), listening)
    task = asyncio.create_task(server._serve(sockets=[listening]))
    while not server.started:
        await asyncio.sleep(0.002)
    try:
        yield listening.getsockname()[1]
    finally:
        server.stop()
        await task


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    """Return what came before the other side closed."""
    data = bytearray()
    with suppress(ConnectionError):
        while piece := await reader.read(65536):
            data += piece
    return bytes(data)


@pytest.mark.parametrize(
    "beginning", [b"GET / HTTP/1.1\r\nX-Long: ", b"GET /", b"GET / HTTP/1.1\r\nA: b\r\nX-Long: "]
)
async def test_a_head_without_an_end_is_refused_early(beginning: bytes) -> None:
    async with listener() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(beginning)
        sent = 0
        with suppress(ConnectionError):
            while sent < 200 * MOST_HEAD_BYTES and not writer.transport.is_closing():
                writer.write(b"x" * MOST_HEAD_BYTES)
                sent += MOST_HEAD_BYTES
                await writer.drain()
                await asyncio.sleep(0)
        answer = await asyncio.wait_for(until_closed(reader), 5)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")
        writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n",
    ],
)
async def test_a_request_that_does_not_come_in_whole_loses_its_connection(
    monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(BoundedProtocol, "message_s", 0.2)
    async with listener() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        if sent.endswith(b"\r\n\r\n\r\n"):
            await asyncio.sleep(0.1)
            writer.write(b"\r\n")  # ends uvicorn's wait for the next request
        begun = time.monotonic()
        await asyncio.wait_for(until_closed(reader), 5)
        assert time.monotonic() - begun < 4
        writer.close()


async def test_requests_that_come_in_whole_are_served_on_one_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(BoundedProtocol, "message_s", 0.3)
    async with listener() as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        for size in (0, 10, 3 * MOST_HEAD_BYTES, 40 * MOST_HEAD_BYTES):
            assert (await http.post("/", content=b"x" * size)).text == str(size)
        await asyncio.sleep(0.5)
        assert (await http.post("/", content=b"x", headers={"X": "y" * 8_000})).text == "1"
        pieces = (b"y" * 1_000 for _ in range(200))

        async def streamed() -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

        assert (await http.post("/", content=streamed())).text == "200000"


async def test_connections_have_a_cap_below_the_files_of_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(BoundedProtocol, "most_connections", staticmethod(lambda: 3))
    async with listener() as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await asyncio.wait_for(until_closed(reader), 5) == b""
        writer.close()
        for _, one in held:
            one.close()
        await asyncio.sleep(0.05)
        async with httpx.AsyncClient() as http:
            assert (await http.get(f"http://127.0.0.1:{port}/")).is_success


async def test_v9_the_origin_is_the_connections_address_whatever_a_header_says(
    own_vault: EmbeddedVault, clock: Any, tmp_path: Any
) -> None:
    async with served(own_vault, clock) as url, httpx.AsyncClient() as http:
        for forged in ("4111111111111111", "x" * 8_000):
            answer = await http.post(f"{url}/v1/methods", headers={"X-Forwarded-For": forged}, content=b"{}")
            assert answer.status_code == 401
    query = "SELECT DISTINCT origin FROM vault_audit WHERE action = 'access'"
    assert sql(tmp_path / "vault" / "vault.db", query) == [("127.0.0.1",)]


async def test_v9_calls_without_a_credential_are_counted_not_written_one_by_one(
    own_vault: EmbeddedVault, clock: Any, tmp_path: Any
) -> None:
    query = (
        "SELECT actor_id, origin, outcome, detail FROM vault_audit WHERE action = 'access' ORDER BY audit_id"
    )
    refused = ("unknown", "127.0.0.1", "credential.required")
    async with served(own_vault, clock) as url, httpx.AsyncClient() as http:
        for _ in range(50):
            await http.post(f"{url}/v1/methods", content=b"{}")
        assert sql(tmp_path / "vault" / "vault.db", query) == [(*refused, "")]
        clock.advance(60_000)
        await http.post(f"{url}/v1/methods", content=b"{}")
        await http.post(f"{url}/v1/methods", content=b"{}")
        told = [(*refused, ""), (*refused, "49 more within a minute"), (*refused, "")]
        assert sql(tmp_path / "vault" / "vault.db", query) == told
    # What is counted when the process ends is written down then.
    assert sql(tmp_path / "vault" / "vault.db", query) == [*told, (*refused, "1 more within a minute")]


async def test_a_webhook_for_nobody_is_refused_before_its_body(own_vault: EmbeddedVault) -> None:
    api = Starlette(routes=list(WebhookRoute(own_vault).routes()), exception_handlers={NotFoundError: _told})

    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("the body was asked for")
        yield b""

    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://vault") as http:
        assert (await http.post("/v1/webhooks/nobody", content=never())).status_code == 404


async def _told(request: Any, error: Any) -> Any:
    return problem(error)
