"""``vitrine acquirer serve``: its help, its keys, and that it ends when it is told to."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.kernel.subjects import OperationId
from tests.wallets.vault.shop import eur
from wallets.vault.port import OperationKind
from wallets.vault.providers import test_cards
from wallets.vault.providers.acquirer.client import AcquirerClient
from wallets.vault.providers.port import AuthorizeOrder, ClearCard, Lookup, Outcome
from wallets.vault.secret import Secret

KEY = Secret("acquirer-key")
SHOWN = {"authorization": f"Bearer {KEY.reveal()}"}
COMMAND = [sys.executable, "-c", "from gateway.cli import main; main()", "acquirer", "serve"]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    started = subprocess.Popen(
        [*COMMAND, "--port", "0", "--data-dir", tmp_path / "a"],
        env={**os.environ, "VITRINE_ACQUIRER_KEY": KEY.reveal()},
        stdout=subprocess.PIPE,
        text=True,
    )
    yield started
    started.kill()
    started.wait(10)


def address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("The acquirer is open at http://127.0.0.1:"), line
    return line.split(" at ")[1].split(";")[0]


def order(number: str) -> AuthorizeOrder:
    clear = ClearCard(Secret(number), 12, 2031, Secret("Ada"))
    operation_id = OperationId(f"op_{1:028x}")
    return AuthorizeOrder(operation_id, clear, eur(100), "mer_1", "ord_1", "ar", False, None)


async def test_it_ends_within_two_seconds_of_a_signal_while_a_silent_card_hangs(
    process: subprocess.Popen[str],
) -> None:
    url = await asyncio.to_thread(address, process)
    client = AcquirerClient(url, KEY, timeout_ms=30_000)
    hanging = asyncio.create_task(client.authorize(order(test_cards.ANSWER_LOST)))
    async with asyncio.timeout(10):
        # Asking for the operation would fence it off, so its effect is waited for.
        while not httpx.get(f"{url}/admin/effects", headers=SHOWN).json():
            await asyncio.sleep(0.05)
    assert not hanging.done()
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, 10) == 0
    assert time.monotonic() - began < 2
    await asyncio.gather(hanging, return_exceptions=True)
    await client.close()


async def test_what_was_authorized_is_there_after_a_restart(tmp_path: Path) -> None:
    for turn in range(2):
        started = subprocess.Popen(
            [*COMMAND, "--port", "0", "--data-dir", tmp_path],
            env={**os.environ, "VITRINE_ACQUIRER_KEY": KEY.reveal()},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            url = await asyncio.to_thread(address, started)
            client = AcquirerClient(url, KEY)
            if turn == 0:
                assert (await client.authorize(order(test_cards.VISA))).outcome is Outcome.SUCCEEDED
            else:
                found = await client.find(
                    Lookup(order("").operation_id, OperationKind.AUTHORIZE, eur(100), 0)
                )
                assert found is not None and found.outcome is Outcome.SUCCEEDED
            assert httpx.get(url + "/admin/effects").status_code == 401
            await client.close()
        finally:
            started.terminate()
            assert started.wait(10) == 0


def test_it_says_which_key_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VITRINE_ACQUIRER_KEY", raising=False)
    done = CliRunner().invoke(app, ["acquirer", "serve"])
    assert done.exit_code == 2
    assert "VITRINE_ACQUIRER_KEY is missing" in done.output
    monkeypatch.setenv("VITRINE_ACQUIRER_KEY", "x")
    monkeypatch.delenv("VITRINE_ACQUIRER_WEBHOOK_KEY", raising=False)
    done = CliRunner().invoke(app, ["acquirer", "serve", "--webhook-url", "http://127.0.0.1:1/"])
    assert done.exit_code == 2
    assert "VITRINE_ACQUIRER_WEBHOOK_KEY is missing" in done.output


def test_its_help_names_its_options_and_keys() -> None:
    shown = CliRunner().invoke(app, ["acquirer", "serve", "--help"], env={"COLUMNS": "200"}).output
    for word in ("--webhook-url", "--keys-kept-ms", "--data-dir", "VITRINE_ACQUIRER_KEY"):
        assert word in shown
