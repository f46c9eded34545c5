"""The vault: each operation on one page, over the units and adapters beside it.

An operation is two units with the provider call between them: the first records it as sent and takes what
it needs, the second records the answer. A crash or silence between the two leaves ``sent``, which
`VaultService.operation` resolves by asking the provider about the same id.
"""

from __future__ import annotations

import structlog

from gateway.kernel.clock import Clock
from gateway.kernel.ids import IdSource
from gateway.kernel.money import Money
from gateway.kernel.store.unit import Store, UnitOfWork
from gateway.kernel.subjects import OperationId
from wallets.vault import allowances, methods, pages
from wallets.vault.authorizing import Begun, authorize_order, begin_authorize
from wallets.vault.crypto import RecordUnreadableError
from wallets.vault.follow_ups import begin_follow_up
from wallets.vault.in_flight import InFlight
from wallets.vault.kms import Kms
from wallets.vault.model import (
    FollowUp,
    OperationState,
    Request,
    is_terminal,
    kind_of,
    parent_of,
    request_digest,
)
from wallets.vault.operation_rows import GET, INSERT, Row, as_row, conflict, new_row, result_of
from wallets.vault.port import (
    AllowanceId,
    Authorize,
    Capture,
    CardEntry,
    OperationKind,
    OperationPage,
    OperationResult,
    Refund,
    StoredMethod,
    Void,
)
from wallets.vault.provider_calls import ProviderCalls
from wallets.vault.providers.port import FollowUpOrder, NoAnswerError, Outcome, Provider, ProviderAnswer
from wallets.vault.settling import settle
from wallets.vault.tokenizing import tokenize

_log = structlog.get_logger("vitrine.vault")


class VaultService:
    """`Vault` over a store, a provider and a KMS. It owns none of them: whoever built it closes them."""

    def __init__(
        self,
        store: Store,
        provider: Provider,
        kms: Kms,
        clock: Clock,
        ids: IdSource,
        *,
        kek_id: str,
        mac_key_id: str,
        deadline_ms: int = 10_000,
        settled_after_ms: int = pages.SETTLED_AFTER_MS,
    ) -> None:
        self._store = store
        self._provider = ProviderCalls(provider, deadline_ms)
        self._kms = kms
        self._clock = clock
        self._ids = ids
        self._kek_id = kek_id
        self._mac_key_id = mac_key_id
        self._settled_after_ms = settled_after_ms
        self._in_flight = InFlight()

    async def tokenize(self, customer_id: str, card: CardEntry) -> StoredMethod:
        return await tokenize(
            self._store,
            self._provider,
            self._kms,
            self._clock,
            self._ids,
            kek_id=self._kek_id,
            mac_key_id=self._mac_key_id,
            customer_id=customer_id,
            card=card,
        )

    async def methods(self, customer_id: str) -> list[StoredMethod]:
        rows = await self._store.read(
            lambda reader: reader.rows(methods.OF_CUSTOMER, {"customer_id": customer_id})
        )
        return [methods.stored_method(row) for row in rows]

    async def authorize(self, request: Authorize) -> OperationResult:
        digest = request_digest(request)
        async with self._in_flight.turn(request.operation_id):
            begun = await self._store.write(lambda uow: begin_authorize(uow, request, digest))
            if not begun.is_to_be_sent:
                return await self._stored(begun, request, digest)
            try:
                order = await authorize_order(self._kms, request, begun.method)
            except RecordUnreadableError as error:
                _log.error("vault.record_unreadable", operation_id=request.operation_id, reason=str(error))
                unreadable = ProviderAnswer(Outcome.FAILED, failure="vault.record_unreadable")
                return result_of(await self._settle(begun.row, unreadable))
            try:
                answer = await self._provider.authorize(order)
            except NoAnswerError:
                return result_of(begun.row)
            return result_of(await self._settle(begun.row, answer))

    async def capture(self, request: Capture) -> OperationResult:
        return await self._follow_up(OperationKind.CAPTURE, request)

    async def void(self, request: Void) -> OperationResult:
        return await self._follow_up(OperationKind.VOID, request)

    async def refund(self, request: Refund) -> OperationResult:
        return await self._follow_up(OperationKind.REFUND, request)

    async def operation(self, operation_id: OperationId) -> OperationResult | None:
        async with self._in_flight.turn(operation_id):
            row = await self._read(operation_id)
            return None if row is None else result_of(await self._resolve(row))

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
            return result_of(await self._resolve(await self._store.write(bury)))

    async def operations_since(self, cursor: str, limit: int) -> OperationPage:
        return await pages.operations_since(self._store, cursor, limit, self._settled_after_ms)

    async def revoke(self, allowance_id: AllowanceId) -> None:
        await self._store.write(lambda uow: allowances.revoke(uow, allowance_id))

    async def _follow_up(self, kind: OperationKind, request: FollowUp) -> OperationResult:
        digest = request_digest(request)
        async with self._in_flight.turn(request.operation_id):
            begun = await self._store.write(lambda uow: begin_follow_up(uow, request, digest))
            if not begun.is_to_be_sent:
                return await self._stored(begun, request, digest)
            # A whole void learns its amount in the first unit.
            amount = request.amount
            if amount is None:
                amount = Money(begun.row.amount_minor, begun.row.currency)
            order = FollowUpOrder(request.operation_id, parent_of(request), begun.parent_reference, amount)
            try:
                answer = await self._provider.follow_up(kind, order)
            except NoAnswerError:
                return result_of(begun.row)
            return result_of(await self._settle(begun.row, answer))

    async def _stored(self, begun: Begun, request: Request, digest: str) -> OperationResult:
        """Answer a repeat, a refusal, another request under a taken id, or a request that comes too late."""
        row = begun.row
        if row.state != OperationState.ABANDONED and row.request_digest != digest:
            return conflict(request.operation_id, kind_of(request), request.amount)
        return result_of(await self._resolve(row))

    async def _resolve(self, row: Row) -> Row:
        """Ask the provider what became of an operation whose record is not final."""
        state = OperationState(row.state)
        if is_terminal(state):
            return row
        try:
            answer = await self._provider.find(OperationId(row.operation_id))
        except NoAnswerError:
            return row
        if answer is None:
            # A provider that once asked for an action and now knows nothing has only forgotten.
            if state is not OperationState.SENT or not self._absence_is_final(row):
                return row
            answer = ProviderAnswer(Outcome.FAILED, failure="provider.never_received")
        return await self._settle(row, answer)

    def _absence_is_final(self, row: Row) -> bool:
        able = self._provider.capabilities
        return able.lookup_fences or self._clock.now_ms() >= row.sent_at_ms + able.absent_is_final_after_ms

    async def _settle(self, row: Row, answer: ProviderAnswer) -> Row:
        """Record the answer and return the row as it is then."""
        settled = await self._store.write(lambda uow: settle(uow, row, answer))
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
