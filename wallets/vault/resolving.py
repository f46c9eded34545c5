"""What becomes of an operation: the provider's answer is recorded, or the provider is asked for it."""

from __future__ import annotations

import structlog

from gateway.kernel.clock import Clock
from gateway.kernel.ids import IdSource
from gateway.kernel.money import Money
from gateway.kernel.store.unit import Store
from gateway.kernel.subjects import OperationId
from wallets.vault.follow_ups import waiting_void
from wallets.vault.model import OperationState, is_terminal
from wallets.vault.operation_rows import GET, WAITS, Row, result_of
from wallets.vault.port import OperationKind, OperationResult
from wallets.vault.providers.port import (
    Capabilities,
    FollowUpOrder,
    Lookup,
    NoAnswerError,
    Outcome,
    ProviderAnswer,
)
from wallets.vault.registry import Providers
from wallets.vault.settling import settle

_log = structlog.get_logger("vitrine.vault")
NOT_DONE = (OperationState.DECLINED, OperationState.FAILED)


class Resolver:
    """Settles operations of one vault. ``deadline_ms`` is how long a call to a provider may take."""

    def __init__(
        self, store: Store, providers: Providers, clock: Clock, ids: IdSource, deadline_ms: int
    ) -> None:
        self._store = store
        self._providers = providers
        self._clock = clock
        self._ids = ids
        self._deadline_ms = deadline_ms

    async def read(self, operation_id: OperationId) -> Row | None:
        """Return the record of an operation."""
        return await self._store.read(lambda reader: reader.row(GET, {"operation_id": operation_id}))

    def told(self, row: Row) -> OperationResult:
        """Return what a caller gets to know; with an authorization how its provider lets it be used."""
        if row.kind == OperationKind.AUTHORIZE and row.state == OperationState.SUCCEEDED:
            return result_of(row, self._providers.terms(row.provider))
        return result_of(row)

    async def resolve(self, row: Row) -> Row:
        """Ask the provider what became of an operation whose record is not final."""
        state = OperationState(row.state)
        if is_terminal(state):
            return row
        try:
            provider = self._providers.named(row.provider)
            if row.refusal == WAITS:
                able = provider.capabilities
                decided = await self._store.read(lambda reader: waiting_void(reader, row, able))
                return row if decided is None else await self.settle(row, decided)
            answer = await provider.find(await self._lookup(row, provider.capabilities))
        except NoAnswerError:
            return row
        if answer is None:
            # A provider that once asked for an action and now knows nothing has only forgotten.
            if state is not OperationState.SENT or not self._absence_is_final(row, provider.capabilities):
                return row
            answer = ProviderAnswer(Outcome.FAILED, failure="provider.never_received")
        return await self.settle(row, answer)

    async def _lookup(self, row: Row, able: Capabilities) -> Lookup:
        parent = None
        if row.parent_id is not None and not able.lookup_fences:
            # Such a provider knows our ids only by going through what it has.
            parent = await self.read(OperationId(row.parent_id))
        return Lookup(
            OperationId(row.operation_id),
            OperationKind(row.kind),
            Money(row.amount_minor, row.currency),
            row.sent_at_ms,
            None if parent is None else parent.provider_reference,
        )

    def _absence_is_final(self, row: Row, able: Capabilities) -> bool:
        return able.lookup_fences or self._clock.now_ms() >= row.sent_at_ms + able.absent_is_final_after_ms

    def is_stale(self, row: Row) -> bool:
        """Whether this process stood still for so long that others may have found the operation absent.

        It is not sent then; whoever asks is told what the look-up says.
        """
        if self._clock.now_ms() < row.sent_at_ms + self._deadline_ms:
            return False
        _log.warning("vault.not_sent_any_more", operation_id=row.operation_id)
        return True

    async def call_off(self, row: Row, answer: ProviderAnswer) -> None:
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

    async def settle(self, row: Row, answer: ProviderAnswer) -> Row:
        """Record the answer and return the row as it is then."""
        settled = await self._store.write(lambda uow: settle(uow, row, answer))
        if settled is not None and answer.outcome is Outcome.SUCCEEDED and settled.state in NOT_DONE:
            _log.error("vault.late_success", operation_id=row.operation_id, kind=row.kind)
        if settled is None:
            # A void of an authorization whose action was open: see `settle`. Where the authorization stays
            # unknown the void does too, and both are asked about again.
            parent = await self.read(OperationId(row.parent_id))
            if parent is not None:
                await self.resolve(parent)
            settled = await self._store.write(lambda uow: settle(uow, row, answer))
        return row if settled is None else settled
