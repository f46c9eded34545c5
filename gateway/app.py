"""The composition root: builds every part once, wires outcomes to the purchase process, closes all again.

Order of opening is the order of need: stores, vault, order backend, chain, then workers and edges. Closing
goes the other way. Recovery is nothing special: tasks, unknown operations and open chain transactions are
rows, and starting the workers resumes them.
"""

from __future__ import annotations

import asyncio
import fcntl
from contextlib import AsyncExitStack
from importlib import metadata
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

import structlog

from fulfillment.backends.embedded import EmbeddedBackend
from fulfillment.backends.embedded_work import Pace
from gateway.catalog.assets import AssetStore
from gateway.catalog.service import Catalog
from gateway.catalog.taxes import TaxTable
from gateway.commands.context import Context
from gateway.http.api import Front, create_api
from gateway.http.challenges import Challenges, ShownChallenge
from gateway.kernel.clock import Clock, SystemClock
from gateway.kernel.events.log import EventLog
from gateway.kernel.ids import IdSource, TimeSortedIds
from gateway.kernel.store.unit import Lane, Store, UnitOfWork
from gateway.kernel.tasks.model import TaskKind
from gateway.kernel.tasks.queue import release_all_leases
from gateway.kernel.tasks.runner import TaskRunner
from gateway.logs import ensure_configured
from gateway.orders import process
from gateway.orders.background import Background
from gateway.orders.fulfillment_facts import FulfillmentCalls, FulfillmentFacts
from gateway.orders.mint_facts import MintFacts
from gateway.orders.payment_facts import PaymentFacts, ask_again
from gateway.orders.placing import SECURE_FREE, PlaceRules
from gateway.orders.process import ProcessRules
from gateway.orders.quotes import QuoteRules
from gateway.payments import calls
from gateway.payments.calls import PaymentCalls
from gateway.payments.operations import operation_row
from gateway.sessions.hub import Hub
from gateway.sessions.socket import Sockets
from gateway.settings import Settings
from wallets.custody.accounts import Custody
from wallets.vault.embedded import EmbeddedVault, open_embedded_vault
from wallets.vault.providers.port import Outcome

if TYPE_CHECKING:
    from wallets.minting.service import Minting

log = structlog.get_logger(__name__)

MIGRATIONS = Path(__file__).parent / "migrations"
SERVER = f"vitrine/{metadata.version('vitrine')}"


