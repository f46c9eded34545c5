"""One vault per adapter, so that the same tests can ask all of them.

A `Stand` has a vault with one provider before it, and says how money of that provider is made to move where
people or banks take part.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from gateway.kernel.clock import ManualClock
from gateway.kernel.ids import IdSource, TimeSortedIds
from gateway.kernel.money import Money
from gateway.kernel.store.sqlite import SqliteStore
from gateway.kernel.store.unit import Store
from gateway.kernel.subjects import OperationId
from tests.support import peers
from tests.support.postgres import require_server
from tests.wallets.vault.providers.recorded import Recorded
from tests.wallets.vault.shop import CUSTOMER, MERCHANT, Shop, card
from wallets.vault.keys import establish_keys
from wallets.vault.opening import KeyPlace, open_keys, open_store
from wallets.vault.port import (
    Authorize,
    Increment,
    MethodKind,
    OperationResult,
    OperationStatus,
    PassedMethod,
    Payout,
    StoredMethod,
)
from wallets.vault.provider_calls import MOST_CALLS
from wallets.vault.providers import simulated_tables
from wallets.vault.providers.acquirer.client import AcquirerClient
from wallets.vault.providers.manual import CashDesk
from wallets.vault.providers.port import Capabilities, Provider
from wallets.vault.providers.simulated import SimulatedAcquirer, SimulatedDebit
from wallets.vault.providers.stripe import StripeProvider, StripeSettings
from wallets.vault.providers.voucher import VoucherBook
from wallets.vault.registry import Providers
from wallets.vault.secret import Secret
from wallets.vault.service import VaultService

DAY_MS = 86_400_000
API_KEY = Secret("acquirer-key")
WEBHOOK_KEY = Secret("whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=")


async def no_one(_: OperationId) -> None:
    """Nobody has to act."""


class Stand(Shop):
    """A shop whose vault has one provider."""

    def __init__(
        self,
        vault: VaultService,
        clock: ManualClock,
        ids: IdSource,
        provider: Recorded,
        method: Callable[[], Awaitable[StoredMethod]],
        decide: Callable[[OperationId], Awaitable[Any]] = no_one,
    ) -> None:
        super().__init__(vault, clock, ids)  # only the port is used
        self.service = vault
        self.manual_clock = clock
        self.provider = provider
        self.new_method = method
        self.decide = decide

    @property
    def able(self) -> Capabilities:
        return self.provider.capabilities

    async def settled(self, result: OperationResult) -> OperationResult:
        """The result once whoever has to act has acted."""
        if result.status is not OperationStatus.UNKNOWN:
            return result
        await self.decide(result.operation_id)
        found = await self.vault.operation(result.operation_id)
        assert found is not None
        return found

    async def placed(self, amount: Money, **changes: Any) -> Authorize:
        """An authorization that succeeded, under an allowance of twice the amount."""
        request = self.request(self.terms(await self.new_method(), amount * 2), amount, **changes)
        result = await self.settled(await self.vault.authorize(request))
        assert result.status is OperationStatus.SUCCEEDED, result
        return request

    async def taken(self, authorization: OperationId, amount: Money) -> OperationResult:
        return await self.settled(await self.capture(authorization, amount))

    async def raised(self, authorization: OperationId, amount: Money) -> OperationResult:
        return await self.settled(await self.service.increment(Increment(self.op(), authorization, amount)))

    async def paid_out(self, method: StoredMethod, amount: Money) -> OperationResult:
        request = Payout(self.op(), method.payment_method_id, CUSTOMER, MERCHANT, "ord_1", amount)
        return await self.settled(await self.service.payout(request))


@dataclass
class Parts:
    """What every stand is built from."""

    directory: Path
    clock: ManualClock
    ids: IdSource
    store: Store
    open: Callable[..., VaultService]


@asynccontextmanager
async def parts(
    directory: Path, clock: ManualClock | None = None, database_url: str = ""
) -> AsyncIterator[Parts]:
    if clock is None:
        # PostgreSQL has a clock of its own.
        clock = ManualClock(int(time.time() * 1000)) if database_url else ManualClock()
    ids = TimeSortedIds(clock)
    keys = open_keys(KeyPlace(directory / "keys"))
    store = open_store(directory / "vault", database_url, clock, ids, rehearse=True, strict=True)
    await establish_keys(store, keys.kms, keys.first, keys.maker)

    def open_vault(
        *providers: Provider, deadline_ms: int = 5_000, most_calls: int = MOST_CALLS, **more: Any
    ) -> VaultService:
        registry = Providers(providers, deadline_ms=deadline_ms, most_calls=most_calls)
        return VaultService(store, registry, keys.kms, clock, ids, **more)

    try:
        yield Parts(directory, clock, ids, store, open_vault)
    finally:
        await store.close()
        await keys.close()


def simulated(given: Parts, **options: Any) -> SimulatedAcquirer:
    path = given.directory / "acquirer.db"
    simulated_tables.create_schema(path)
    return SimulatedAcquirer(SqliteStore(path, given.clock, given.ids), given.clock, **options)


@asynccontextmanager
async def simulated_stand(directory: Path, database_url: str = "") -> AsyncIterator[Stand]:
    async with parts(directory, database_url=database_url) as given:
        provider = Recorded(simulated(given))
        vault = given.open(provider)
        yield Stand(vault, given.clock, given.ids, provider, lambda: vault.tokenize(CUSTOMER, card()))
        await provider.close()


@asynccontextmanager
async def debit_stand(directory: Path) -> AsyncIterator[Stand]:
    async with parts(directory) as given:
        acquirer = simulated(given, debits_take_ms=2 * DAY_MS)
        provider = Recorded(SimulatedDebit(acquirer))
        vault = given.open(provider)

        async def bank_decides(_: OperationId) -> None:
            given.clock.advance(2 * DAY_MS)
            await acquirer.decide_debits()

        async def method() -> StoredMethod:
            mandate = PassedMethod(
                MethodKind.SEPA_DEBIT, Secret("DE89 3704 0044 0532 0130 00"), mandate_reference="M-1"
            )
            return await vault.store_method(CUSTOMER, mandate)

        yield Stand(vault, given.clock, given.ids, provider, method, bank_decides)
        await acquirer.close()


class AcquirerServer:
    """A running acquirer: its address, and what only tests ask of it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(
            base_url=url, headers={"authorization": f"Bearer {API_KEY.reveal()}"}, timeout=10
        )

    def switch(self, **switches: Any) -> None:
        self._http.put("/admin/faults", json=switches).raise_for_status()

    def effects(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._http.get("/admin/effects").raise_for_status().json()
        return found

    def advance(self, advance_ms: int) -> int:
        done = self._http.post("/admin/clock", json={"advance_ms": advance_ms}).raise_for_status()
        return int(done.json()["now_ms"])

    def text(self, path: str) -> str:
        return self._http.get(path).raise_for_status().text

    def post(self, path: str, document: Any) -> httpx.Response:
        return self._http.post(path, json=document)


@contextmanager
def acquirer_process(directory: Path, *options: str) -> Iterator[AcquirerServer]:
    """Run ``python -m wallets.vault.providers.acquirer serve`` on a free port: quicker than ``vitrine``."""
    port = peers.free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "wallets.vault.providers.acquirer", "serve", "--port", str(port)]
    environment = {
        **os.environ,
        "VITRINE_ACQUIRER_KEY": API_KEY.reveal(),
        "VITRINE_ACQUIRER_WEBHOOK_KEY": WEBHOOK_KEY.reveal(),
    }
    process = subprocess.Popen(
        [*command, "--data-dir", str(directory / "acquirer"), *options], env=environment
    )
    try:
        give_up_at = time.monotonic() + 30
        while True:
            try:
                httpx.get(url + "/healthz", timeout=2).raise_for_status()
                break
            except httpx.HTTPError:
                assert process.poll() is None, "the acquirer did not start"
                assert time.monotonic() < give_up_at
                time.sleep(0.05)
        yield AcquirerServer(url)
    finally:
        process.terminate()
        process.wait(10)


