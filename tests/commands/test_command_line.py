"""How commands end: a refusal is one line and a code, and nothing else is said."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from gateway.cli import app
from gateway.cli_opening import with_store
from gateway.kernel.errors import NotFoundError
from gateway.kernel.store.unit import Store
from gateway.settings import Settings
from tests.support.stores import gateway_store


def test_a_command_that_ends_by_itself_is_not_told_that_a_gateway_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRINE_MINT", "off")
    result = CliRunner().invoke(app, ["tasks", "--retry", "tsk_none", "--data-dir", str(tmp_path)])
    assert (result.exit_code, result.stderr) == (1, "tsk_none is not parked\n")


def test_a_refusal_of_what_is_asked_of_the_database_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def make() -> None:
        async with gateway_store(tmp_path):
            pass

    async def refused(store: Store, settings: Settings) -> None:
        raise NotFoundError("mint.unknown", "There is no such mint.")

    asyncio.run(make())
    with pytest.raises(typer.Exit) as ended:
        with_store(tmp_path, refused)
    assert ended.value.exit_code == 1
    assert capsys.readouterr().err == "mint.unknown: There is no such mint.\n"


def test_a_folder_without_a_gateway_gets_none(tmp_path: Path) -> None:
    for words in (["books", "balances"], ["minting", "gas"], ["worlds", "list"]):
        result = CliRunner().invoke(app, [*words, "--data-dir", str(tmp_path / "typo")])
        assert result.exit_code == 2
        assert "there is no gateway in" in result.stderr
    assert not (tmp_path / "typo").exists()
