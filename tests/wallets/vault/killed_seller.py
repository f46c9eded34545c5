"""A program that authorizes and captures until it is killed; it prints each operation that was answered."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from gateway.kernel.clock import SystemClock
from gateway.kernel.ids import TimeSortedIds
from tests.wallets.vault.shop import Shop, eur
from wallets.vault.embedded import open_embedded_vault
from wallets.vault.port import StoredMethod


async def sell(shop: Shop, method: StoredMethod) -> None:
    while True:
        request = shop.request(shop.terms(method, eur(10)), eur(10))
        print(request.operation_id, (await shop.vault.authorize(request)).status, flush=True)
        captured = await shop.capture(request.operation_id, eur(7))
        print(captured.operation_id, captured.status, flush=True)


async def main(directory: Path) -> None:
    clock = SystemClock()
    ids = TimeSortedIds(clock)
    shop = Shop(await open_embedded_vault(directory, clock, ids), clock, ids)
    method = await shop.method()
    await asyncio.gather(*(sell(shop, method) for _ in range(40)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
