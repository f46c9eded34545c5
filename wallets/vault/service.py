"""The vault as its callers see it: `Vault` over the parts beside it.

Operations are sent by `sending` and resolved by `resolving`; what is done in the units of the database is in
the file of its subject (`authorizing`, `follow_ups`, `settling`, `allowances`, `guardian`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from gateway.kernel.clock import Clock
from gateway.kernel.errors import InvalidError, NotFoundError
from gateway.kernel.ids import IdSource
from gateway.kernel.money import Money
from gateway.kernel.store.unit import Store, UnitOfWork
from gateway.kernel.subjects import OperationId, PaymentMethodId
from wallets.vault import allowances, guardian, methods, pages
from wallets.vault.acp import AcpOptions, DelegatedPayments, Gatekeeper
from wallets.vault.audit import OK, Action, current_actor, note
from wallets.vault.in_flight import InFlight
from wallets.vault.keys import KeyRing
from wallets.vault.kms import Kms
from wallets.vault.model import (
    OperationState,
)
from wallets.vault.operation_rows import GET, INSERT, Row, as_row, new_row
from wallets.vault.passed_methods import PassedMethods, WalletTrust
from wallets.vault.port import (
    REFUSALS,
    Allowance,
    AllowanceId,
    AllowanceTerms,
    Approval,
    ApprovalState,
    Authorize,
    Capture,
    CardEntry,
    Increment,
    MethodKind,
    OperationKind,
    OperationPage,
    OperationResult,
    OperationStatus,
    PassedMethod,
    Payout,
    Reauthorize,
    Refund,
    StoredMethod,
    Void,
)
from wallets.vault.providers.manual import CashDesk
from wallets.vault.providers.port import (
    Outcome,
    Provider,
    ProviderAnswer,
)
from wallets.vault.providers.voucher import VoucherBook
from wallets.vault.registry import Providers
from wallets.vault.resolving import Resolver
from wallets.vault.sending import Sender
from wallets.vault.settling import settle
from wallets.vault.tokenizing import AlsoStored, MethodStore, tokenize
from wallets.vault.webhook_work import work_off
from wallets.vault.webhooks import EventState, WebhookReceipt, Webhooks

_log = structlog.get_logger("vitrine.vault")
_IN_SETTLEMENT_FILES = (OperationKind.CAPTURE, OperationKind.REFUND, OperationKind.PAYOUT)


class VaultService:
    """`Vault` over a store, a provider and a KMS. It owns none of them: whoever built it closes them."""

    def __init__(
        self,
        store: Store,
        provider: Provider | Providers,
        kms: Kms,
        clock: Clock,
        ids: IdSource,
        *,
        deadline_ms: int = 10_000,
        trust: WalletTrust | None = None,
        cash: CashDesk | None = None,
        vouchers: VoucherBook | None = None,
    ) -> None:
        """``cash`` and ``vouchers`` are among the providers, and named here for what only they can do."""
        self._store = store
        self._providers = (
            provider if isinstance(provider, Providers) else Providers([provider], deadline_ms=deadline_ms)
        )
        self._kms = kms
        self._clock = clock
        self.ring = KeyRing(store)
        self._methods = MethodStore(store, kms, self.ring, ids)
        self._cash = cash
        self._passed = PassedMethods(
            store, clock, self._methods, self._providers, trust=trust, vouchers=vouchers
        )
        self.webhooks = Webhooks(store, clock, self._providers)
        self._resolver = Resolver(store, self._providers, clock, ids, deadline_ms)
        self._in_flight = InFlight()
        self._sender = Sender(store, self._providers, kms, self._methods, self._resolver, self._in_flight)

    async def tokenize(self, customer_id: str, card: CardEntry) -> StoredMethod:
        return await self.store_card(customer_id, card, None)

    async def store_card(self, customer_id: str, card: CardEntry, also: AlsoStored | None) -> StoredMethod:
        """`tokenize`, with something to be done in the unit that stores the card."""
        provider = self._providers.taking(MethodKind.CARD)
        if provider is None:
            raise InvalidError("vault.method_kind", REFUSALS["vault.method_kind"])
        return await tokenize(
            self._store,
            provider,
            self._methods,
            self._clock,
            customer_id=customer_id,
            card=card,
            also=also,
        )

    async def store_method(self, customer_id: str, passed: PassedMethod) -> StoredMethod:
        return await self._passed.store(customer_id, passed)

    async def methods(self, customer_id: str) -> list[StoredMethod]:
        rows = await self._store.read(
            lambda reader: reader.rows(methods.OF_CUSTOMER, {"customer_id": customer_id})
        )
        return [methods.stored_method(row) for row in rows]

    async def remove_method(self, customer_id: str, payment_method_id: PaymentMethodId) -> bool:
        actor, dialect = current_actor(), self._store.dialect

        def remove(uow: UnitOfWork) -> bool:
            removed = methods.remove(uow, dialect, customer_id, payment_method_id)
            outcome = OK if removed else "vault.method_unknown"
            note(uow, actor, Action.METHOD_REMOVE, payment_method_id, outcome=outcome, detail=customer_id)
            return removed

        return await self._store.write(remove)

    async def authorize(self, request: Authorize) -> OperationResult:
        return await self._sender.authorize(request)

    async def reauthorize(self, request: Reauthorize) -> OperationResult:
        return await self._sender.reauthorize(request)

    async def capture(self, request: Capture) -> OperationResult:
        return await self._sender.follow_up(OperationKind.CAPTURE, request)

    async def void(self, request: Void) -> OperationResult:
        return await self._sender.follow_up(OperationKind.VOID, request)

    async def refund(self, request: Refund) -> OperationResult:
        return await self._sender.follow_up(OperationKind.REFUND, request)

    async def increment(self, request: Increment) -> OperationResult:
        return await self._sender.follow_up(OperationKind.INCREMENT, request)

    async def payout(self, request: Payout) -> OperationResult:
        return await self._sender.payout(request)

    async def confirm_cash(
        self, operation_id: OperationId, tendered: Money, confirmed_by: str
    ) -> OperationResult:
        await self._desk().confirm(operation_id, tendered, confirmed_by)
        return await self._decided(operation_id)

    async def decline_cash(self, operation_id: OperationId, confirmed_by: str) -> OperationResult:
        await self._desk().decline(operation_id, confirmed_by)
        return await self._decided(operation_id)

    async def receive_webhook(self, provider: str, headers: Mapping[str, str], body: bytes) -> WebhookReceipt:
        """Check an event's signature over the raw body and write it down; then it may be answered with 2xx.

        What it is about is asked of the provider by `process_webhooks`. Raises as `Webhooks.receive` says.
        """
        return await self.webhooks.receive(provider, headers, body)

    def takes_webhooks(self, provider: str) -> bool:
        """Whether somebody of this name sends webhooks."""
        return self._providers.notifying(provider) is not None

    def webhook_senders(self) -> list[str]:
        """Return the names of those that send webhooks."""
        return self._providers.senders()

    async def process_webhooks(self, provider: str | None = None) -> int:
        """Ask about everything that events are about, and return how many events were dealt with.

        Of one provider, or of all of them side by side: nobody waits for another one's answers. Each event
        is dealt with once; whoever runs this vault calls it after an event and now and then. What the
        provider does not answer, and what fails here, is looked at again later and holds nobody else up.
        """
        names = self._providers.senders() if provider is None else [provider]
        async with asyncio.TaskGroup() as group:
            working = [group.create_task(work_off(self.webhooks, name, self._look_at)) for name in names]
        return sum(task.result() for task in working)

    async def _look_at(self, event: Row) -> EventState:
        try:
            about = await self.webhooks.subjects(event)
            if about is None:
                return EventState.PARKED
            found = [await self.operation(operation_id) for operation_id in about]
        except Exception as error:
            # Of one event: the others have nothing to do with it.
            reason = type(error).__name__
            _log.error("vault.webhook_failed", event_id=event.event_id, reason=reason, exc_info=True)
            return EventState.WAITING
        undecided = any(one is not None and one.status is OperationStatus.UNKNOWN for one in found)
        return EventState.WAITING if undecided else EventState.PROCESSED

    async def note_settled(
        self, operation_id: OperationId, provider: str, provider_reference: str
    ) -> OperationResult | None:
        actor = current_actor()

        def decide(uow: UnitOfWork) -> Row | None:
            row = uow.row(GET, {"operation_id": operation_id})
            if row is None or not self._providers.lists(provider, row.provider):
                return None
            if row.state != OperationState.SENT or row.kind not in _IN_SETTLEMENT_FILES:
                return row
            settled = settle(uow, row, ProviderAnswer(Outcome.SUCCEEDED, provider_reference))
            note(uow, actor, Action.OPERATION_SETTLE, operation_id)
            return settled

        async with self._in_flight.turn(operation_id):
            row = await self._store.write(decide)
        return None if row is None else self._resolver.told(row)

    async def operation(self, operation_id: OperationId) -> OperationResult | None:
        async with self._in_flight.turn(operation_id):
            row = await self._resolver.read(operation_id)
            return None if row is None else self._resolver.told(await self._resolver.resolve(row))

    async def abandon(self, operation_id: OperationId) -> OperationResult:
        def bury(uow: UnitOfWork) -> Row:
            tombstone = new_row(
                operation_id,
                None,
                OperationState.ABANDONED,
                uow.now_ms,
                refusal="vault.operation_abandoned",
            )
            return as_row(tombstone) if uow.run(INSERT, tombstone) else uow.row(GET, tombstone)

        async with self._in_flight.turn(operation_id):
            return self._resolver.told(await self._resolver.resolve(await self._store.write(bury)))

    async def operations_since(self, cursor: str, limit: int) -> OperationPage:
        return await pages.operations_since(self._store, cursor, limit)

    async def grant(self, terms: AllowanceTerms) -> Allowance:
        actor = current_actor()

        def grant(uow: UnitOfWork) -> Allowance:
            granted = allowances.grant(uow, terms)
            note(uow, actor, Action.ALLOWANCE_GRANT, terms.allowance_id, detail=terms.payment_method_id)
            return granted

        return await self._store.write(grant)

    async def allowance(self, allowance_id: AllowanceId) -> Allowance | None:
        return await self._store.read(lambda reader: allowances.allowance_of(reader, allowance_id))

    def delegated_payments(self, allow: Gatekeeper, options: AcpOptions | None = None) -> DelegatedPayments:
        """Return ACP's endpoint over this vault; ``allow`` knows who may use it."""
        return DelegatedPayments(self, self._store, self._kms, self.ring, self._clock, allow, options)

    async def approve(self, approval: Approval) -> ApprovalState:
        return await self._approval(approval, guardian.approve)

    async def decline_approval(self, approval: Approval) -> ApprovalState:
        return await self._approval(approval, guardian.decline)

    async def _approval(
        self, approval: Approval, decide: Callable[[UnitOfWork, Approval], ApprovalState]
    ) -> ApprovalState:
        actor = current_actor()

        def write(uow: UnitOfWork) -> ApprovalState:
            state = decide(uow, approval)
            detail = str(approval.allowance_id)
            note(uow, actor, Action.APPROVAL, approval.approval_id, outcome=state.value, detail=detail)
            return state

        return await self._store.write(write)

    async def revoke(self, allowance_id: AllowanceId) -> None:
        actor = current_actor()

        def revoke(uow: UnitOfWork) -> None:
            allowances.revoke(uow, allowance_id)
            note(uow, actor, Action.ALLOWANCE_REVOKE, allowance_id)

        await self._store.write(revoke)

    def _desk(self) -> CashDesk:
        if self._cash is None:
            raise NotFoundError("cash.unknown", "No cash is taken here.")
        return self._cash

    async def _decided(self, operation_id: OperationId) -> OperationResult:
        result = await self.operation(operation_id)
        assert result is not None, "the desk knows only what the vault has sent"
        return result
