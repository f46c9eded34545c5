"""The vault: each operation on one page, over the units and adapters beside it.

An operation is two units with the provider call between them: the first records it as sent and takes what
it needs, the second records the answer. A crash or silence between the two leaves ``sent``, which
`VaultService.operation` resolves by asking the provider about the same id.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

import structlog

from gateway.kernel.clock import Clock
from gateway.kernel.errors import InvalidError, NotFoundError
from gateway.kernel.ids import IdSource
from gateway.kernel.money import Money
from gateway.kernel.store.unit import Store, UnitOfWork
from gateway.kernel.subjects import OperationId, PaymentMethodId
from wallets.vault import allowances, guardian, methods, pages
from wallets.vault.acp import AcpOptions, DelegatedPayments, Gatekeeper
from wallets.vault.audit import OK, Action, Actor, current_actor, note, note_use
from wallets.vault.authorizing import Begun, authorize_order, begin_authorize
from wallets.vault.crypto import RecordUnreadableError
from wallets.vault.follow_ups import begin_follow_up, waiting_void
from wallets.vault.in_flight import InFlight
from wallets.vault.keys import KeyRing
from wallets.vault.kms import KeysUnavailableError, KeyUseError, Kms
from wallets.vault.model import (
    FollowUp,
    OperationState,
    Request,
    is_terminal,
    kind_of,
    parent_of,
    request_digest,
)
from wallets.vault.operation_rows import GET, INSERT, WAITS, Row, as_row, conflict, new_row, result_of
from wallets.vault.passed_methods import SINGLE_USE, PassedMethods, WalletTrust
from wallets.vault.payouts import begin_payout, payout_order
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
from wallets.vault.provider_terms import terms_of
from wallets.vault.providers.manual import CashDesk
from wallets.vault.providers.port import (
    AuthorizeOrder,
    Capabilities,
    ClearCard,
    FollowUpOrder,
    Instrument,
    Lookup,
    NoAnswerError,
    Outcome,
    Provider,
    ProviderAnswer,
)
from wallets.vault.providers.voucher import VoucherBook
from wallets.vault.reauthorizing import agreement, begin_reauthorize, reauthorize_order
from wallets.vault.registry import Providers
from wallets.vault.settling import settle
from wallets.vault.tokenizing import AlsoStored, MethodStore, tokenize
from wallets.vault.webhooks import EventState, WebhookReceipt, Webhooks

_log = structlog.get_logger("vitrine.vault")
_NOT_DONE = (OperationState.DECLINED, OperationState.FAILED)


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
        settled_after_ms: int = pages.SETTLED_AFTER_MS,
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
        self._ids = ids
        self.ring = KeyRing(store)
        self._methods = MethodStore(store, kms, self.ring, ids)
        self._cash = cash
        self._passed = PassedMethods(
            store, clock, self._methods, self._providers, trust=trust, vouchers=vouchers
        )
        self.webhooks = Webhooks(store, clock, self._providers)
        self._settled_after_ms = settled_after_ms
        self._deadline_ms = deadline_ms
        self._in_flight = InFlight()

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
        digest = request_digest(request)
        actor = current_actor()

        def begin(uow: UnitOfWork) -> Begun:
            begun = begin_authorize(uow, request, digest, self._providers)
            if begun.is_new:
                note_use(uow, actor, request.allowance.payment_method_id, begun.row)
            return begun

        async def order(begun: Begun, able: Capabilities) -> AuthorizeOrder:
            return await authorize_order(self._kms, request, begun.method, able)

        return await self._authorize(request, digest, begin, order)

    async def reauthorize(self, request: Reauthorize) -> OperationResult:
        digest = request_digest(request)
        actor = current_actor()

        def begin(uow: UnitOfWork) -> Begun:
            begun = begin_reauthorize(uow, request, digest, self._providers)
            if begun.is_new and begun.row.payment_method_id is not None:
                note_use(uow, actor, begun.row.payment_method_id, begun.row)
            return begun

        async def order(begun: Begun, able: Capabilities) -> AuthorizeOrder:
            read = await self._store.read(lambda reader: agreement(reader, begun.row))
            return await reauthorize_order(self._kms, read, request, begun.method)

        return await self._authorize(request, digest, begin, order)

    async def _authorize(
        self,
        request: Authorize | Reauthorize,
        digest: str,
        begin: Callable[[UnitOfWork], Begun],
        make_order: Callable[[Begun, Capabilities], Awaitable[AuthorizeOrder]],
    ) -> OperationResult:
        actor = current_actor()
        async with self._in_flight.turn(request.operation_id):
            begun = await self._store.write(begin)
            if not begun.is_to_be_sent:
                return await self._stored(begun, request, digest)
            provider = self._providers.named(begun.row.provider)
            try:
                order = await make_order(begun, provider.capabilities)
            except (RecordUnreadableError, KeysUnavailableError) as error:
                return result_of(await self._unopened(begun, actor, error))
            if begun.method.kind in SINGLE_USE and not await self._taken_out(begun):
                # Another attempt has it: nothing was sent for this one.
                failed = ProviderAnswer(Outcome.FAILED, failure="vault.method_unknown")
                return result_of(await self._settle(begun.row, failed))
            if self._is_stale(begun.row):
                return result_of(begun.row)
            try:
                answer = await provider.authorize(order)
            except NoAnswerError:
                return result_of(begun.row)
            settled = await self._settle(begun.row, answer)
            if answer.outcome is Outcome.SUCCEEDED and settled.state in _NOT_DONE:
                await self._call_off(settled, answer)
            if answer.account_reference is not None or answer.network_token is not None:
                await self._learn(actor, begun.method, order.card, answer)
            return self._told(settled)

    async def capture(self, request: Capture) -> OperationResult:
        return await self._follow_up(OperationKind.CAPTURE, request)

    async def void(self, request: Void) -> OperationResult:
        return await self._follow_up(OperationKind.VOID, request)

    async def refund(self, request: Refund) -> OperationResult:
        return await self._follow_up(OperationKind.REFUND, request)

    async def increment(self, request: Increment) -> OperationResult:
        return await self._follow_up(OperationKind.INCREMENT, request)

    async def payout(self, request: Payout) -> OperationResult:
        digest = request_digest(request)
        actor = current_actor()

        def begin(uow: UnitOfWork) -> Begun:
            begun = begin_payout(uow, request, digest, self._providers)
            if begun.is_new:
                note_use(uow, actor, request.payment_method_id, begun.row)
            return begun

        async with self._in_flight.turn(request.operation_id):
            begun = await self._store.write(begin)
            if not begun.is_to_be_sent:
                return await self._stored(begun, request, digest)
            try:
                order = await payout_order(self._kms, request, begun.method)
            except (RecordUnreadableError, KeysUnavailableError) as error:
                return result_of(await self._unopened(begun, actor, error))
            if self._is_stale(begun.row):
                return result_of(begun.row)
            try:
                answer = await self._providers.named(begun.row.provider).payout(order)
            except NoAnswerError:
                return result_of(begun.row)
            return result_of(await self._settle(begun.row, answer))

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

    async def process_webhooks(self) -> int:
        """Ask about everything that events are about, and return how many events were dealt with.

        Each event is dealt with once; whoever runs this vault calls it after an event and now and then. What
        the provider does not answer, and what fails here, is looked at again later and holds nobody else up.
        """
        done = 0
        while events := await self.webhooks.open():
            for event in events:
                state = await self._look_at(event)
                await self.webhooks.close_event(event, state)
                done += state is EventState.PROCESSED
        return done

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
        self, operation_id: OperationId, provider_reference: str
    ) -> OperationResult | None:
        """Settle an unknown operation by the provider's settlement file, which lists it as done.

        For what is older than the provider's memory: it is never sent again, and where a look-up cannot tell
        any more the file can. An operation that is known already stays as it is.
        """
        async with self._in_flight.turn(operation_id):
            row = await self._read(operation_id)
            if row is None:
                return None
            if row.state == OperationState.SENT:
                row = await self._settle(row, ProviderAnswer(Outcome.SUCCEEDED, provider_reference))
            return result_of(row)

    async def operation(self, operation_id: OperationId) -> OperationResult | None:
        async with self._in_flight.turn(operation_id):
            row = await self._read(operation_id)
            return None if row is None else self._told(await self._resolve(row))

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
            return self._told(await self._resolve(await self._store.write(bury)))

    async def operations_since(self, cursor: str, limit: int) -> OperationPage:
        return await pages.operations_since(self._store, cursor, limit, self._settled_after_ms)

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

    async def _taken_out(self, begun: Begun) -> bool:
        """Destroy the record of a method that pays once; False if that has happened already.

        Opened before, and only now: the cryptogram is in our hands for this one attempt and nowhere else
        from here on (V13), and it is not lost where it could not be opened.
        """
        method, dialect = begun.method, self._store.dialect
        return await self._store.write(
            lambda uow: methods.remove(uow, dialect, method.customer_id, method.payment_method_id)
        )

    async def _unopened(self, begun: Begun, actor: Actor, error: Exception) -> Row:
        """Settle an authorization whose record can not be opened: nothing was sent."""
        failure = (
            "vault.keys_unavailable" if isinstance(error, KeysUnavailableError) else "vault.record_unreadable"
        )
        _log.error(failure, operation_id=begun.row.operation_id, reason=str(error))
        row = begun.row
        await self._store.write(
            lambda uow: note(
                uow, actor, Action.METHOD_USE, row.payment_method_id, outcome=failure, detail=row.operation_id
            )
        )
        return await self._settle(row, ProviderAnswer(Outcome.FAILED, failure=failure))

    async def _learn(self, actor: Actor, method: Row, used: Instrument, answer: ProviderAnswer) -> None:
        """Keep the PAR and the network token that came with an authorization, the first time."""
        account, token = answer.account_reference, answer.network_token
        if account is not None and method.account_reference is None:
            method_id = method.payment_method_id
            await self._store.write(lambda uow: methods.learn_account(uow, method_id, account))
        if token is not None and isinstance(used, ClearCard) and used.network_token is None:
            try:
                await self._methods.add_network_token(actor, method, token)
            except (RecordUnreadableError, KeyUseError) as error:
                # The authorization stands; the next one brings the token again.
                _log.warning("vault.network_token_not_kept", reason=type(error).__name__)

    async def _follow_up(self, kind: OperationKind, request: FollowUp) -> OperationResult:
        digest = request_digest(request)
        async with self._in_flight.turn(request.operation_id):
            begun = await self._store.write(
                lambda uow: begin_follow_up(uow, request, digest, self._providers)
            )
            if not begun.is_to_be_sent:
                return await self._stored(begun, request, digest)
            # A whole void learns its amount in the first unit.
            amount = request.amount
            if amount is None:
                amount = Money(begun.row.amount_minor, begun.row.currency)
            order = FollowUpOrder(request.operation_id, parent_of(request), begun.parent_reference, amount)
            if begun.is_released:
                released = ProviderAnswer(Outcome.SUCCEEDED, begun.parent_reference)
                return result_of(await self._settle(begun.row, released))
            if begun.is_waiting or self._is_stale(begun.row):
                return result_of(begun.row)
            try:
                answer = await self._providers.named(begun.row.provider).follow_up(kind, order)
            except NoAnswerError:
                return result_of(begun.row)
            return result_of(await self._settle(begun.row, answer))

    async def _stored(self, begun: Begun, request: Request, digest: str) -> OperationResult:
        """Answer a repeat, a refusal, another request under a taken id, or a request that comes too late."""
        row = begun.row
        if row.state != OperationState.ABANDONED and row.request_digest != digest:
            return conflict(request.operation_id, kind_of(request), request.amount)
        return self._told(await self._resolve(row))

    def _told(self, row: Row) -> OperationResult:
        """Return what a caller gets to know; with an authorization how its provider lets it be used."""
        result = result_of(row)
        if row.kind != OperationKind.AUTHORIZE or row.state != OperationState.SUCCEEDED:
            return result
        able = self._providers.able(row.provider)
        if able is None:
            return result
        terms = terms_of(able, default=able is self._providers.default.capabilities)
        return result if terms is None else replace(result, terms=terms)

    async def _resolve(self, row: Row) -> Row:
        """Ask the provider what became of an operation whose record is not final."""
        state = OperationState(row.state)
        if is_terminal(state):
            return row
        try:
            provider = self._providers.named(row.provider)
            if row.refusal == WAITS:
                able = provider.capabilities
                decided = await self._store.read(lambda reader: waiting_void(reader, row, able))
                return row if decided is None else await self._settle(row, decided)
            answer = await provider.find(await self._lookup(row, provider.capabilities))
        except NoAnswerError:
            return row
        if answer is None:
            # A provider that once asked for an action and now knows nothing has only forgotten.
            if state is not OperationState.SENT or not self._absence_is_final(row, provider.capabilities):
                return row
            answer = ProviderAnswer(Outcome.FAILED, failure="provider.never_received")
        return await self._settle(row, answer)

    async def _lookup(self, row: Row, able: Capabilities) -> Lookup:
        parent = None
        if row.parent_id is not None and not able.lookup_fences:
            # Such a provider knows our ids only by going through what it has.
            parent = await self._read(OperationId(row.parent_id))
        return Lookup(
            OperationId(row.operation_id),
            OperationKind(row.kind),
            Money(row.amount_minor, row.currency),
            row.sent_at_ms,
            None if parent is None else parent.provider_reference,
        )

    def _absence_is_final(self, row: Row, able: Capabilities) -> bool:
        return able.lookup_fences or self._clock.now_ms() >= row.sent_at_ms + able.absent_is_final_after_ms

    def _is_stale(self, row: Row) -> bool:
        """Whether this process stood still for so long that others may have found the operation absent.

        It is not sent then; whoever asks is told what the look-up says.
        """
        if self._clock.now_ms() < row.sent_at_ms + self._deadline_ms:
            return False
        _log.warning("vault.not_sent_any_more", operation_id=row.operation_id)
        return True

    async def _call_off(self, row: Row, answer: ProviderAnswer) -> None:
        """Void an authorization that stands at the provider and has failed here: nobody knows of it."""
        void_id = self._ids.new(OperationId)
        order = FollowUpOrder(
            void_id,
            OperationId(row.operation_id),
            answer.reference,
            Money(row.amount_minor, row.currency),
        )
        _log.error("vault.called_off", operation_id=row.operation_id, void_id=void_id)
        try:
            await self._providers.named(row.provider).follow_up(OperationKind.VOID, order)
        except NoAnswerError:
            _log.error("vault.not_called_off", operation_id=row.operation_id, void_id=void_id)

    async def _settle(self, row: Row, answer: ProviderAnswer) -> Row:
        """Record the answer and return the row as it is then."""
        settled = await self._store.write(lambda uow: settle(uow, row, answer))
        if settled is not None and answer.outcome is Outcome.SUCCEEDED and settled.state in _NOT_DONE:
            _log.error("vault.late_success", operation_id=row.operation_id, kind=row.kind)
        if settled is None:
            # A void of an authorization whose action was open: see `settle`. Where the authorization stays
            # unknown the void does too, and both are asked about again.
            parent = await self._read(OperationId(row.parent_id))
            if parent is not None:
                await self._resolve(parent)
            settled = await self._store.write(lambda uow: settle(uow, row, answer))
        return row if settled is None else settled

    async def _read(self, operation_id: OperationId) -> Row | None:
        return await self._store.read(lambda reader: reader.row(GET, {"operation_id": operation_id}))
