"""What a newcomer runs first: the demo and the server for trying things out, as processes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import stat
import sys
import xml.etree.ElementTree as ElementTree
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path

import pytest

from samples.demo.server import GatewayFailedError, GatewayProcess
from samples.headset.client import Headset
from samples.shop import CATALOG

ROOT = Path(__file__).parent.parent.parent


async def _run(*arguments: str, within_s: float = 60.0, **environment: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *arguments,
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "80"} | environment,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), within_s)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_demo_buys_all_three_formats_and_shows_what_is_left(tmp_path: Path) -> None:
    picture = tmp_path / "demo.svg"
    # A setting of one's own gateway must not reach the demo's.
    code, out, err = await _run(
        "samples.demo", "--picture", str(picture), VITRINE_DATABASE_URL="postgresql://nowhere/"
    )
    assert code == 0, err
    for said in (
        r"1  Digital: Kuppel table lamp",
        r"price +12\.90 EUR incl\. 2\.06 VAT \(DE 19 %\)",
        r"authorized 12\.90 EUR held on visa ·· 4242",
        r"token +token \d+, tx 0x\w{4}…\w{4}, block \d+",
        r"edition +0 → 1 of 500 copies sold",
        r"2  Physical: Ritual mug fjord",
        r"declined +visa ·· 9995, code 51; offered instead: visa ·· 4242",
        r"dispatched from berlin, tracking number par_",
        r"stock +120 → 119 left in berlin",
        r"3  Bundle: Framed print",
        r"dropped +back after \d+ ms, resumed after event \d+: none missed",
        r"token +no\. 1, token \S+, tx 0x",
        r"captured +60\.00 EUR for the token",
        r"captured +180\.00 EUR for the parcel",
        r"stock +20 → 19 left in mitte",
        r"Wallet of ada",
        r"(?m)^ Kuppel table lamp .* owned *$",
        r"Books of atelier-nord +in EUR; money, goods and tokens all sum to zero",
        r"VAT owed to DE, 19 % .* 45\.63",
        r"3 purchases, every step done, \d+\.\d s\.",
    ):
        assert re.search(said, out), f"{said!r} is not in\n{out}"
    assert "\x1b" not in out, "no colours where there is no terminal"
    assert max(map(len, out.splitlines())) <= 80
    ElementTree.parse(picture)  # our own file
    assert str(tmp_path) not in picture.read_text()


async def test_demo_fails_when_its_port_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, out, err = await _run("samples.demo", "--port", str(taken.getsockname()[1]))
    assert code == 1
    assert "The demo failed." in err and "Address already in use" in err
    assert "every step done" not in out


async def test_demo_fails_when_there_is_no_catalog(tmp_path: Path) -> None:
    code, out, err = await _run("samples.demo", "--catalog", str(tmp_path / "missing"))
    assert code == 1
    assert "there is no merchant.yaml here" in err
    assert "every step done" not in out


async def test_demo_fails_when_a_product_it_buys_is_missing(tmp_path: Path) -> None:
    merchant = tmp_path / "atelier-nord"
    (merchant / "products").mkdir(parents=True)
    (merchant / "models").symlink_to(CATALOG / "atelier-nord" / "models")
    text = (CATALOG / "atelier-nord" / "merchant.yaml").read_text()
    (merchant / "merchant.yaml").write_text(text.split("  places:")[0])
    lamp = CATALOG / "atelier-nord" / "products" / "kuppel-lamp.yaml"
    (merchant / "products" / "lamp.yaml").write_text(lamp.read_text())
    code, out, err = await _run("samples.demo", "--catalog", str(tmp_path))
    assert code == 1
    assert "1  Digital: Kuppel table lamp" in out
    assert "product.not_found" in err


async def test_demo_learns_that_its_gateway_died(tmp_path: Path) -> None:
    async with GatewayProcess(tmp_path, 0, CATALOG) as gateway:
        await gateway.opened()
        assert gateway._process is not None
        gateway._process.kill()
        with pytest.raises(GatewayFailedError, match="ended with code"):
            await asyncio.wait_for(gateway.ended(), 10)


async def test_serve_ends_cleanly_and_finds_everything_again(tmp_path: Path) -> None:
    tokens = []
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "samples.serve", "--port", "0", "--data-dir", str(tmp_path)),
            cwd=ROOT,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
        )
        assert process.stdout is not None
        said = ""
        while "/v1/merchant/books" not in said:
            line = await asyncio.wait_for(process.stdout.readline(), 40)
            assert line, f"it ended early: {said}"
            said += line.decode()
        (token,) = re.findall(r'"token":"(vdt_[\w-]+)"', said)
        assert re.search(r"^  customer +cus_\w+", said, re.MULTILINE)
        assert re.search(r"^  API key +\S+", said, re.MULTILINE)
        (url,) = re.findall(r"(ws://127\.0\.0\.1:\d+/v1/connect) ", said)
        tokens.append(token)
        async with Headset(url, token) as headset:
            methods = (await headset.command("payment.methods"))["methods"]
        assert [method["last4"] for method in methods] == ["4242", "9995"]
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(process.communicate(), 20)
        assert (process.returncode, err) == (0, b"")
    assert tokens[0] == tokens[1]
    kept = tmp_path / "sample.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert json.loads(kept.read_text())["token"] == tokens[0]


async def test_serve_says_what_to_do_about_a_taken_port(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, _, err = await _run("samples.serve", "--port", port, "--data-dir", str(tmp_path))
    assert code == 1
    assert (
        f"127.0.0.1:{port} cannot be used" in err
        and "VITRINE_PORT=8081 VITRINE_DATA_DIR=var2 make serve" in err
    )
