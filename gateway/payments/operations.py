"""Operations on the order side: written before their task, moved once by what the vault answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select, update

from gateway.kernel.documents import encode
from gateway.kernel.money import Money
from gateway.kernel.store.statements import Statement, insert_into
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.kernel.subjects import OperationId
from gateway.payments.intents import inline, sources
from gateway.payments.model import OPERATION_MOVES, OperationState
from gateway.payments.tables import payment_operation
from wallets.vault.port import OperationKind, OperationResult, OperationStatus

_FEW_HAVE = ("capture_before_ms", "network_transaction_id", "refund_id", "pay_link_id")
_INSERT = insert_into(payment_operation, without=_FEW_HAVE)
_INSERT_FOR = insert_into(payment_operation, without=_FEW_HAVE[:2])
_OF_AUTHORIZATIONS: dict[str, Any] = {
    "capture_before_ms": bindparam("new_capture_before_ms"),
    "network_transaction_id": bindparam("new_network_transaction_id"),
}
_RECORD = {
    state: Statement(
        update(payment_operation)
        .where(
            payment_operation.c.operation_id == bindparam("its_id"),
            payment_operation.c.state.in_(inline(sources(OPERATION_MOVES, state))),
        )
        .values(
            state=state.value,
            provider_reference=bindparam("new_reference"),
            detail=bindparam("new_detail"),
            updated_at_ms=bindparam("now_ms"),
            **(_OF_AUTHORIZATIONS if state is OperationState.SUCCEEDED else {}),
        )
        .returning(
            payment_operation.c.order_id,
            payment_operation.c.attempt_id,
            payment_operation.c.leg_id,
            payment_operation.c.kind,
            payment_operation.c.currency,
            payment_operation.c.amount_minor,
            payment_operation.c.target_operation_id,
            payment_operation.c.refund_id,
            payment_operation.c.pay_link_id,
        )
    )
    for state in OperationState
    if sources(OPERATION_MOVES, state)
}
_BY_ID = Statement(
    select(payment_operation).where(payment_operation.c.operation_id == bindparam("operation_id"))
)
_OF_ORDER = Statement(
    select(payment_operation)
    .where(payment_operation.c.order_id == bindparam("order_id"))
    .order_by(payment_operation.c.operation_id)
)
_SUCCEEDED = Statement(
    select(payment_operation.c.operation_id)
    .where(
        payment_operation.c.state == OperationState.SUCCEEDED.value,
        payment_operation.c.operation_id > bindparam("after"),
    )
    .order_by(payment_operation.c.operation_id)
    .limit(bindparam("most"))
)

STATE_OF_STATUS: dict[OperationStatus, OperationState] = {
    OperationStatus.SUCCEEDED: OperationState.SUCCEEDED,
    OperationStatus.DECLINED: OperationState.DECLINED,
    OperationStatus.REQUIRES_ACTION: OperationState.REQUIRES_ACTION,
    OperationStatus.FAILED: OperationState.FAILED,
    OperationStatus.REFUSED: OperationState.FAILED,
    OperationStatus.UNKNOWN: OperationState.UNKNOWN,
}
"""The one place where the vault's words become ours."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """An operation that has just moved, with what the vault said."""

    operation_id: str
    kind: OperationKind
    state: OperationState
    order_id: str
    attempt_id: str | None
    leg_id: str | None
    amount: Money
    target_operation_id: str | None
    result: OperationResult
    refund_id: str | None = None
    pay_link_id: str | None = None


def begin_operation(
    uow: UnitOfWork,
    operation_id: OperationId,
    kind: OperationKind,
    *,
    order_id: str,
    amount: Money,
    attempt_id: str | None = None,
    leg_id: str | None = None,
    target_operation_id: str | None = None,
    refund_id: str | None = None,
    pay_link_id: str | None = None,
) -> None:
    """Write the intent to ask; the caller enqueues the task that asks in the same unit."""
    row = {
        "operation_id": operation_id,
        "order_id": order_id,
        "attempt_id": attempt_id,
        "leg_id": leg_id,
        "kind": kind.value,
        "state": OperationState.CREATED.value,
        "currency": amount.currency,
        "amount_minor": amount.amount_minor,
        "target_operation_id": target_operation_id,
        "provider_reference": None,
        "detail": None,
        "created_at_ms": uow.now_ms,
        "updated_at_ms": uow.now_ms,
    }
    if refund_id is not None or pay_link_id is not None:
        uow.run(_INSERT_FOR, {**row, "refund_id": refund_id, "pay_link_id": pay_link_id})
    elif kind is OperationKind.AUTHORIZE and target_operation_id is None:
        # The first row of an attempt; nothing in its unit looks for it.
        uow.append(_INSERT, row)
    else:
        # The same unit may look at the order's operations to decide whether to begin another.
        uow.run(_INSERT, row)


def record_result(uow: UnitOfWork, result: OperationResult) -> Recorded | None:
    """Move the operation to what the vault answered; None when that was known already."""
    state = STATE_OF_STATUS[result.status]
    row = uow.row(
        _RECORD[state],
        {
            "its_id": result.operation_id,
            "new_reference": result.provider_reference,
            "new_detail": _detail(result),
            "now_ms": uow.now_ms,
            "new_capture_before_ms": result.capture_before_ms,
            "new_network_transaction_id": result.network_transaction_id,
        },
    )
    if row is None:
        return None
    return Recorded(
        result.operation_id,
        OperationKind(row.kind),
        state,
        row.order_id,
        row.attempt_id,
        row.leg_id,
        Money(row.amount_minor, row.currency),
        row.target_operation_id,
        result,
        row.refund_id,
        row.pay_link_id,
    )


def operation_row(reader: Reader, operation_id: str) -> Any | None:
    """Return the operation's row, or None."""
    return reader.row(_BY_ID, {"operation_id": operation_id})


def operations_of(reader: Reader, order_id: str) -> list[Any]:
    """Return the order's operations, oldest first."""
    return reader.rows(_OF_ORDER, {"order_id": order_id})


def succeeded_operations(reader: Reader, after: str, most: int) -> list[str]:
    """Return ids of operations that succeeded, page by page in their order."""
    return [row.operation_id for row in reader.rows(_SUCCEEDED, {"after": after, "most": most})]


def _detail(result: OperationResult) -> str | None:
    if result.decline is not None:
        decline = result.decline
        return encode(
            {"code": decline.code, "class": decline.decline_class.value, "message": decline.message}
        )
    if result.action is not None:
        return encode({"action_id": result.action.action_id, "path": result.action.path})
    if result.refusal is not None:
        return encode({"refusal": result.refusal})
    return None
