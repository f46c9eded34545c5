"""kill -9 in the middle of many operations: what was answered stands, the rest has one outcome."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from gateway.kernel.clock import SystemClock
from gateway.kernel.ids import TimeSortedIds
from gateway.kernel.subjects import OperationId
from tests.wallets.vault.shop import sql
from wallets.vault.embedded import open_embedded_vault
from wallets.vault.port import OperationStatus

ROOT = Path(__file__).parents[3]


def sell_until_killed(directory: Path, answers: int) -> dict[str, str]:
    """Kill the program after this many answers and return those it printed whole."""
    program = [sys.executable, "-m", "tests.wallets.vault.killed_seller", str(directory)]
    with subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, text=True) as seller:
        assert seller.stdout is not None
        lines = [seller.stdout.readline() for _ in range(answers)]
        seller.kill()
        lines += seller.stdout.readlines()
    return dict(line.split() for line in lines if line.endswith("\n"))


async def test_after_kill_every_operation_is_settled_once(tmp_path: Path) -> None:
    answered: dict[str, str] = {}
    for answers in (50, 333, 700):
        answered |= await asyncio.to_thread(sell_until_killed, tmp_path, answers)
    assert set(answered.values()) == {"succeeded"}
    clock = SystemClock()
    vault = await open_embedded_vault(tmp_path, clock, TimeSortedIds(clock))
    recorded = [row[0] for row in sql(tmp_path / "vault.db", "SELECT operation_id FROM vault_operation")]
    assert answered.keys() <= set(recorded)
    succeeded = set()
    for operation_id in recorded:
        result = await vault.operation(OperationId(operation_id))
        assert result is not None
        assert result.status in (OperationStatus.SUCCEEDED, OperationStatus.FAILED)
        if result.status is OperationStatus.SUCCEEDED:
            succeeded.add(operation_id)
    assert answered.keys() <= succeeded
    effects = [each.operation_id for each in await vault.acquirer.effects()]
    assert sorted(effects) == sorted(succeeded)
    await vault.close()
