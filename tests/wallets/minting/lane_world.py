"""A small world for the mint lanes: a store on a file, a fixed seed, a chain, and what was told to whom.

Outcomes and claims are written to tables inside the units that tell of them, as the purchase process does: so
a crash takes both or neither.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, insert, select

import wallets.custody.tables
import wallets.minting.tables
from gateway.kernel.clock import SystemClock
from gateway.kernel.ids import TimeSortedIds
from gateway.kernel.store.schema import metadata
from gateway.kernel.store.sqlite import SqliteStore, connect
from gateway.kernel.store.unit import UnitOfWork
from gateway.kernel.subjects import LegId, OrderId
from tests.support.anvil import AnvilNode
from wallets.custody.local_signer import LocalSigner
from wallets.custody.sealed_seed import SealedSeed
from wallets.minting.model import MintingSettings, MintOutcome, MintRequest, OutcomeKind, TokenView
from wallets.minting.requests import define_item, mints_of, request_mint
from wallets.minting.service import Minting
from wallets.minting.tables import chain_tx, chain_tx_bytes, mint

QUICK = MintingSettings(window_ms=5, poll_ms=2, start_timeout_s=20)
SEED = SealedSeed(bytes(range(64)))

_told = MetaData()
told_outcome = Table(
    "told_outcome",
    _told,
    Column("seq", Integer, primary_key=True),
    Column("leg_id", Text),
    Column("kind", Text),
    Column("final", Integer),
    Column("skip_reason", Text),
    Column("tx_hash", Text),
)
told_claim = Table("told_claim", _told, Column("seq", Integer, primary_key=True), Column("leg_id", Text))


class LeapClock(SystemClock):
    """The machine's clock with leaps forward."""

    leap_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.leap_ms


