"""What a caller nobody knows can make the gateway's listener use up: nothing without an end."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import pytest

from gateway.http.limits import STREAMED
from gateway.kernel.bounded_http import MOST_HEAD_BYTES
from gateway.serving import _Http, most_connections
from tests.support.gateway import OpenGateway, opened
from tests.support.seed import Seed

WRONG_CODE = "code=BCDFGHJK"


def port_of(shop: OpenGateway) -> int:
    return int(shop.base_url.rpartition(":")[2])


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    """Return what came before the other side closed."""
    data = bytearray()
    with suppress(ConnectionError):
        while piece := await reader.read(65536):
            data += piece
    return bytes(data)


@pytest.fixture
async def shop(seed: Seed, tmp_path, request):
    settings = getattr(request, "param", {})
    async with opened(seed, tmp_path / "data", mint=False, workers=False, **settings) as gateway:
        yield gateway


async def test_a_header_without_an_end_is_refused_early(shop):
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(shop))
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: ")
    sent = 0
    with suppress(ConnectionError):
        while sent < 200 * MOST_HEAD_BYTES:
            writer.write(b"x" * MOST_HEAD_BYTES)
            sent += MOST_HEAD_BYTES
            await writer.drain()
    assert sent < 200 * MOST_HEAD_BYTES
    answer = await asyncio.wait_for(until_closed(reader), 5)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")
    writer.close()


async def test_a_body_that_never_ends_is_given_up(shop, monkeypatch):
    monkeypatch.setattr(_Http, "message_s", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(shop))
    writer.write(b"POST /pay HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\ncode=")
    began = time.monotonic()
    # The default is 15 s, and a busy machine may take seconds to write down why.
    assert await asyncio.wait_for(until_closed(reader), 14) == b""
    assert time.monotonic() - began < 12
    writer.close()


async def test_a_model_may_take_longer_to_come_in_than_a_message(shop, monkeypatch):
    monkeypatch.setattr(_Http, "message_s", 0.2)
    (path,) = STREAMED
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(shop))
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer none\r\nContent-Length: 10\r\n\r\n"
    writer.write(head.encode())
    await asyncio.sleep(0.5)
    writer.write(b"0123456789")
    assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 4")
    writer.close()


async def test_a_web_socket_outlives_the_time_of_its_handshake(shop, monkeypatch):
    customer = await shop.customer("visa")
    monkeypatch.setattr(_Http, "message_s", 0.2)
    async with shop.headset(customer) as headset:
        await asyncio.sleep(0.5)
        assert shop.gateway.sockets.count == 1
        assert (await headset.command("wallet.list", {})) is not None


async def test_connections_have_a_cap_below_the_files_of_the_process(shop, monkeypatch):
    assert most_connections() > 0
    monkeypatch.setattr(_Http, "most_connections", staticmethod(lambda: 0))
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(shop))
    assert await asyncio.wait_for(until_closed(reader), 5) == b""
    writer.close()


async def guess(shop: OpenGateway, number: int) -> int:
    headers = {"X-Forwarded-For": f"203.0.113.{number}"}
    return (await shop.http.post("/pay", content=WRONG_CODE, headers=headers)).status_code


async def test_a_forged_address_does_not_lift_the_limit_on_codes(shop):
    assert [await guess(shop, number) for number in range(12)] == [404] * 10 + [429] * 2


@pytest.mark.parametrize("shop", [{"trusted_proxies": "127.0.0.1"}], indirect=True)
async def test_a_proxy_that_the_settings_name_says_whose_guess_it_is(shop):
    assert [await guess(shop, number) for number in range(12)] == [404] * 12
    assert [await guess(shop, 1) for _ in range(10)] == [404] * 9 + [429]


async def test_wrong_codes_at_once_do_not_pass_the_limit_together(shop):
    answers = await asyncio.gather(*(guess(shop, 1) for _ in range(100)))
    assert answers.count(404) == 10
    assert answers.count(429) == 90
