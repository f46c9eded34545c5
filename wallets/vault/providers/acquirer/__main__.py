"""``python -m wallets.vault.providers.acquirer serve``: the simulated acquirer on a port of its own."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

import uvicorn

from gateway.kernel.clock import SystemClock
from gateway.kernel.ids import TimeSortedIds
from gateway.kernel.store.sqlite import SqliteStore
from wallets.vault.providers import simulated_tables
from wallets.vault.providers.acquirer.app import AcquirerProcess, ShiftedClock
from wallets.vault.providers.simulated import SimulatedAcquirer
from wallets.vault.secret import Secret

_KEY, _WEBHOOK_KEY = "VITRINE_ACQUIRER_KEY", "VITRINE_ACQUIRER_WEBHOOK_KEY"


def main() -> int:
    """Serve until a signal. Keys come from the environment, so that no list of processes shows them."""
    parser = argparse.ArgumentParser(prog="acquirer", description=__doc__)
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--data-dir", type=Path, default=Path("var/acquirer"))
    parser.add_argument("--slow-ms", type=int, default=2_000, help="how long the slow card takes")
    parser.add_argument("--keys-kept-ms", type=int, help="forget idempotency keys after this long")
    parser.add_argument("--debits-take-ms", type=int, default=0, help="how long a bank takes over a debit")
    parser.add_argument("--webhook-url", help=f"where events go; {_WEBHOOK_KEY} signs them")
    given = parser.parse_args()
    api_key, webhook_key = os.environ.get(_KEY), os.environ.get(_WEBHOOK_KEY)
    if not api_key:
        sys.stderr.write(f"{_KEY} is missing: the key that callers must show\n")
        return 2
    if given.webhook_url and not webhook_key:
        sys.stderr.write(f"{_WEBHOOK_KEY} is missing: the key that signs events\n")
        return 2
    asyncio.run(_serve(given, Secret(api_key), None if webhook_key is None else Secret(webhook_key)))
    return 0


async def _serve(given: argparse.Namespace, api_key: Secret, webhook_key: Secret | None) -> None:
    given.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = given.data_dir / "acquirer.db"
    await asyncio.to_thread(simulated_tables.create_schema, path)
    clock = ShiftedClock(SystemClock())
    acquirer = SimulatedAcquirer(
        SqliteStore(path, clock, TimeSortedIds(clock)),
        clock,
        slow_ms=given.slow_ms,
        keys_kept_ms=given.keys_kept_ms,
        debits_take_ms=given.debits_take_ms,
    )
    process = AcquirerProcess(
        acquirer, clock, api_key, webhook_url=given.webhook_url, webhook_key=webhook_key
    )
    config = uvicorn.Config(
        process.asgi(), host=given.host, port=given.port, log_level="critical", access_log=False
    )
    try:
        await uvicorn.Server(config).serve()
    finally:
        await process.close()


if __name__ == "__main__":
    sys.exit(main())
