"""The sample script shops at a running gateway, and can be started again where it was."""

from __future__ import annotations

import asyncio
import re
import socket
import sys
from pathlib import Path

import pytest

from samples.headset.client import Headset, Memory, SignInRefusedError
from tests.support.gateway import OpenGateway

ROOT = Path(__file__).parents[2]


async def run(shop: OpenGateway, token: str, memory: Path, *items: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "samples.headset", *items,
        "--url", shop.base_url.replace("http", "ws", 1) + "/v1/connect",
        "--token", token, "--memory", str(memory),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, output.decode()


async def test_the_headset_script_buys_and_starts_again_where_it_was(
    shop: OpenGateway, tmp_path: Path
) -> None:
    customer = await shop.customer("visa")
    memory = tmp_path / "headset.json"
    code, output = await run(shop, customer.token, memory, "KUPPEL-LAMP:bundle", "MONSTERA:physical")
    assert code == 0, output
    assert output.count("order.completed") == 2
    assert "digital items in the wallet: KUPPEL-LAMP\n" in output
    assert re.search(r"order\.placed +merchant=atelier-nord total=196\.00 EUR$", output, re.MULTILINE)
    assert re.search(r"transaction_hash=0x[0-9a-f]{64}", output), "lines are whole"
    assert "amount_minor" not in output
    code, output = await run(shop, customer.token, memory, "KUPPEL-LAMP:digital")
    assert code == 0, output
    assert "order.placed" in output and output.count("order.completed") == 1
    await shop.check()


async def test_the_headset_script_fails_for_a_refused_order(shop: OpenGateway, tmp_path: Path) -> None:
    customer = await shop.customer("visa")
    code, output = await run(shop, customer.token, tmp_path / "headset.json", "NOTHING:digital")
    assert code == 1
    assert "sku.not_found" in output


async def test_the_headset_script_says_why_it_may_not_sign_in(shop: OpenGateway, tmp_path: Path) -> None:
    code, output = await run(shop, "vdt_nobody", tmp_path / "headset.json", "KUPPEL-LAMP:digital")
    assert code == 1
    assert "could not buy: the gateway closed the connection: auth.invalid_token (4501)" in output


async def test_the_headset_script_finishes_what_an_earlier_run_had_sent(
    shop: OpenGateway, tmp_path: Path
) -> None:
    customer = await shop.customer("visa")
    file = tmp_path / "headset.json"
    body = {
        "merchant": "atelier-nord",
        "items": [{"sku": "KUPPEL-LAMP", "format": "digital"}],
        "currency": "EUR",
        "country": "DE",
    }
    memory = Memory(file)
    memory.pending = {
        "asked-before": {"type": "quote.create", "body": body},
        "refused": {"type": "quote.create", "body": body | {"currency": "ZZZ"}},
    }
    memory.save()
    code, output = await run(shop, customer.token, file, "KUPPEL-LAMP:digital")
    assert code == 0, output
    assert "quote.create of an earlier run: price.not_offered" in output
    assert Memory(file).pending == {}


async def test_a_headset_gives_up_when_nobody_answers_its_first_sign_in() -> None:
    waited: list[str] = []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        url = f"ws://127.0.0.1:{taken.getsockname()[1]}/v1/connect"
        headset = Headset(url, "vdt_any", on_waiting=lambda: waited.append(url), sign_in_within_s=0.5)
        with pytest.raises(SignInRefusedError, match="does not answer"):
            async with headset:
                pass
    assert waited == [url], "told once"


class Greeting:
    """A socket whose gateway greets when it is told to."""

    def __init__(self) -> None:
        self.said: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def recv(self) -> str:
        return await self.said

    async def send(self, text: str) -> None:
        """Take what is sent."""


@pytest.mark.parametrize("ticks", range(5))
async def test_a_headset_that_is_put_away_while_the_gateway_greets_it_ends(ticks: int) -> None:
    """Of a cancellation that meets an arriving message neither may be lost for ever."""
    socket = Greeting()
    signing_in = asyncio.create_task(Headset("ws://nowhere", "token")._sign_in(socket))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    socket.said.set_result('{"type": "hello", "body": {"heartbeat_ms": 1000}}')
    for _ in range(ticks):
        await asyncio.sleep(0)
    canceled = signing_in.cancel()
    await asyncio.gather(signing_in, return_exceptions=True)
    assert signing_in.cancelled() or not canceled
