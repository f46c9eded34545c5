"""V17: kill -9 in mid-rotation a hundred times; every token still decrypts, and progress only grows."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from pathlib import Path

from tests.wallets.vault.own_databases import CUSTODIAN, Vaults
from tests.wallets.vault.shop import card
from wallets.vault import methods
from wallets.vault.crypto import open_record
from wallets.vault.keys import KeyPurpose, KeyState
from wallets.vault.rotation import resume

ROOT = Path(__file__).parents[3]
KILLS = 100
CARDS = 24


class Killer:
    """The program beside this one that forks rotations and kills them."""

    def __init__(self, directory: Path) -> None:
        program = [sys.executable, "-m", "tests.wallets.vault.killed_rotation", str(directory)]
        self._process = subprocess.Popen(
            program, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def kill_one(self, steps: int, after_ms: float) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{steps} {after_ms}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


def progress(vaults: Vaults, purpose: str, column: str) -> tuple[int, int]:
    """How many keys there have been, and how many rows have come to the newest. It can only grow."""
    ((keys,),) = vaults.sql("SELECT count(*) FROM vault_key WHERE purpose = :p", p=purpose)
    ((rows,),) = vaults.sql(
        f"SELECT count(*) FROM vault_method WHERE {column} ="
        " (SELECT key_id FROM vault_key WHERE purpose = :p AND state = 'current')",
        p=purpose,
    )
    return keys, rows


async def test_v17_killed_a_hundred_times_every_token_decrypts_and_progress_only_grows(
    tmp_path: Path,
) -> None:
    vaults = Vaults(tmp_path / "vault", "", f"sqlite:///{tmp_path / 'vault' / 'vault.db'}")
    vault = await vaults.open()
    tokens = [await vault.tokenize(f"cus_{number}", card()) for number in range(CARDS)]
    await vaults.close(vault)

    random_ = random.Random(17)
    killer = Killer(vaults.directory)
    before = [(0, 0), (0, 0)]
    mid_way = 0
    for _ in range(KILLS):
        # From a process that has hardly begun to one that has been through several rotations.
        said = await asyncio.to_thread(
            killer.kill_one, random_.choice((0, 1, 2, 3, 5, 8)), random_.uniform(0, 12)
        )
        assert said == "killed"
        now = [
            progress(vaults, "records", "kek_id"),
            progress(vaults, "fingerprints", "fingerprint_key_id"),
        ]
        assert all(one <= two for one, two in zip(before, now, strict=True)), (before, now)
        before = now
        states = [state for (state,) in vaults.sql("SELECT state FROM vault_key")]
        mid_way += KeyState.RETIRING.value in states
    killer.close()
    assert mid_way >= KILLS // 2, "most were killed in the middle of a rotation"
    assert before[0][0] > 2

    vault = await vaults.open()
    kms = vaults.kms
    for token in tokens:
        values = {"payment_method_id": token.payment_method_id}
        row = await vault.store.read(lambda reader, values=values: reader.row(methods.GET, values))
        plain = await open_record(kms, methods.place_of(row), methods.record_of(row))
        assert methods.clear_card(plain).number == card().number
    for purpose in KeyPurpose:
        await resume(vault.store, kms, CUSTODIAN, purpose)
    # The finished vault knows every card again, has one key for each purpose, and its audit trail verifies.
    assert [await vault.tokenize(f"cus_{number}", card()) for number in range(CARDS)] == tokens
    assert vaults.sql("SELECT count(*) FROM vault_key WHERE state = 'retiring'") == [(0,)]
    assert vaults.sql(
        "SELECT count(DISTINCT kek_id), count(DISTINCT fingerprint_key_id) FROM vault_method"
    ) == [(1, 1)]
    await vault.sealer.seal()
    verdict = await vaults.verdict(vault)
    assert verdict.broken is None
    await vaults.close_all()
