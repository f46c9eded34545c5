"""Cash and other things that people collect: at the till, at the door, at the pickup counter.

Nothing is held: an authorization is a promise that is written down. A capture or refund waits until staff
confirm what was counted, so its answer is PENDING first; what was tendered, the change and the rounding are
kept apart for the books. The tables are in the vault's own database.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select, update

from gateway.kernel.errors import ConflictError, InvalidError, NotFoundError
from gateway.kernel.money import Money
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Store, UnitOfWork
from gateway.kernel.subjects import OperationId
from wallets.vault.inserts import insert_named
from wallets.vault.port import MethodKind, OperationKind
from wallets.vault.providers.cash_rounding import cash_amount
from wallets.vault.providers.port import (
    AuthorizeOrder,
    Capabilities,
    ClearCard,
    FollowUpOrder,
    Lookup,
    NoAnswerError,
    Outcome,
    PayoutOrder,
    ProviderAnswer,
)
from wallets.vault.tables import cash_operation as operation

NAME = "cash"
_ABSENT = "absent"
_WAITING = (OperationKind.CAPTURE, OperationKind.REFUND, OperationKind.PAYOUT)
"""Money changes hands, so somebody must say that it did."""

_GET = Statement(select(operation).where(operation.c.operation_id == bindparam("operation_id")))
_OPEN = Statement(
    select(operation)
    .where(operation.c.outcome == "pending")
    .order_by(operation.c.received_at_ms, operation.c.operation_id)
    .limit(1_000)
)
_INSERT = insert_named(operation, "operation_id kind parent_id amount_minor currency outcome received_at_ms")
_DECIDE = Statement(
    update(operation)
    .where(operation.c.operation_id == bindparam("operation_id_"), operation.c.outcome == "pending")
    .values(
        outcome=bindparam("outcome"),
        failure=bindparam("failure"),
        tendered_minor=bindparam("tendered_minor"),
        rounding_minor=bindparam("rounding_minor"),
        change_minor=bindparam("change_minor"),
        confirmed_by=bindparam("confirmed_by"),
        decided_at_ms=bindparam("decided_at_ms"),
    )
)


@dataclass(frozen=True, slots=True)
class Counted:
    """What staff confirmed. ``tendered - change = amount + rounding``; for a refund tendered is what left
    the drawer. The books post tender, change and rounding as lines of their own."""

    operation_id: OperationId
    kind: OperationKind
    amount: Money
    tendered: Money
    change: Money
    rounding: Money
    confirmed_by: str
    at_ms: int


class CashDesk:
    """`Provider` whose network is people. ``country`` says which rule of rounding applies."""

    def __init__(self, store: Store, *, country: str | None = None) -> None:
        self._store = store
        self._country = country
        self.capabilities = Capabilities(
            name=NAME,
            test_numbers=None,
            partial_capture=True,
            most_captures=1_000,
            partial_void=True,
            partial_refund=True,
            challenge=False,
            incremental_authorization=True,
            idempotency_key_kept_ms=10 * 365 * 86_400_000,
            lookup_fences=True,
            absent_is_final_after_ms=0,
            kinds=frozenset({MethodKind.CASH}),
            authorizes=False,
            by_hand=True,
            void_after_capture=True,
            unreferenced_refund=True,
            payout=True,
            moto=True,
            merchant_initiated=True,
            async_capture_result=True,
        )

    async def verify(self, card: ClearCard) -> ProviderAnswer:
        return ProviderAnswer(Outcome.FAILED, failure="provider.kind_not_taken")

    async def authorize(self, order: AuthorizeOrder) -> ProviderAnswer:
        return await self._receive(OperationKind.AUTHORIZE, order.operation_id, None, order.amount)

    async def capture(self, order: FollowUpOrder) -> ProviderAnswer:
        return await self._follow_up(OperationKind.CAPTURE, order)

    async def void(self, order: FollowUpOrder) -> ProviderAnswer:
        return await self._follow_up(OperationKind.VOID, order)

    async def refund(self, order: FollowUpOrder) -> ProviderAnswer:
        return await self._follow_up(OperationKind.REFUND, order)

    async def increment(self, order: FollowUpOrder) -> ProviderAnswer:
        return await self._follow_up(OperationKind.INCREMENT, order)

    async def payout(self, order: PayoutOrder) -> ProviderAnswer:
        return await self._receive(OperationKind.PAYOUT, order.operation_id, None, order.amount)

    async def find(self, lookup: Lookup) -> ProviderAnswer | None:
        def look(uow: UnitOfWork) -> Any:
            fence = _row(lookup.operation_id, None, None, None, _ABSENT, uow.now_ms)
            return None if uow.run(_INSERT, fence) else uow.row(_GET, fence)

        found = await self._store.write(look)
        return None if found is None or found.outcome == _ABSENT else _answer(found)

    async def confirm(self, operation_id: OperationId, tendered: Money, confirmed_by: str) -> Counted:
        """Record what was counted for a capture, refund or payout; the same again gives the same.

        Raises NotFoundError ``cash.unknown``; InvalidError ``cash.currency`` or ``cash.not_enough`` (data:
        what is owed in cash); ConflictError ``cash.decided`` when it was decided otherwise.
        """

        def count(uow: UnitOfWork) -> Counted:
            row = self._waiting(uow, operation_id)
            counted = self._counted(row, tendered, confirmed_by, uow.now_ms)
            decided = {
                "operation_id_": operation_id,
                "outcome": "succeeded",
                "failure": None,
                "tendered_minor": counted.tendered.amount_minor,
                "rounding_minor": counted.rounding.amount_minor,
                "change_minor": counted.change.amount_minor,
                "confirmed_by": confirmed_by,
                "decided_at_ms": uow.now_ms,
            }
            if uow.run(_DECIDE, decided):
                return counted
            if (row.outcome, row.tendered_minor, row.confirmed_by) != (
                "succeeded",
                tendered.amount_minor,
                confirmed_by,
            ):
                raise ConflictError("cash.decided", "This was decided already.")
            return _stored(row)

        return await self._store.write(count)

    async def decline(self, operation_id: OperationId, confirmed_by: str) -> None:
        """Record that nothing changed hands: the customer was not there, did not pay, does not want it.

        Raises as `confirm` does.
        """

        def refuse(uow: UnitOfWork) -> None:
            row = self._waiting(uow, operation_id)
            decided = {
                "operation_id_": operation_id,
                "outcome": "failed",
                "failure": "cash.not_collected",
                **dict.fromkeys(("tendered_minor", "rounding_minor", "change_minor")),
                "confirmed_by": confirmed_by,
                "decided_at_ms": uow.now_ms,
            }
            if not uow.run(_DECIDE, decided) and row.outcome != "failed":
                raise ConflictError("cash.decided", "This was decided already.")

        await self._store.write(refuse)

    async def waiting(self) -> list[tuple[OperationId, OperationKind, Money, Money]]:
        """Return what waits for staff, oldest first, with its amount in cash (at most 1000)."""
        rows = await self._store.read(lambda reader: reader.rows(_OPEN))
        return [
            (
                OperationId(row.operation_id),
                OperationKind(row.kind),
                Money(row.amount_minor, row.currency),
                cash_amount(Money(row.amount_minor, row.currency), self._country),
            )
            for row in rows
        ]

    async def counted(self, operation_id: OperationId) -> Counted | None:
        """Return what was confirmed of an operation, for the books; None where nothing was."""
        row = await self._store.read(lambda reader: reader.row(_GET, {"operation_id": operation_id}))
        return None if row is None or row.tendered_minor is None else _stored(row)

    async def close(self) -> None:
        """The store is the vault's, which closes it."""

    def _waiting(self, uow: UnitOfWork, operation_id: OperationId) -> Any:
        row = uow.row(_GET, {"operation_id": operation_id})
        if row is None or row.kind not in _WAITING:
            raise NotFoundError("cash.unknown", "No such collection.")
        return row

    def _counted(self, row: Any, tendered: Money, confirmed_by: str, now_ms: int) -> Counted:
        amount = Money(row.amount_minor, row.currency)
        owed = cash_amount(amount, self._country)
        if tendered.currency != owed.currency:
            raise InvalidError("cash.currency", f"This is in {owed.currency}.", param="$.tendered")
        gives_change = row.kind == OperationKind.CAPTURE
        if tendered < owed or (not gives_change and tendered != owed):
            raise InvalidError("cash.not_enough", f"It is {owed}.", data={"owed_minor": owed.amount_minor})
        return Counted(
            OperationId(row.operation_id),
            OperationKind(row.kind),
            amount,
            tendered,
            tendered - owed,
            owed - amount,
            confirmed_by,
            now_ms,
        )

    async def _follow_up(self, kind: OperationKind, order: FollowUpOrder) -> ProviderAnswer:
        return await self._receive(kind, order.operation_id, order.parent_id, order.amount)

    async def _receive(
        self, kind: OperationKind, operation_id: OperationId, parent_id: OperationId | None, amount: Money
    ) -> ProviderAnswer:
        def receive(uow: UnitOfWork) -> Any:
            outcome = "pending" if kind in _WAITING else "succeeded"
            row = _row(operation_id, kind, parent_id, amount, outcome, uow.now_ms)
            uow.run(_INSERT, row)
            return uow.row(_GET, row)

        row = await self._store.write(receive)
        if row.outcome == _ABSENT:
            return ProviderAnswer(Outcome.FAILED, failure="provider.refused_after_lookup")
        if (row.kind, row.parent_id, row.amount_minor, row.currency) != (
            kind.value,
            parent_id,
            amount.amount_minor,
            amount.currency,
        ):
            raise NoAnswerError("the operation id was used for another request")
        return _answer(row)


def _row(
    operation_id: OperationId,
    kind: OperationKind | None,
    parent_id: OperationId | None,
    amount: Money | None,
    outcome: str,
    now_ms: int,
) -> dict[str, Any]:
    return {
        "operation_id": operation_id,
        "kind": None if kind is None else kind.value,
        "parent_id": parent_id,
        "amount_minor": None if amount is None else amount.amount_minor,
        "currency": None if amount is None else amount.currency,
        "outcome": outcome,
        "received_at_ms": now_ms,
    }


def _answer(row: Any) -> ProviderAnswer:
    reference = f"cash_{row.operation_id.rpartition('_')[2]}"
    return ProviderAnswer(Outcome(row.outcome), reference, failure=row.failure)


def _stored(row: Any) -> Counted:
    return Counted(
        OperationId(row.operation_id),
        OperationKind(row.kind),
        Money(row.amount_minor, row.currency),
        Money(row.tendered_minor, row.currency),
        Money(row.change_minor, row.currency),
        Money(row.rounding_minor, row.currency),
        row.confirmed_by,
        row.decided_at_ms,
    )
