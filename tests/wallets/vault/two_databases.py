"""The vault's tables on SQLite and PostgreSQL, for rules that the database decides under concurrency."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.kernel.ids import TimeSortedIds
from gateway.kernel.store.unit import Store, UnitOfWork
from tests.support.databases import Database, postgres_database, sqlite_database
from tests.support.postgres import require_server
from tests.wallets.vault.shop import CUSTOMER, Shop
from wallets.vault.authorizing import begin_authorize
from wallets.vault.model import OperationState, request_digest
from wallets.vault.operation_rows import Row, result_of
from wallets.vault.port import Authorize, Decline, OperationResult, StoredMethod
from wallets.vault.providers.port import Outcome, ProviderAnswer
from wallets.vault.providers.simulated import SimulatedAcquirer
from wallets.vault.registry import Providers
from wallets.vault.settling import settle
from wallets.vault.tables import metadata, method

VISA_FINGERPRINT = b"v" * 32


class Books:
    """The units of a vault without a provider: the test says what the provider answered."""

    def __init__(self, database: Database, stores: list[Store]) -> None:
        self.database = database
        self.clock = database.clock
        self.stores = stores
        """Several on PostgreSQL, as several vault processes would be."""
        self.shop = Shop(None, database.clock, TimeSortedIds(database.clock))
        self._turn = 0

    def store(self) -> Store:
        self._turn += 1
        return self.stores[self._turn % len(self.stores)]

    async def card(
        self,
        token: str,
        *,
        customer: str = CUSTOMER,
        fingerprint: bytes | None = VISA_FINGERPRINT,
        account_reference: str | None = None,
        brand: str = "visa",
        kind: str = "card",
    ) -> StoredMethod:
        """Store a method without a record: nothing here decrypts one."""
        values: dict[str, Any] = {
            **dict.fromkeys(method.columns.keys()),
            "payment_method_id": token,
            "customer_id": customer,
            "kind": kind,
            "brand": brand,
            "last4": "4242",
            "expiry_month": 12,
            "expiry_year": 2031,
            "fingerprint_key_id": None if fingerprint is None else "fp-1",
            "fingerprint": fingerprint,
            "account_reference": account_reference,
            "record_version": 1,
            "format_version": 1,
            "created_at_ms": self.clock.now_ms(),
        }
        await self.store().write(lambda uow: uow.core(method.insert().values(values)))
        return StoredMethod(token, customer, kind, brand, "4242", 12, 2031, self.clock.now_ms())

    async def begin(self, request: Authorize) -> Row:
        digest = request_digest(request)
        providers = Providers([SimulatedAcquirer(self.store(), self.clock)], deadline_ms=1_000)
        begun = await self.store().write(lambda uow: begin_authorize(uow, request, digest, providers))
        return begun.row

    async def answer(self, row: Row, answer: ProviderAnswer) -> Row | None:
        def unit(uow: UnitOfWork) -> Row | None:
            return settle(uow, row, answer)

        return await self.store().write(unit)

    async def attempt(self, request: Authorize, decline: Decline | None) -> OperationResult:
        """Authorize, and let the provider decline; None: approve."""
        row = await self.begin(request)
        if row.state != OperationState.SENT:
            return result_of(row)
        if decline is None:
            return result_of(await self.answer(row, ProviderAnswer(Outcome.SUCCEEDED, reference="ref")))
        return result_of(await self.answer(row, ProviderAnswer(Outcome.DECLINED, decline=decline)))

    async def all_at_once(self, requests: list[Authorize]) -> list[Row]:
        return list(await asyncio.gather(*(self.begin(request) for request in requests)))


@pytest.fixture(params=["sqlite", "postgresql"])
async def books(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Books]:
    """Import it into a test module."""
    server = name = None
    if request.param == "sqlite":
        database = sqlite_database(tmp_path)
    else:
        server = require_server()
        database, name = postgres_database(server, "template0")
    database.create_all([metadata])
    ids = TimeSortedIds(database.clock)
    many = 1 if request.param == "sqlite" else 3
    stores = [database.open(ids=ids, committers=2) for _ in range(many)]
    yield Books(database, stores)
    await database.close()
    if server is not None and name is not None:
        server.drop_database(name)
