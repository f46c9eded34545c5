"""What ``vitrine minting`` says beside an installation that has minted nothing yet."""

from __future__ import annotations

import asyncio
from pathlib import Path

from typer.testing import CliRunner

from gateway.cli import app
from tests.support.stores import gateway_store


def _says(data_dir: Path, *words: str) -> str:
    async def make() -> None:
        async with gateway_store(data_dir):
            pass

    asyncio.run(make())
    result = CliRunner().invoke(app, ["minting", *words, "--data-dir", str(data_dir)])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_an_empty_list_of_parked_mints_says_so(tmp_path: Path) -> None:
    assert _says(tmp_path, "parked") == "nothing is parked\n"


def test_gas_says_whose_limit_it_shows(tmp_path: Path) -> None:
    told = " ".join(_says(tmp_path, "gas").split())
    assert "VITRINE_MINT_GAS_PER_DAY" in told and "this shell's environment" in told