class Servers:
    """Processes that many tests share; they are started on first use and stopped with the tests."""

    def __init__(self) -> None:
        self._running = ExitStack()
        self._acquirer: AcquirerServer | None = None
        self._stripe: str | None = None

    def acquirer(self) -> AcquirerServer:
        if self._acquirer is None:
            folder = self._running.enter_context(tempfile.TemporaryDirectory())
            self._acquirer = self._running.enter_context(acquirer_process(Path(folder)))
        return self._acquirer

    def stripe(self) -> str:
        """The address of an empty localstripe: what it holds makes it slow."""
        if self._stripe is None:
            self._stripe = self._running.enter_context(peers.localstripe())
        httpx.delete(self._stripe + "/_config/data").raise_for_status()
        return self._stripe

    def stop(self) -> None:
        self._running.close()


SERVERS = Servers()


@asynccontextmanager
async def http_stand(directory: Path) -> AsyncIterator[Stand]:
    server = SERVERS.acquirer()
    async with parts(directory, ManualClock(int(time.time() * 1000))) as given:
        provider = Recorded(AcquirerClient(server.url, API_KEY))
        vault = given.open(provider)
        yield Stand(vault, given.clock, given.ids, provider, lambda: vault.tokenize(CUSTOMER, card()))
        await provider.close()


