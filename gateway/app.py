"""The composition root: builds every part once, wires outcomes to the purchase process, closes all again.

Order of opening is the order of need: stores, vault, order backend, chain, then workers and edges. Closing
goes the other way. Recovery is nothing special: tasks, unknown operations and open chain transactions are
rows, and starting the workers resumes them.
"""

from __future__ import annotations

import asyncio
import fcntl
import ssl
from collections.abc import Callable
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
from gateway.commands.chain_state import ChainQuestions
from gateway.commands.context import Context
from gateway.http.api import Front, create_api
from gateway.identity.passkeys import relying_party
from gateway.kernel.clock import Clock, SystemClock
from gateway.kernel.events.log import EventLog
from gateway.kernel.ids import IdSource, TimeSortedIds
from gateway.kernel.precedence import Precedence
from gateway.kernel.store.unit import Lane, Store, UnitOfWork
from gateway.kernel.subjects import OperationId
from gateway.kernel.tasks.model import TaskKind
from gateway.kernel.tasks.queue import release_all_leases
from gateway.kernel.tasks.runner import TaskRunner
from gateway.logs import ensure_configured
from gateway.orders.actions import return_of
from gateway.orders.background import Background
from gateway.orders.fulfillment_facts import FulfillmentCalls, FulfillmentFacts
from gateway.orders.guardian_facts import GuardianFacts
from gateway.orders.mint_facts import MintFacts
from gateway.orders.payment_facts import PaymentFacts, ask_again
from gateway.orders.placing import SECURE_FREE, PlaceRules
from gateway.orders.process import ProcessRules
from gateway.orders.quotes import QuoteRules
from gateway.orders.reauthorizing import RENEW
from gateway.orders.starting import SEND
from gateway.orders.undoing import CANCEL
from gateway.orders.world_notices import NoticeWriter, WorldEndpoints
from gateway.payments import calls
from gateway.payments.authentication import authentication_of
from gateway.payments.calls import PaymentCalls
from gateway.payments.method_feed import MethodFeed
from gateway.payments.operations import operation_row
from gateway.sessions.hub import Hub
from gateway.sessions.socket import Sockets
from gateway.settings import Settings
from gateway.webhooks import outbox
from gateway.webhooks.delivery import Delivery
from gateway.webhooks.egress import Egress
from gateway.webhooks.signing import SigningKeys
from wallets.custody.accounts import Custody
from wallets.custody.challenges import LinkRules, site_of
from wallets.custody.exporting import KeyExports
from wallets.vault.port import Vault

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from wallets.minting.chain.failover import FailoverChain
    from wallets.minting.holdings import Holdings
    from wallets.minting.service import Minting
    from wallets.vault.embedded import EmbeddedVault

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
        self.vault: Vault
        self.embedded_vault: EmbeddedVault | None = None
        """None where the vault is a process of its own."""
        self.backend: EmbeddedBackend
        self.minting: Minting | None = None
        self.runner: TaskRunner
        self.webhooks: Delivery
        self._linking: LinkRules | None = None
        self._key_exports: KeyExports | None = None
        self._holdings: Holdings | None = None
        self._chain: ChainQuestions | None = None
        self._hurry_chain: Callable[[], None] = lambda: None

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
        precedence = Precedence()
        store = await asyncio.to_thread(
            open_store, settings, clock, ids, event_log, precedence=precedence, checked=checked
        )
        closing.push_async_callback(store.close)

        self.embedded_vault, self.vault = await self._open_vault(clock, ids, precedence, checked)

        self.backend = EmbeddedBackend.open(
            data / "backend.db",
            clock,
            ids,
            pace=Pace(
                dispatch_after_ms=settings.dispatch_after_ms, deliver_after_ms=settings.deliver_after_ms
            ),
            precedence=precedence,
            strict=checked,
        )
        closing.push_async_callback(self.backend.close)

        rules = ProcessRules(
            base_url=settings.base_url,
            action_ms=settings.pay_within_ms,
            guardian_ms=settings.guardian_within_ms,
            choose_wallet_ms=settings.choose_wallet_hours * 3_600_000,
            renewal=settings.renewal,
        )
        custody = None
        if settings.mint:
            custody = await self._open_minting(store, rules, clock)
        webhook_keys = await asyncio.to_thread(SigningKeys.open, data / "keys")
        self.method_feed = MethodFeed(store, self.vault, clock)
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
                pay_within_ms=settings.pay_within_ms,
                most_unpaid=settings.most_unpaid or None,
                exemptions=settings.exemption_rules,
                chain_id=None if self.minting is None else self.minting.chain_id,
            ),
            passkeys=relying_party(settings.base_url, "Vitrine", settings.passkey_origin_list)
            if settings.delegated_authentication
            else None,
            linking=self._linking,
            key_exports=self._key_exports,
            holdings=self._holdings,
            chain=self._chain,
            webhook_keys=webhook_keys,
            card_expected=self.method_feed.expect,
            cards_here=self.embedded_vault is not None,
        )
        await self.context.catalog.refresh(store)
        egress = Egress(clock, private=settings.private_webhooks)
        closing.push_async_callback(egress.close)
        self.webhooks = Delivery(
            store,
            clock,
            egress,
            webhook_keys,
            WorldEndpoints(),
            NoticeWriter(self.context.catalog, settings.base_url).body,
            precedence=precedence,
        )

        fulfillment_facts = FulfillmentFacts(rules)
        self.runner = TaskRunner(
            store,
            _task_kinds(
                PaymentCalls(self.vault),
                PaymentFacts(rules),
                GuardianFacts(rules),
                FulfillmentCalls(store, self.backend),
                fulfillment_facts,
            ),
            handover=self.context.placing.handover,
            precedence=precedence,
        )
        if settings.database_url == "":
            # This process owns the file alone, so leases of an earlier life are void.
            await store.write(release_all_leases, lane=Lane.BACKGROUND)
            await store.write(outbox.free_all, lane=Lane.BACKGROUND)
        if settings.workers:
            await self._start_workers(store, fulfillment_facts)

        self.sockets = Sockets(self.context, hub, settings.limits, SERVER)
        self.sockets.start()
        closing.push_async_callback(self.sockets.stop)
        self.asgi = Front(create_api(self.context, self._bank(store), self._card_pages()), self.sockets)

    async def _open_vault(
        self, clock: Clock, ids: IdSource, precedence: Precedence, checked: bool
    ) -> tuple[EmbeddedVault | None, Vault]:
        """Inside this process, or a client of the one that has the cards.

        With the vault apart nothing of it is loaded here but its port and its client: no adapter that could
        open a record, no test cards.
        """
        settings = self.settings
        if not settings.vault_url:
            from wallets.vault.embedded import open_embedded_vault

            embedded = await open_embedded_vault(
                settings.data_dir,
                clock,
                ids,
                deadline_ms=settings.acquirer_deadline_ms,
                slow_ms=settings.acquirer_slow_ms,
                precedence=precedence,
                strict=checked,
            )
            self._closing.push_async_callback(embedded.close)
            return embedded, embedded
        from wallets.vault.remote import RemoteVault

        secret = await asyncio.to_thread(settings.vault_secret)
        trust = (
            ssl.create_default_context(cafile=settings.vault_authority) if settings.vault_authority else None
        )
        remote = RemoteVault(settings.vault_url, secret, deadline_ms=settings.vault_deadline_ms, trust=trust)
        self._closing.push_async_callback(remote.close)
        return None, remote

    async def _open_minting(self, store: Store, rules: ProcessRules, clock: Clock) -> Custody:
        """Signer, chain, contract and lanes. The only place where chain libraries are loaded."""
        from wallets.custody.local_signer import LocalSigner
        from wallets.custody.proving import AddressProofs
        from wallets.minting.chain.deploy import ZERO_ADDRESS
        from wallets.minting.holdings import Holdings
        from wallets.minting.model import MintingSettings
        from wallets.minting.service import TREASURY_KEY, Minting, minter_addresses

        settings = self.settings
        signer = await asyncio.to_thread(LocalSigner.open, settings.data_dir / "keys")
        lanes = MintingSettings(
            confirmations=settings.confirmations,
            window_ms=settings.mint_window_ms,
            gas_per_day=settings.mint_gas_per_day,
            # Blocks of other chains come in seconds, and requests are counted.
            poll_ms=1_000 if settings.chain_urls else 250,
            base_uri=f"{settings.base_url}/v1/tokens/{{id}}.json",
        )
        client: Any
        if settings.chain_urls:
            from wallets.minting.chain.failover import FailoverChain
            from wallets.minting.service import known_chain

            remembered = await known_chain(store)
            several = FailoverChain.of(settings.chain_urls, remembered=remembered)
            self._hurry_chain = several.hurry
            self._closing.push_async_callback(several.close)
            await _some_chain(several)
            client = several
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
        self._holdings = Holdings(client, self.minting.chain_id, store, clock)
        self._chain = ChainQuestions(client)
        custody = Custody(signer, store)
        domain, uri = site_of(settings.base_url)
        self._linking = LinkRules(
            domain=domain,
            uri=uri,
            chain_id=self.minting.chain_id,
            reserved=frozenset(
                [
                    ZERO_ADDRESS,
                    self.minting.contract,
                    await signer.address(TREASURY_KEY),
                    *await minter_addresses(signer, lanes),
                ]
            ),
            prover=AddressProofs(self._chain),
        )
        self._key_exports = KeyExports(custody, signer)
        return custody

    async def _start_workers(self, store: Store, facts: FulfillmentFacts) -> None:
        """Resume every open task, unknown operation, chain transaction and feed."""
        closing = self._closing
        background = Background(store, self.vault, self.backend, facts, self.context.process)
        self.backend.on_update = background.updates_waiting
        self.backend.start()
        self.method_feed.start()
        closing.push_async_callback(self.method_feed.stop)
        background.start()
        closing.push_async_callback(background.stop)
        if self.minting is not None:
            self.minting.start()
            closing.push_async_callback(self.minting.stop)
            # Called before the lanes stop: none of them shall wait for a throttled endpoint.
            closing.callback(self._hurry_chain)
        self.webhooks.start()
        closing.push_async_callback(self.webhooks.stop)
        self.runner.start()
        closing.push_async_callback(self.runner.stop)

    def _card_pages(self) -> list[BaseRoute]:
        """The vault's pages, which this process serves only while the vault is inside it."""
        if self.embedded_vault is None:
            return []
        from wallets.vault.http.card_pages import CardPages

        return [*CardPages(self.embedded_vault.intake).routes()]

    def _bank(self, store: Store) -> list[BaseRoute]:
        """The simulated acquirer's bank page; its decision has the order ask the vault at once.

        With the vault apart the page is there, and its address comes with the action.
        """
        if self.embedded_vault is None:
            return []
        from wallets.vault.providers.bank_page import bank_routes

        async def decided(operation_id: OperationId) -> str | None:
            def ask(uow: UnitOfWork) -> str | None:
                row = operation_row(uow, operation_id)
                if row is not None:
                    ask_again(uow, row.order_id, operation_id, after_ms=0)
                asked = authentication_of(uow, operation_id)
                return None if asked is None else return_of(self.context.process, asked)

            return await store.write(ask)

        return bank_routes(self.embedded_vault.acquirer, decided)