class Gateway:
    """A running gateway. Make it with `open`; `asgi` serves it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._closing = AsyncExitStack()
        self.context: Context
        self.sockets: Sockets
        self.asgi: Front
        self.vault: EmbeddedVault
        self.backend: EmbeddedBackend
        self.minting: Minting | None = None
        self.runner: TaskRunner

    @classmethod
    async def open(
        cls,
        settings: Settings,
        *,
        clock: Clock | None = None,
        ids: IdSource | None = None,
        checked: bool = False,
    ) -> Self:
        """Build and start everything. ``checked`` runs units in the stores' strict test mode."""
        ensure_configured()
        gateway = cls(settings)
        try:
            await gateway._build(clock or SystemClock(), ids, checked=checked)
        except BaseException:
            await gateway.close()
            raise
        return gateway

    async def close(self) -> None:
        """Stop taking work, finish what is under way, close every file and connection."""
        await self._closing.aclose()

    async def _build(self, clock: Clock, given_ids: IdSource | None, *, checked: bool) -> None:
        settings, closing = self.settings, self._closing
        ids = given_ids or TimeSortedIds(clock)
        data = settings.data_dir
        await asyncio.to_thread(data.mkdir, parents=True, exist_ok=True)
        closing.callback(_lock(data / "gateway.lock").close)

        hub = Hub()
        event_log = EventLog()
        event_log.listen(hub.deliver)
        store = await asyncio.to_thread(_open_store, settings, clock, ids, event_log, checked)
        closing.push_async_callback(store.close)

        self.vault = await open_embedded_vault(
            data,
            clock,
            ids,
            deadline_ms=settings.acquirer_deadline_ms,
            slow_ms=settings.acquirer_slow_ms,
            strict=checked,
        )
        closing.push_async_callback(self.vault.close)

        self.backend = EmbeddedBackend.open(
            data / "backend.db",
            clock,
            ids,
            pace=Pace(
                dispatch_after_ms=settings.dispatch_after_ms, deliver_after_ms=settings.deliver_after_ms
            ),
            strict=checked,
        )
        closing.push_async_callback(self.backend.close)

        rules = ProcessRules(base_url=settings.base_url, action_ms=settings.pay_within_ms)
        custody = None
        if settings.mint:
            custody = await self._open_minting(store, rules)
        self.context = Context(
            store=store,
            clock=clock,
            catalog=Catalog(),
            assets=AssetStore(data / "assets"),
            taxes=TaxTable.load(),
            vault=self.vault,
            custody=custody,
            process=rules,
            quotes=QuoteRules(valid_ms=settings.quote_valid_ms, limits=settings.holds, mint=settings.mint),
            placing=PlaceRules(
                pay_within_ms=settings.pay_within_ms, most_unpaid=settings.most_unpaid or None
            ),
        )
        await self.context.catalog.refresh(store)

        fulfillment_facts = FulfillmentFacts(rules)
        self.runner = TaskRunner(
            store,
            _task_kinds(
                PaymentCalls(self.vault),
                PaymentFacts(rules),
                FulfillmentCalls(store, self.backend),
                fulfillment_facts,
            ),
        )
        if settings.database_url == "":
            # This process owns the file alone, so leases of an earlier life are void.
            await store.write(release_all_leases, lane=Lane.BACKGROUND)
        if settings.workers:
            await self._start_workers(store, fulfillment_facts)

        self.sockets = Sockets(self.context, hub, settings.limits, SERVER)
        self.sockets.start()
        closing.push_async_callback(self.sockets.stop)
        self.asgi = Front(create_api(self.context, self._challenges(store)), self.sockets)

    async def _open_minting(self, store: Store, rules: ProcessRules) -> Custody:
        """Signer, chain, contract and lanes. The only place where chain libraries are loaded."""
        from wallets.custody.local_signer import LocalSigner
        from wallets.minting.model import MintingSettings
        from wallets.minting.service import Minting, minter_addresses

        settings = self.settings
        signer = await asyncio.to_thread(LocalSigner.open, settings.data_dir / "keys")
        lanes = MintingSettings(
            confirmations=settings.confirmations,
            window_ms=settings.mint_window_ms,
            base_uri=f"{settings.base_url}/v1/tokens/{{id}}.json",
        )
        client: Any
        if settings.chain_url:
            from wallets.minting.chain.jsonrpc import JsonRpcChain

            client = JsonRpcChain(settings.chain_url)
        else:
            from wallets.minting.chain.embedded import EmbeddedChain

            client = await EmbeddedChain.open(
                settings.data_dir / "chain.db", funded=await minter_addresses(signer, lanes)
            )
        self._closing.push_async_callback(client.close)
        facts = MintFacts(rules)
        self.minting = await Minting.open(
            client, signer, store, lanes, on_outcomes=facts.record, on_claimed=facts.claimed
        )
        return Custody(signer, store)

    async def _start_workers(self, store: Store, facts: FulfillmentFacts) -> None:
        """Resume every open task, unknown operation, chain transaction and feed."""
        closing = self._closing
        background = Background(store, self.vault, self.backend, facts)
        self.backend.on_update = background.updates_waiting
        self.backend.start()
        background.start()
        closing.push_async_callback(background.stop)
        if self.minting is not None:
            self.minting.start()
            closing.push_async_callback(self.minting.stop)
        self.runner.start()
        closing.push_async_callback(self.runner.stop)

    def _challenges(self, store: Store) -> Challenges:
        """The simulated acquirer's hosted page; its decision has the order ask the vault at once."""
        acquirer = self.vault.acquirer

        async def show(action_id: str) -> ShownChallenge:
            found = await acquirer.challenge(action_id)
            return ShownChallenge(found.amount, found.outcome is Outcome.REQUIRES_ACTION)

        async def decide(action_id: str, approved: bool) -> None:
            found = await acquirer.complete_challenge(action_id, approved)

            def ask(uow: UnitOfWork) -> None:
                row = operation_row(uow, found.operation_id)
                if row is not None:
                    ask_again(uow, row.order_id, found.operation_id, after_ms=0)

            await store.write(ask)

        return Challenges(show, decide)


def _task_kinds(
    payments: PaymentCalls,
    paid: PaymentFacts,
    shipping: FulfillmentCalls,
    shipped: FulfillmentFacts,
) -> list[TaskKind[Any]]:
    """Every effect on the outside: who performs it, who records what came of it."""

    async def nothing(_: Any) -> None:
        return None

    return [
        TaskKind(calls.AUTHORIZE, payments.authorize, paid.record, paid.parked),
        TaskKind(calls.CAPTURE, payments.capture, paid.record, paid.parked),
        TaskKind(calls.VOID, payments.void, paid.record, paid.parked),
        TaskKind(calls.REFUND, payments.refund, paid.record, paid.parked),
        TaskKind(calls.RESOLVE, payments.resolve, paid.record, paid.parked, most_attempts=100),
        TaskKind(SECURE_FREE, nothing, paid.record_free, paid.parked),
        TaskKind(process.SEND, shipping.send, shipped.record_sent, shipped.parked, most_attempts=50),
        TaskKind(process.CANCEL, shipping.cancel, shipped.record_cancel, shipped.parked, most_attempts=50),
    ]


def _open_store(settings: Settings, clock: Clock, ids: IdSource, event_log: EventLog, checked: bool) -> Store:
    from gateway.kernel.migrate import upgrade, upgrade_sqlite

    if settings.database_url:
        from gateway.kernel.store.postgres import PostgresStore

        upgrade(settings.database_url.replace("postgresql://", "postgresql+psycopg://", 1), MIGRATIONS)
        return PostgresStore(settings.database_url, None, ids, event_log=event_log, strict=checked)
    from gateway.kernel.store.sqlite import SqliteStore

    path = settings.data_dir / "gateway.db"
    upgrade_sqlite(path, MIGRATIONS)
    return SqliteStore(path, clock, ids, event_log=event_log, strict=checked)


def _lock(path: Path) -> IO[str]:
    """Take the data directory for this process; released when the process ends, however it ends."""
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise RuntimeError(f"another gateway uses {path.parent}") from None
    return file
