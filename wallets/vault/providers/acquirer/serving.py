"""The acquirer's process: its database and its socket, from start to end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn

from gateway.kernel.clock import SystemClock
from gateway.kernel.ids import TimeSortedIds
from gateway.kernel.store.sqlite import SqliteStore
from wallets.vault.listening import listen
from wallets.vault.providers import simulated_tables
from wallets.vault.providers.acquirer.app import AcquirerProcess, ShiftedClock
from wallets.vault.providers.simulated import SimulatedAcquirer
from wallets.vault.secret import Secret

KEY, WEBHOOK_KEY = "VITRINE_ACQUIRER_KEY", "VITRINE_ACQUIRER_WEBHOOK_KEY"
_GRACE_S = 1
"""What is under way may end so long after a signal; a card that never answers does not."""


class KeyMissingError(Exception):
    """A key is not in the environment; the text says which and what for."""


@dataclass(frozen=True, slots=True)
class AcquirerOptions:
    """How the process is to behave. Its keys come from the environment, so that no list of processes shows
    them."""

    host: str = "127.0.0.1"
    port: int = 8090
    data_dir: Path = Path("var/acquirer")
    slow_ms: int = 2_000
    """How long the slow card takes."""
    keys_kept_ms: int | None = None
    """Idempotency keys are forgotten after this long; None: never."""
    debits_take_ms: int = 0
    """How long a bank takes over a debit."""
    webhook_url: str | None = None


def run(options: AcquirerOptions, *, ready: Callable[[str], None] | None = None) -> None:
    """Serve until a signal. ``ready`` is told the address. Raises KeyMissingError, OSError."""
    api_key, webhook_key = os.environ.get(KEY), os.environ.get(WEBHOOK_KEY)
    if not api_key:
        raise KeyMissingError(f"{KEY} is missing: the key that callers must show")
    if options.webhook_url and not webhook_key:
        raise KeyMissingError(f"{WEBHOOK_KEY} is missing: the key that signs events")
    asyncio.run(_serve(options, Secret(api_key), Secret(webhook_key) if webhook_key else None, ready))


class _Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End in order; uvicorn would raise the signal again before the database is closed."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


async def _serve(
    options: AcquirerOptions,
    api_key: Secret,
    webhook_key: Secret | None,
    ready: Callable[[str], None] | None,
) -> None:
    listening = listen(options.host, options.port)
    options.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = options.data_dir / "acquirer.db"
    await asyncio.to_thread(simulated_tables.create_schema, path)
    clock = ShiftedClock(SystemClock())
    acquirer = SimulatedAcquirer(
        SqliteStore(path, clock, TimeSortedIds(clock)),
        clock,
        slow_ms=options.slow_ms,
        keys_kept_ms=options.keys_kept_ms,
        debits_take_ms=options.debits_take_ms,
    )
    process = AcquirerProcess(
        acquirer, clock, api_key, webhook_url=options.webhook_url, webhook_key=webhook_key
    )
    config = uvicorn.Config(
        process.asgi(),
        log_level="critical",
        access_log=False,
        timeout_graceful_shutdown=_GRACE_S,
    )
    try:
        if ready is not None:
            ready(f"http://{options.host}:{listening.getsockname()[1]}")
        await _Server(config).serve(sockets=[listening])
    finally:
        await process.close()