async def _some_chain(client: FailoverChain) -> None:
    """Raise ChainUnavailable, in an operator's words, if no endpoint says which chain it is of."""
    from wallets.minting.chain.port import ChainUnavailable

    try:
        await client.chain_id()
    except ChainUnavailable as error:
        raise ChainUnavailable(f"no endpoint of VITRINE_CHAIN_URL answered ({error.message})") from error


def _task_kinds(
    payments: PaymentCalls,
    paid: PaymentFacts,
    guarded: GuardianFacts,
    shipping: FulfillmentCalls,
    shipped: FulfillmentFacts,
) -> list[TaskKind[Any]]:
    """Every effect on the outside: who performs it, who records what came of it."""

    async def nothing(_: Any) -> None:
        return None

    return [
        TaskKind(calls.AUTHORIZE, payments.authorize, paid.record, paid.parked, lane=Lane.INTERACTIVE),
        TaskKind(calls.CAPTURE, payments.capture, paid.record, paid.parked),
        TaskKind(calls.VOID, payments.void, paid.record, paid.parked),
        TaskKind(calls.REFUND, payments.refund, paid.record, paid.parked),
        TaskKind(calls.RESOLVE, payments.resolve, paid.record, paid.parked, most_attempts=100),
        TaskKind(calls.REAUTHORIZE, payments.reauthorize, paid.record, paid.parked),
        TaskKind(calls.PAYOUT, payments.payout, paid.record, paid.parked),
        TaskKind(calls.APPROVE, payments.approve, guarded.record, guarded.parked, lane=Lane.INTERACTIVE),
        TaskKind(calls.NOT_APPROVED, payments.decline, guarded.record_no, guarded.parked),
        TaskKind(RENEW, nothing, paid.record_due, paid.parked),
        TaskKind(SECURE_FREE, nothing, paid.record_free, paid.parked),
        TaskKind(SEND, shipping.send, shipped.record_sent, shipped.parked, most_attempts=50),
        TaskKind(CANCEL, shipping.cancel, shipped.record_cancel, shipped.parked, most_attempts=50),
    ]


def open_store(
    settings: Settings,
    clock: Clock,
    ids: IdSource,
    event_log: EventLog,
    *,
    precedence: Precedence | None = None,
    checked: bool = False,
) -> Store:
    """Open the gateway's database, brought up to this version's tables."""
    from gateway.kernel.migrate import upgrade, upgrade_sqlite

    if settings.database_url:
        from gateway.kernel.store.postgres import PostgresStore

        upgrade(settings.database_url.replace("postgresql://", "postgresql+psycopg://", 1), MIGRATIONS)
        return PostgresStore(
            settings.database_url, None, ids, event_log=event_log, precedence=precedence, strict=checked
        )
    from gateway.kernel.store.sqlite import SqliteStore

    path = settings.data_dir / "gateway.db"
    upgrade_sqlite(path, MIGRATIONS)
    return SqliteStore(path, clock, ids, event_log=event_log, precedence=precedence, strict=checked)


def _lock(path: Path) -> IO[str]:
    """Take the data directory for this process; released when the process ends, however it ends."""
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise RuntimeError(f"another gateway uses {path.parent}") from None
    return file
