"""Writing down what the provider answered, and everything that follows from it, in one unit.

Only the caller whose move changed the record lets the consequences follow, so an answer that arrives twice
(late reply and look-up) counts once.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, func, null, select, update

from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import UnitOfWork
from wallets.vault import allowances, attempts, delegated, guardian, reauthorizing
from wallets.vault.model import OperationState
from wallets.vault.operation_rows import GET, LOCKED, MOVE, UNANSWERED, Row
from wallets.vault.port import OperationKind
from wallets.vault.providers.port import Outcome, ProviderAnswer
from wallets.vault.tables import operation

_STATE_AFTER: dict[Outcome, OperationState] = {
    Outcome.SUCCEEDED: OperationState.SUCCEEDED,
    Outcome.DECLINED: OperationState.DECLINED,
    Outcome.REQUIRES_ACTION: OperationState.REQUIRES_ACTION,
    Outcome.FAILED: OperationState.FAILED,
}
_TAKEN = {
    OperationKind.CAPTURE: "captured_minor",
    OperationKind.VOID: "voided_minor",
    OperationKind.REFUND: "refunded_minor",
}
"""The column of the parent that an operation takes from when it begins."""

GIVE_BACK: dict[OperationKind, Statement] = {
    kind: Statement(
        update(operation)
        .where(operation.c.operation_id == bindparam("parent_id_"))
        .values({column: operation.c[column] - bindparam("taken")})
    )
    for kind, column in _TAKEN.items()
}
_RAISE = Statement(
    update(operation)
    .where(operation.c.operation_id == bindparam("parent_id_"))
    .values(
        amount_minor=operation.c.amount_minor + bindparam("added"),
        changed_at_ms=bindparam("changed_at_ms"),
        feed_no=null(),
    )
)
_VOIDED = Statement(
    select(func.coalesce(func.sum(operation.c.amount_minor), 0).label("amount_minor")).where(
        operation.c.parent_id == bindparam("parent_id"),
        operation.c.kind == OperationKind.VOID.value,
        operation.c.state == OperationState.SUCCEEDED.value,
    )
)


def settle(uow: UnitOfWork, row: Row, answer: ProviderAnswer) -> Row | None:
    """Move the operation as the provider answered and return the row as it is now.

    Returns None, and writes nothing, for the void of an authorization whose action is still open in our
    record: the authorization must be settled first. Only the provider knows whether the customer was
    faster, and that decides what is released.
    """
    target = _STATE_AFTER.get(answer.outcome)
    if target is None or target == row.state:
        return row
    parent = None
    if row.kind == OperationKind.VOID and target is OperationState.SUCCEEDED:
        # Locked, so that of two voids that settle together one sees them both.
        parent = uow.row(LOCKED, {"operation_id": row.parent_id})
        assert parent is not None
        if parent.state == OperationState.REQUIRES_ACTION:
            return None
    values = _values(target, answer)
    moved = uow.run(MOVE[target], {**values, "operation_id_": row.operation_id, "changed_at_ms": uow.now_ms})
    if not moved:
        return uow.row(GET, {"operation_id": row.operation_id})
    if target in (OperationState.DECLINED, OperationState.FAILED):
        _undo(uow, row)
        if answer.decline is not None and row.kind == OperationKind.AUTHORIZE:
            attempts.declined(uow, row, answer.decline)
    elif row.kind == OperationKind.INCREMENT:
        uow.run(
            _RAISE,
            {"parent_id_": row.parent_id, "added": row.amount_minor, "changed_at_ms": uow.now_ms},
        )
    elif parent is not None and parent.state == OperationState.SUCCEEDED:
        _release(uow, row, parent)
    elif row.kind == OperationKind.AUTHORIZE and target is OperationState.SUCCEEDED:
        if row.parent_id is not None:
            reauthorizing.take_over(uow, row)
        elif answer.capture_before_ms is not None:
            # A delegated token is used up: its card is kept for as long as this can be captured.
            delegated.end(uow, row.allowance_id, answer.capture_before_ms)
    return row._replace(**{**UNANSWERED, **values}, state=target.value, changed_at_ms=uow.now_ms)


def _undo(uow: UnitOfWork, row: Row) -> None:
    """Nothing happened: give back what beginning the operation took."""
    if row.kind == OperationKind.AUTHORIZE and row.parent_id is not None:
        reauthorizing.undo(uow, row)
    elif row.kind == OperationKind.AUTHORIZE:
        allowances.give_back(uow, row.allowance_id, row.amount_minor, uses=1)
        if row.approval_id is not None:
            guardian.free(uow, row.approval_id, row.operation_id)
    elif row.kind == OperationKind.INCREMENT:
        allowances.give_back(uow, row.allowance_id, row.amount_minor, uses=0)
    elif row.kind != OperationKind.PAYOUT:
        uow.run(GIVE_BACK[OperationKind(row.kind)], {"parent_id_": row.parent_id, "taken": row.amount_minor})


def _release(uow: UnitOfWork, row: Row, authorization: Row) -> None:
    """A void gives its amount back to the allowance, and the use once all of the authorization is void.

    A replaced authorization and its successor are one use, which is not given back.
    """
    if authorization.replaced_minor is not None:
        back = reauthorizing.release_replaced(uow, authorization, row.amount_minor)
        if back:
            allowances.give_back(uow, authorization.allowance_id, back, uses=0)
        return
    voided = uow.row(_VOIDED, {"parent_id": row.parent_id})
    assert voided is not None
    whole = voided.amount_minor == authorization.amount_minor and authorization.parent_id is None
    allowances.give_back(uow, authorization.allowance_id, row.amount_minor, uses=1 if whole else 0)
    if authorization.hour_minor is not None:
        allowances.give_hour_back(uow, authorization.operation_id, row.amount_minor)


def _values(target: OperationState, answer: ProviderAnswer) -> dict[str, Any]:
    """Return the columns that an answer leading to this state brings with it."""
    match target:
        case OperationState.REQUIRES_ACTION:
            assert answer.action is not None, "an adapter names the action it requires"
            return {
                "provider_reference": answer.reference,
                "network_transaction_id": answer.network_transaction_id,
                "capture_before_ms": answer.capture_before_ms,
                "action_id": answer.action.action_id,
                "action_path": answer.action.path,
            }
        case OperationState.SUCCEEDED:
            return {
                "provider_reference": answer.reference,
                "network_transaction_id": answer.network_transaction_id,
                "capture_before_ms": answer.capture_before_ms,
                "account_reference": answer.account_reference,
                "liability": answer.liability,
            }
        case OperationState.DECLINED:
            assert answer.decline is not None, "an adapter names the decline"
            return {
                "provider_reference": answer.reference,
                "decline_code": answer.decline.code,
                "decline_class": answer.decline.decline_class.value,
                "decline_advice": answer.decline.advice,
            }
        case _:
            return {"provider_reference": answer.reference, "refusal": answer.failure}
