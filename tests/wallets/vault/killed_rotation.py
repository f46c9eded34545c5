"""A program that rotates a vault's keys for ever, in children that are killed.

Each line of its input has the process fork; the child works on the vault of the directory until it is killed,
after as many steps and milliseconds as the line says. Everything was imported before, so that a hundred
processes that live and die cost seconds. It answers each line once the child is dead.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import time
from pathlib import Path

from gateway.kernel.clock import SystemClock
from gateway.kernel.ids import TimeSortedIds
from gateway.kernel.store.sqlite import SqliteStore
from wallets.vault.audit import Actor
from wallets.vault.audit_sealing import AuditSealer
from wallets.vault.keys import KeyPurpose, KeyRing, key_entries
from wallets.vault.kms_local import LocalKms
from wallets.vault.rotation import current_key, next_key_id, open_rotation, rotate

_CHUNK = 4


async def rotate_for_ever(directory: Path, steps: int) -> None:
    """Rotate one key after the other; each finished step writes a byte to the pipe."""
    clock = SystemClock()
    store = SqliteStore(directory / "vault.db", clock, TimeSortedIds(clock))
    kms = LocalKms(directory / "keys")
    actor = Actor("custodian", str(os.getpid()), "test")
    sealer = AuditSealer(store, kms, KeyRing(store), None, actor)
    while True:
        for purpose in (KeyPurpose.RECORDS, KeyPurpose.FINGERPRINTS):
            entries = await store.read(key_entries)
            begun = open_rotation(entries, purpose) is not None
            new = current_key(entries, purpose) if begun else next_key_id(entries, purpose)
            await rotate(
                store,
                kms,
                actor,
                purpose,
                new,
                maker=kms,
                chunk=_CHUNK,
                progress=lambda left: os.write(steps, b".") and None,
            )
            await sealer.seal()


def fork_and_kill(directory: Path, steps: int, after_ms: float) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            asyncio.run(rotate_for_ever(directory, writing))
        finally:
            os._exit(1)
    os.close(writing)
    give_up_at = time.monotonic() + 20
    seen = 0
    while seen < steps:
        ready, _, _ = select.select([reading], [], [], max(0.0, give_up_at - time.monotonic()))
        said = os.read(reading, 1) if ready else b""
        if not said:
            break
        seen += 1
    time.sleep(after_ms / 1000)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(reading)
    outcome = "killed" if seen == steps and os.WIFSIGNALED(status) else f"died by itself after {seen} steps"
    print(outcome, flush=True)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    for line in sys.stdin:
        wanted_steps, wanted_ms = line.split()
        fork_and_kill(place, int(wanted_steps), float(wanted_ms))
