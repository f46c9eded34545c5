"""``vitrine vault rotate | keys | audit`` on a vault that is running, and on one that is not."""

from __future__ import annotations

import getpass
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli_vault import vault as commands
from tests.wallets.vault.own_databases import Vaults, vaults
from tests.wallets.vault.shop import eur
from wallets.vault.port import OperationStatus

__all__ = ["vaults"]
runner = CliRunner()


@pytest.fixture
def run(vaults: Vaults, monkeypatch: pytest.MonkeyPatch):
    if vaults.url:
        monkeypatch.setenv("VITRINE_VAULT_DATABASE_URL", vaults.url)

    async def run(*arguments: str) -> Result:
        import asyncio

        # A command runs its own event loop.
        words = [*arguments, "--data-dir", str(vaults.directory)]
        return await asyncio.to_thread(runner.invoke, commands, words)

    return run


async def test_v17_a_key_is_rotated_and_destroyed_while_the_vault_sells(vaults: Vaults, run) -> None:
    vault = await vaults.open()
    shop = vaults.shop(vault)
    method = await shop.method()
    done = await run("rotate", "kek", "--destroy")
    assert done.exit_code == 0, done.output
    assert "1 rows moved from card-1 to card-2" in done.output
    assert "card-1 is destroyed" in done.output
    assert (await run("rotate", "fingerprint")).exit_code == 0
    assert (await run("rotate", "audit")).exit_code == 0
    paid = await vault.authorize(shop.request(shop.terms(method, eur(5)), eur(5)))
    assert paid.status is OperationStatus.SUCCEEDED
    assert await shop.method() == method
    listed = (await run("keys")).output
    for line in ("card-1", "card-2", "fingerprint-1", "fingerprint-2", "audit-1", "audit-2"):
        assert line in listed
    verified = await run("audit", "verify")
    assert verified.exit_code == 0, verified.output
    who = vaults.sql("SELECT DISTINCT actor_role, actor_id FROM vault_audit WHERE action = 'key.destroy'")
    assert who == [("custodian", getpass.getuser())]


async def test_v9_verify_names_the_broken_row_and_fails(vaults: Vaults, run) -> None:
    vault = await vaults.open()
    await vaults.shop(vault).authorized()
    await vaults.close(vault)
    vaults.past_the_triggers("UPDATE vault_audit SET actor_id = 'nobody' WHERE audit_id = 2")
    done = await run("audit", "verify")
    assert done.exit_code == 1
    assert "row 2 was changed" in done.output


async def test_v9_export_prints_json_lines(vaults: Vaults, run) -> None:
    vault = await vaults.open()
    await vaults.shop(vault).authorized()
    done = await run("audit", "export")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["action"] for row in rows] == ["audit.start", "method.store", "method.use", "audit.read"]
    assert (await run("audit", "export", "--from", "tomorrow")).exit_code == 2
    assert "thirteen months" in (await run("audit", "purge", "2026-01-01T00:00:00Z")).output


async def test_v17_a_missing_key_is_said_plainly(vaults: Vaults, run) -> None:
    await vaults.close(await vaults.open())
    (vaults.keys / "mac-audit-1.key").unlink()
    done = await run("audit", "verify")
    assert done.exit_code == 1
    assert "mac-audit-1.key is missing" in done.output


def test_a_missing_vault_is_said_plainly_and_not_made(tmp_path: Path) -> None:
    done = runner.invoke(commands, ["keys", "--data-dir", str(tmp_path)])
    assert done.exit_code == 1
    assert "no vault" in done.output
    assert list(tmp_path.iterdir()) == []


async def test_v16_key_files_are_refused_in_production(
    vaults: Vaults,
    run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await vaults.close(await vaults.open())
    monkeypatch.setenv("VITRINE_PRODUCTION", "1")
    done = await run("rotate", "kek")
    assert done.exit_code == 1
    assert "key service" in done.output
