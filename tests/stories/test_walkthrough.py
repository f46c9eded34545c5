"""A stranger with the ``websockets`` command line follows the README line by line and buys something."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from pathlib import Path
from typing import Any, Self

from samples.demo.server import GatewayProcess
from samples.shop import CATALOG

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
(SECTION,) = re.findall(r"^## Buy something by hand\n(.*?)^## ", README, re.DOTALL | re.MULTILINE)
LINES: list[str] = re.findall(r"^```json\n(.+?)\n```$", SECTION, re.MULTILINE)
(COMMAND,) = re.findall(r"^\.venv/bin/(websockets .+)$", SECTION, re.MULTILINE)
WORDS: list[str] = re.findall(r"`([A-Z_]+)`", SECTION.split("replace five words")[1].split("\n")[0])
# In the order in which the README says that they arrive; the two captures look alike here.
EVENTS: list[str] = re.findall(r"`(\w+\.\w+)`", SECTION.split("**Watch.**")[1].split("\n")[0])


class CommandLine:
    """A running ``websockets`` command: lines in, messages out."""

    def __init__(self, url: str) -> None:
        assert "ws://127.0.0.1:8080/" in COMMAND
        self._command = COMMAND.replace("ws://127.0.0.1:8080", url.replace("http", "ws", 1))
        self._process: Process
        self.events: list[dict[str, Any]] = []

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_shell(
            f"{shlex.quote(str(Path(sys.executable).parent))}/{self._command}",
            stdin=PIPE,
            stdout=PIPE,
            stderr=STDOUT,
            limit=2**20,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()  # Ctrl-D
        await asyncio.wait_for(self._process.communicate(), 10)

    def paste(self, line: str) -> None:
        """Paste one line and press Enter."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")

    async def until(self, type: str, re_: str | None = None) -> dict[str, Any]:
        """Read until a message of this type, answering this id; collect the events on the way."""
        assert self._process.stdout is not None
        async with asyncio.timeout(20):
            while True:
                line = (await self._process.stdout.readline()).decode()
                assert line, "the connection was closed"
                assert "Failed to connect" not in line, line
                if not line.startswith("{"):
                    continue
                message: dict[str, Any] = json.loads(line)
                assert message["type"] != "error", message
                if "seq" in message:
                    self.events.append(message)
                if message["type"] == type and message.get("re") == re_:
                    return message

    async def ask(self, line: str) -> dict[str, Any]:
        """Paste a command and return the body of its ``ok``."""
        self.paste(line)
        body: dict[str, Any] = (await self.until("ok", json.loads(line)["id"]))["body"]
        return body


def _filled(line: str, **answers: str) -> str:
    """Replace the words in capitals, as the README asks for."""
    for word, answer in answers.items():
        line = line.replace(f'"{word}"', f'"{answer}"')
    assert not re.search(rf'"(?:{"|".join(WORDS)})"', line), f"not replaced: {line}"
    return line


async def test_readme_walkthrough_buys_a_bundle_by_hand(tmp_path: Path) -> None:
    capitals = set(re.findall(r'"([A-Z]+(?:_[A-Z]+)*)"', "".join(LINES)))
    assert capitals - {"EUR", "DE"} == set(WORDS), "the README names every word to replace"
    sign_in, look, methods, quote, place, order, wallet, resume = LINES
    async with GatewayProcess(tmp_path, 0, CATALOG) as process:
        gateway = await process.opened()
        async with CommandLine(gateway.url) as tool:
            hello = await tool.until("hello")
            assert hello["body"]["versions"] == ["v1"]
            tool.paste(_filled(sign_in, TOKEN=gateway.token))
            ready = await tool.until("ready", "1")
            assert ready["body"]["seq"] == 0

            product = (await tool.ask(look))["product"]
            assert [one["sku"] for one in product["variants"]] == ["KUPPEL-LAMP"]
            assert all(len(one["model"]["size_m"]) == 3 for one in product["variants"])
            (card,) = [one for one in (await tool.ask(methods))["methods"] if one["last4"] == "4242"]
            quoted = await tool.ask(quote)
            assert quoted["total"] == {"amount_minor": 19600, "currency": "EUR"}
            buying = _filled(place, QUOTE_ID=quoted["quote_id"], PAYMENT_METHOD_ID=card["payment_method_id"])
            placed = await tool.ask(buying)
            assert placed["replayed"] is False

            await tool.until("shipment.delivered")
            told = [event["type"] for event in tool.events]
            assert sorted(told) == sorted(EVENTS)
            assert [event["seq"] for event in tool.events] == list(range(1, len(told) + 1))

            looked = await tool.ask(_filled(order, ORDER_ID=placed["order_id"]))
            assert looked["state"] == "completed"
            assert looked["payment"]["captured_minor"] == 19600
            (item,) = (await tool.ask(wallet))["items"]
            assert (item["kind"], item["sku"], item["state"]) == ("token", "KUPPEL-LAMP", "owned")

            again = await tool.ask(buying)
            assert (again["order_id"], again["replayed"]) == (placed["order_id"], True)
        before = tool.events

    async with GatewayProcess(tmp_path, 0, CATALOG) as process:
        gateway = await process.opened()
        async with CommandLine(gateway.url) as tool:
            await tool.until("hello")
            tool.paste(_filled(resume, TOKEN=gateway.token, EPOCH=ready["body"]["epoch"]))
            assert (await tool.until("ready", "8"))["body"]["resumed"] is True
            await tool.until("shipment.delivered")
            assert tool.events == before, "exactly what was told before, and charged once"