def stripe_settings(url: str, **changes: Any) -> StripeSettings:
    settings = StripeSettings(
        api_key=Secret("sk_test_12345"),
        base_url=url,
        webhook_secrets=(Secret("whsec_localstripe"),),
        lists_by_time=False,
        security_code_instead=Secret("000"),
    )
    return replace(settings, **changes)


@asynccontextmanager
async def stripe_stand(directory: Path) -> AsyncIterator[Stand]:
    url = SERVERS.stripe()
    async with parts(directory, ManualClock(int(time.time() * 1000))) as given:
        provider = Recorded(StripeProvider(stripe_settings(url)))
        vault = given.open(provider)
        yield Stand(vault, given.clock, given.ids, provider, lambda: vault.tokenize(CUSTOMER, card()))
        await provider.close()


@asynccontextmanager
async def cash_stand(directory: Path, database_url: str = "") -> AsyncIterator[Stand]:
    async with parts(directory, database_url=database_url) as given:
        desk = CashDesk(given.store, country="CH")
        provider = Recorded(desk)
        vault = given.open(provider, cash=desk)

        async def staff_confirm(operation_id: OperationId) -> None:
            [owed] = [cash for each, _, _, cash in await desk.waiting() if each == operation_id]
            await vault.confirm_cash(operation_id, owed, "staff_1")

        yield Stand(
            vault,
            given.clock,
            given.ids,
            provider,
            lambda: vault.store_method(CUSTOMER, PassedMethod(MethodKind.CASH, Secret(""))),
            staff_confirm,
        )


@asynccontextmanager
async def voucher_stand(directory: Path, database_url: str = "") -> AsyncIterator[Stand]:
    async with parts(directory, database_url=database_url) as given:
        book = VoucherBook(given.store)
        provider = Recorded(book)
        vault = given.open(provider, vouchers=book)

        async def method() -> StoredMethod:
            _, code = await book.issue(Money(1_000_000, "EUR"), given.clock.now_ms() + 365 * DAY_MS)
            return await vault.store_method(CUSTOMER, PassedMethod(MethodKind.VOUCHER, code))

        yield Stand(vault, given.clock, given.ids, provider, method)


@asynccontextmanager
async def _on_postgres(
    stand: Callable[[Path, str], AbstractAsyncContextManager[Stand]], directory: Path
) -> AsyncIterator[Stand]:
    """The same with the vault's own tables in PostgreSQL."""
    server = require_server()
    name = server.create_database()
    try:
        async with stand(directory, server.url(name).replace("+psycopg", "")) as made:
            yield made
    finally:
        server.drop_database(name)


STANDS: dict[str, Callable[[Path], AbstractAsyncContextManager[Stand]]] = {
    "simulated": simulated_stand,
    "simulated_debit": debit_stand,
    "acquirer_over_http": http_stand,
    "stripe": stripe_stand,
    "cash": cash_stand,
    "voucher": voucher_stand,
    "simulated_on_postgres": partial(_on_postgres, simulated_stand),
    "cash_on_postgres": partial(_on_postgres, cash_stand),
    "voucher_on_postgres": partial(_on_postgres, voucher_stand),
}
"""Every adapter, each in a world of its own."""