class World:
    """Use `world`. ``chain`` is whatever ChainClient the test brought."""

    def __init__(self, store: Any, chain: Any, clock: LeapClock) -> None:
        self.store = store
        self.chain = chain
        self.clock = clock
        self.signer: Any = LocalSigner(SEED)
        self.ids = TimeSortedIds(clock)
        self.order_id = self.ids.new(OrderId)

    async def open(self, settings: MintingSettings = QUICK, **changes: Any) -> Minting:
        """Open minting as a start of the gateway does."""
        return await Minting.open(
            self.chain,
            self.signer,
            self.store,
            replace(settings, **changes),
            on_outcomes=self.on_outcomes,
            on_claimed=self.on_claimed,
        )

    def on_outcomes(self, uow: UnitOfWork, outcomes: list[MintOutcome]) -> None:
        for outcome in outcomes:
            uow.core(
                insert(told_outcome).values(
                    leg_id=outcome.leg_id,
                    kind=outcome.kind.value,
                    final=int(outcome.final),
                    skip_reason=outcome.skip_reason,
                    tx_hash=outcome.tx_hash,
                )
            )

    def on_claimed(self, uow: UnitOfWork, leg_ids: list[str]) -> None:
        for leg_id in leg_ids:
            uow.core(insert(told_claim).values(leg_id=leg_id))

    # What the purchase process does

    async def define(
        self, item_number: int = 1, cap: int | None = None, *, numbered: bool = False, uri: str = ""
    ) -> None:
        sku = f"sku-{item_number}"
        await self.store.write(
            lambda uow: define_item(
                uow, item_number=item_number, sku=sku, cap=cap, numbered=numbered, uri=uri
            )
        )

    def a_request(self, item_number: int = 1, *, customer: int = 0, **changes: Any) -> MintRequest:
        defaults: dict[str, Any] = {
            "leg_id": self.ids.new(LegId),
            "order_id": self.order_id,
            "merchant_id": "mer_1",
            "recipient": "",
            "item_number": item_number,
            "holder_key": f"customer/{customer}",
        }
        return MintRequest(**{**defaults, **changes})

    async def request(self, *requests: MintRequest) -> list[str]:
        """Queue mints in one unit; a recipient left out is the holder key's address."""
        ready = [
            one if one.recipient else replace(one, recipient=await self.signer.address(one.holder_key))
            for one in requests
        ]

        def unit(uow: UnitOfWork) -> None:
            for one in ready:
                request_mint(uow, one)

        await self.store.write(unit)
        return [one.leg_id for one in ready]

    # Driving and looking

    async def settle(self, minting: Minting, *, within_s: float = 10.0) -> None:
        """Step the lanes until nothing is queued and nothing is open. Raises what a step raises."""
        deadline = time.monotonic() + within_s
        while True:
            await minting.recover()
            status = await minting.status()
            if not (status.queued or status.open_transactions or status.returns_waiting):
                return
            assert time.monotonic() < deadline, f"not settled: {status}"
            await asyncio.sleep(0.001)

    async def until(self, condition: Callable[[], Any], *, within_s: float = 10.0) -> None:
        """Wait until ``await condition()`` is true."""
        deadline = time.monotonic() + within_s
        while not await condition():
            assert time.monotonic() < deadline, "the condition did not come true"
            await asyncio.sleep(0.002)

    async def mints(self) -> list[TokenView]:
        return await self.store.read(lambda reader: mints_of(reader, self.order_id))

    async def states(self) -> Counter[str]:
        return Counter(view.state.value for view in await self.mints())

    async def table(self, table: Table) -> list[Any]:
        return await self.store.read(lambda reader: list(reader.core(select(table))))

    async def told(self, leg_id: str) -> list[str]:
        """Return the kinds of outcomes told of a leg, in order."""
        return [row.kind for row in await self.table(told_outcome) if row.leg_id == leg_id]

    async def check_told_once(self, leg_ids: list[str]) -> None:
        """Every leg was told claimed once and minted, for good, once."""
        claims = Counter(row.leg_id for row in await self.table(told_claim))
        assert claims == Counter(leg_ids)
        final = Counter(
            row.leg_id
            for row in await self.table(told_outcome)
            if row.final and row.kind in (OutcomeKind.MINTED, OutcomeKind.FINAL)
        )
        assert final == Counter(leg_ids)

    async def txs(self) -> list[Any]:
        return sorted(await self.table(chain_tx), key=lambda row: (row.lane, row.nonce))

    async def bytes_of(self, tx_id: str) -> list[Any]:
        return [row for row in await self.table(chain_tx_bytes) if row.tx_id == tx_id]

    async def mint_rows(self) -> list[Any]:
        return await self.table(mint)


def new_store(directory: Path, clock: LeapClock) -> SqliteStore:
    """Open the store of a directory, making its tables if it is new."""
    path = directory / "gateway.db"
    if not path.exists():
        path.write_bytes(_empty_database())
    return SqliteStore(path, clock, TimeSortedIds(clock), strict=True, rehearse=True)


def create_tables(connection: Connection) -> None:
    """Make the tables of minting, custody and these tests."""
    declared = [wallets.minting.tables, wallets.custody.tables]
    ours = [value for module in declared for value in vars(module).values() if isinstance(value, Table)]
    metadata.create_all(connection, tables=ours)
    _told.create_all(connection)


@cache
def _empty_database() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "empty.db"
        raw, core = connect(path)
        create_tables(core)
        core.close()
        raw.close()
        return path.read_bytes()


@asynccontextmanager
async def world(directory: Path, chain: Any) -> AsyncIterator[World]:
    clock = LeapClock()
    store = new_store(directory, clock)
    try:
        yield World(store, chain, clock)
    finally:
        await store.close()


async def through_reorganisations(
    node: AnvilNode, minting: Minting, chance: random.Random, *, likely: float, most: int
) -> int:
    """Mine and settle until nothing is open, with reorganisations in between; returns how many there were."""
    reorgs = 0
    for _ in range(1_500):
        if chance.random() < likely and reorgs < most:
            await node.ask("anvil_reorg", chance.randint(1, 3), [])
            reorgs += 1
        await node.ask("evm_mine")
        await minting.recover()
        status = await minting.status()
        if not status.queued and not status.open_transactions:
            break
        await asyncio.sleep(0.005)
    return reorgs
