"""Minting as the gateway runs it, on a database of its own, without what buys: a shop of two editions.

Purchases are asked for as the purchase process does, each in a unit of its own; what the lanes make of them
is counted.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from eth_utils.crypto import keccak
from sqlalchemy import select

from bench.processes import BenchError
from gateway.app import MIGRATIONS
from gateway.kernel.clock import SystemClock
from gateway.kernel.ids import TimeSortedIds
from gateway.kernel.migrate import upgrade_sqlite
from gateway.kernel.store.sqlite import SqliteStore
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.kernel.subjects import LegId, MerchantId, OrderId
from wallets.custody.local_signer import LocalSigner
from wallets.custody.sealed_seed import SealedSeed
from wallets.minting.chain.port import ChainClient
from wallets.minting.model import MintingSettings, MintOutcome, MintRequest, OutcomeKind
from wallets.minting.requests import define_item, request_mint
from wallets.minting.service import Minting, minter_addresses
from wallets.minting.tables import chain_tx, chain_tx_bytes

SETTINGS = MintingSettings()
"""As the gateway sets them where nobody says otherwise."""
SEED = SealedSeed(bytes(range(64)))
OPEN, NUMBERED = 1, 2
_SIGNAL = "bench.minted"
_AT_A_TIME = 50
_WITHIN_S = 60.0


class MintShop:
    """Use `mint_shop`."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._ids = TimeSortedIds(SystemClock())
        self._recipients = _recipients()
        self._serials = itertools.count(1)
        self._merchant = self._ids.new(MerchantId)
        self._final = 0
        self._wanted = 0
        self._others: list[MintOutcome] = []
        self._done = asyncio.Event()
        self._seen_nonce = -1
        store.signals.on(_SIGNAL, self._committed)

    async def open(self, client: ChainClient, signer: LocalSigner, settings: MintingSettings) -> Minting:
        """Make the editions known and have the contract deployed, as a start of the gateway does."""
        await self._store.write(partial(_define, item_number=OPEN, cap=None))
        await self._store.write(partial(_define, item_number=NUMBERED, cap=10**9))
        return await Minting.open(
            client, signer, self._store, settings, on_outcomes=self._told, on_claimed=_claimed
        )

    def purchases(self, count: int) -> list[MintRequest]:
        """Return so many purchases, every second one a numbered copy, each of a customer who has nothing."""
        return [
            MintRequest(
                leg_id=self._ids.new(LegId),
                order_id=self._ids.new(OrderId),
                merchant_id=self._merchant,
                recipient=next(self._recipients),
                item_number=NUMBERED if index % 2 else OPEN,
                serial=next(self._serials) if index % 2 else None,
                holder_key=f"customer/{index}",
            )
            for index in range(count)
        ]

    async def mint(self, purchases: Sequence[MintRequest]) -> float:
        """Ask for all of them at once; returns the seconds until all are final in the database."""
        self._wanted = self._final + len(purchases)
        self._done.clear()
        began = time.perf_counter()
        asked = []
        for purchase in purchases:
            asked.append(asyncio.ensure_future(self._store.write(partial(request_mint, request=purchase))))
            if not len(asked) % _AT_A_TIME:
                # Others have their turn on the loop, as between messages of customers.
                await asyncio.sleep(0)
        try:
            async with asyncio.timeout(_WITHIN_S):
                await asyncio.gather(*asked)
                await self._done.wait()
        except TimeoutError:
            raise BenchError(f"{self._wanted - self._final} mints did not become final") from None
        seconds = time.perf_counter() - began
        if self._others or self._final != self._wanted:
            raise BenchError(f"mints ended otherwise: {self._others[:3]}, or twice: {self._final}")
        return seconds

    async def sent(self) -> list[bytes]:
        """Return what was signed since the last call, in nonce order."""

        def query(reader: Reader) -> list[Any]:
            return list(
                reader.core(
                    select(chain_tx.c.nonce, chain_tx_bytes.c.raw)
                    .join(chain_tx_bytes, chain_tx_bytes.c.tx_id == chain_tx.c.tx_id)
                    .where(chain_tx.c.nonce > self._seen_nonce)
                    .order_by(chain_tx.c.nonce, chain_tx_bytes.c.attempt)
                )
            )

        rows = await self._store.read(query)
        if rows:
            self._seen_nonce = rows[-1].nonce
        return [bytes(row.raw) for row in rows]

    def _told(self, uow: UnitOfWork, outcomes: list[MintOutcome]) -> None:
        final = sum(outcome.final and outcome.kind is OutcomeKind.MINTED for outcome in outcomes)
        self._final += final
        self._others += [one for one in outcomes if not (one.final and one.kind is OutcomeKind.MINTED)]
        # Told on the loop after the commit.
        uow.signal(_SIGNAL)

    def _committed(self) -> None:
        if self._final >= self._wanted or self._others:
            self._done.set()


@asynccontextmanager
async def mint_shop(path: Path) -> AsyncIterator[tuple[MintShop, LocalSigner]]:
    """A shop on a new database; close what it opens before."""
    await asyncio.to_thread(upgrade_sqlite, path, MIGRATIONS)
    clock = SystemClock()
    store = SqliteStore(path, clock, TimeSortedIds(clock))
    try:
        yield MintShop(store), LocalSigner(SEED)
    finally:
        await store.close()


async def started(
    shop: MintShop,
    client: ChainClient,
    signer: LocalSigner,
    closing: AsyncExitStack,
    settings: MintingSettings = SETTINGS,
) -> None:
    """Open minting and let the lanes run until ``closing`` ends."""
    minting = await shop.open(client, signer, settings)
    minting.start()
    closing.push_async_callback(minting.stop)


async def minters(signer: LocalSigner) -> list[str]:
    """Return the addresses that need gas."""
    return await minter_addresses(signer, SETTINGS)


def _define(uow: UnitOfWork, item_number: int, cap: int | None) -> bool:
    return define_item(
        uow, item_number=item_number, sku=f"SKU-{item_number}", cap=cap, numbered=item_number == NUMBERED
    )


def _claimed(uow: UnitOfWork, leg_ids: list[str]) -> None:
    """Nothing: the purchase process does nothing either."""


def _recipients() -> Iterator[str]:
    for number in itertools.count():
        yield "0x" + keccak(number.to_bytes(32, "big"))[-20:].hex()
