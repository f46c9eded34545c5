"""V17: the real ``vitrine vault rotate`` killed in the middle; the same command goes on, and every token decrypts."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.wallets.vault.own_databases import Vaults
from tests.wallets.vault.shop import card
from wallets.vault import methods
from wallets.vault.crypto import open_record

ROOT = Path(__file__).parents[3]
CARDS, KILLS = 600, 2
COLUMNS = {"kek": "kek_id", "fingerprint": "fingerprint_key_id"}


def moved(vaults: Vaults, column: str, old: str) -> int:
    """How many rows have left the key that was current at first."""
    with closing(sqlite3.connect(f"file:{vaults.directory / 'vault.db'}?mode=ro", uri=True)) as connection:
        found = connection.execute(f"SELECT count(*) FROM vault_method WHERE {column} <> ?", (old,))
        return int(found.fetchone()[0])


def rotating(vaults: Vaults, key: str) -> subprocess.Popen[bytes]:
    program = "from gateway.cli import main; main()"
    command = [sys.executable, "-c", program, "vault", "rotate", key, "--data-dir", str(vaults.directory)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, env={**os.environ})


def kill_in_the_middle(vaults: Vaults, key: str, old: str, before: int) -> int:
    """Start the command, kill it once it has moved more rows; returns how many have moved then."""
    process = rotating(vaults, key)
    give_up_at = time.monotonic() + 30
    while moved(vaults, COLUMNS[key], old) <= before:
        assert process.poll() is None, "it ended and moved nothing"
        assert time.monotonic() < give_up_at
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    return moved(vaults, COLUMNS[key], old)


@pytest.mark.timeout(90)
@pytest.mark.parametrize(("key", "old"), [("kek", "card-1"), ("fingerprint", "fingerprint-1")])
async def test_v17_the_command_that_was_killed_goes_on_where_it_was(
    tmp_path: Path, key: str, old: str
) -> None:
    vaults = Vaults(tmp_path / "vault", "", f"sqlite:///{tmp_path / 'vault' / 'vault.db'}")
    vault = await vaults.open()
    tokens = [await vault.tokenize(f"cus_{number}", card()) for number in range(CARDS)]
    await vaults.close(vault)
    seen = [0]
    for _ in range(KILLS):
        seen.append(await asyncio.to_thread(kill_in_the_middle, vaults, key, old, seen[-1]))
        if seen[-1] == CARDS:
            break
    assert seen == sorted(set(seen)), "progress only grows"
    assert 0 < seen[1] < CARDS, "it was killed in the middle"
    last = rotating(vaults, key)
    assert await asyncio.to_thread(last.wait, 40) == 0
    assert moved(vaults, COLUMNS[key], old) == CARDS
    states = vaults.sql("SELECT state FROM vault_key WHERE key_id = :key", key=old)
    assert states == [("retired",)]

    vault = await vaults.open()
    for token in tokens:
        values = {"payment_method_id": token.payment_method_id}
        row = await vault.store.read(lambda reader, values=values: reader.row(methods.GET, values))
        plain = await open_record(vaults.kms, methods.place_of(row), methods.record_of(row))
        assert methods.clear_card(plain).number == card().number
    assert [await vault.tokenize(f"cus_{number}", card()) for number in range(20)] == tokens[:20]
    await vaults.close_all()
