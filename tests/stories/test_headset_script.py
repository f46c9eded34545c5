"""The sample script shops at a running gateway, and can be started again where it was."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

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
    assert "the wallet holds 1 digital items" in output
    code, output = await run(shop, customer.token, memory, "KUPPEL-LAMP:digital")
    assert code == 0, output
    assert "order.placed" in output and output.count("order.completed") == 1
    await shop.check()


async def test_the_headset_script_fails_for_a_refused_order(shop: OpenGateway, tmp_path: Path) -> None:
    customer = await shop.customer("visa")
    code, output = await run(shop, customer.token, tmp_path / "headset.json", "NOTHING:digital")
    assert code == 1
    assert "sku.not_found" in output
