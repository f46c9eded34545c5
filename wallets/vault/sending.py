"""Sending operations to providers, each on one page.

An operation is two units with the provider call between them: the first records it as sent and takes what
it needs, the second records the answer. A crash or silence between the two leaves ``sent``, which
`Resolver.resolve` ends by asking the provider about the same id.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from gateway.kernel.money import Money
from gateway.kernel.store.unit import Store, UnitOfWork
from wallets.vault import methods
from wallets.vault.audit import Action, Actor, current_actor, note, note_use
from wallets.vault.authorizing import Begun, authorize_order, begin_authorize
from wallets.vault.crypto import RecordUnreadableError
from wallets.vault.follow_ups import begin_follow_up
from wallets.vault.in_flight import InFlight
from wallets.vault.kms import KeysUnavailableError, KeyUseError, Kms
from wallets.vault.model import FollowUp, OperationState, Request, kind_of, parent_of, request_digest
from wallets.vault.operation_rows import Row, conflict, result_of
from wallets.vault.passed_methods import SINGLE_USE
from wallets.vault.payouts import begin_payout, payout_order
from wallets.vault.port import Authorize, OperationKind, OperationResult, Payout, Reauthorize
from wallets.vault.providers.port import (
    AuthorizeOrder,
    Capabilities,
    ClearCard,
    FollowUpOrder,
    Instrument,
    NoAnswerError,
    Outcome,
    ProviderAnswer,
)
from wallets.vault.reauthorizing import agreement, begin_reauthorize, reauthorize_order
from wallets.vault.registry import Providers
from wallets.vault.resolving import NOT_DONE, Resolver
from wallets.vault.tokenizing import MethodStore

_log = structlog.get_logger("vitrine.vault")


class Sender:
    """Sends the operations of one vault. Each method answers a repeat with what is known."""

    def __init__(
        self,
        store: Store,
        providers: Providers,
        kms: Kms,
        into: MethodStore,
        resolver: Resolver,
        in_flight: InFlight,
    ) -> None:
        """``into`` keeps what an answer brings of a card."""
        self._store = store
        self._providers = providers
        self._kms = kms
        self._methods = into
        self._resolver = resolver
        self._in_flight = in_flight

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
                return result_of(await self._resolver.settle(begun.row, failed))
            if self._resolver.is_stale(begun.row):
                return result_of(begun.row)
            try:
                answer = await provider.authorize(order)
            except NoAnswerError:
                return result_of(begun.row)
            settled = await self._resolver.settle(begun.row, answer)
            if answer.outcome is Outcome.SUCCEEDED and settled.state in NOT_DONE:
                await self._resolver.call_off(settled, answer)
            if answer.account_reference is not None or answer.network_token is not None:
                await self._learn(actor, begun.method, order.card, answer)
            return self._resolver.told(settled)

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
            if self._resolver.is_stale(begun.row):
                return result_of(begun.row)
            try:
                answer = await self._providers.named(begun.row.provider).payout(order)
            except NoAnswerError:
                return result_of(begun.row)
            return result_of(await self._resolver.settle(begun.row, answer))

    async def follow_up(self, kind: OperationKind, request: FollowUp) -> OperationResult:
        """Capture, void, refund or increment."""
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
                return result_of(await self._resolver.settle(begun.row, released))
            if begun.is_waiting or self._resolver.is_stale(begun.row):
                return result_of(begun.row)
            try:
                answer = await self._providers.named(begun.row.provider).follow_up(kind, order)
            except NoAnswerError:
                return result_of(begun.row)
            return result_of(await self._resolver.settle(begun.row, answer))

    async def _stored(self, begun: Begun, request: Request, digest: str) -> OperationResult:
        """Answer a repeat, a refusal, another request under a taken id, or a request that comes too late."""
        row = begun.row
        if row.state != OperationState.ABANDONED and row.request_digest != digest:
            return conflict(request.operation_id, kind_of(request), request.amount)
        return self._resolver.told(await self._resolver.resolve(row))

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
        return await self._resolver.settle(row, ProviderAnswer(Outcome.FAILED, failure=failure))

    async def _taken_out(self, begun: Begun) -> bool:
        """Destroy the record of a method that pays once; False if that has happened already.

        Opened before, and only now: the cryptogram is in our hands for this one attempt and nowhere else
        from here on (V13), and it is not lost where it could not be opened.
        """
        method, dialect = begun.method, self._store.dialect
        return await self._store.write(
            lambda uow: methods.remove(uow, dialect, method.customer_id, method.payment_method_id)
        )

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
