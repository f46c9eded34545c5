"""A process that mints and takes back until it is killed: ``python -m ... DIRECTORY LIFE``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.wallets.minting.lane_world import QUICK, LeapClock, World, new_store
from wallets.minting.chain.embedded import EmbeddedChain
from wallets.minting.requests import request_return
from wallets.minting.service import minter_addresses


async def main(directory: Path) -> None:
    clock = LeapClock()
    store = new_store(directory, clock)
    shop = World(store, None, clock)
    shop.order_id = "ord_victim"
    funded = await minter_addresses(shop.signer, QUICK)
    shop.chain = await EmbeddedChain.open(directory / "chain.db", funded=funded)
    print("started", flush=True)
    await shop.define()
    # Requested before the contract stands: a killed first start has work to resume, too.
    legs = await shop.request(*(shop.a_request(customer=index % 5) for index in range(10)))
    minting = await shop.open(batch_items=4, window_ms=2)
    minting.start()
    while True:
        legs = await shop.request(*(shop.a_request(customer=index % 5) for index in range(7)))
        await asyncio.sleep(0.03)
        for leg in legs[:2]:
            view = next(view for view in await shop.mints() if view.leg_id == leg)
            if view.state == "final":
                await store.write(lambda uow, leg=leg: request_return(uow, leg))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
