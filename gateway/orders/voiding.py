"""Releasing authorized money that no leg will capture."""

from __future__ import annotations

from typing import Any

from gateway.kernel.money import Money
from gateway.kernel.subjects import OperationId
from gateway.kernel.tasks.queue import enqueue
from gateway.orders.purchase import Purchase
from gateway.payments import calls
from gateway.payments.model import OperationState
from gateway.payments.operations import begin_operation, operations_of
from gateway.payments.spending import allowance_of
from wallets.vault.port import OperationKind

_ENDED = frozenset({OperationState.SUCCEEDED, OperationState.DECLINED, OperationState.FAILED})


def void_rest(purchase: Purchase) -> None:
    """No leg needs money any more: release what is authorized and not captured, once."""
    intent = purchase.intent()
    rest = intent.authorized_minor - intent.captured_minor - intent.voided_minor
    if rest > 0:
        void_once(purchase, intent.authorization_id, Money(rest, purchase.currency))


def void_once(purchase: Purchase, authorization_id: str, amount: Money) -> None:
    """Release an amount of an authorization, unless that is under way or done.

    What was tried in vain does not count: the issuer may have approved since, and holds the money now.
    """
    operations = operations_of(purchase.uow, purchase.order_id)
    if not any(
        row.kind == OperationKind.VOID
        and row.target_operation_id == authorization_id
        and row.state not in (OperationState.FAILED, OperationState.DECLINED)
        for row in operations
    ):
        void(purchase, authorization_id, amount)


def void(purchase: Purchase, authorization_id: str, amount: Money) -> None:
    """Release an amount of an authorization."""
    operation_id = purchase.uow.new_id(OperationId)
    begin_operation(
        purchase.uow,
        operation_id,
        OperationKind.VOID,
        order_id=purchase.order_id,
        amount=amount,
        target_operation_id=authorization_id,
    )
    enqueue(
        purchase.uow,
        calls.VOID,
        purchase.order_id,
        calls.settle_payload(operation_id, authorization_id, amount),
    )


def met_void(purchase: Purchase, attempt: Any, attempts: list[Any]) -> bool:
    """Whether the release of another attempt with the same allowance had not ended when this one began."""
    allowance_id = allowance_of(attempt)
    if allowance_id is None:
        return False
    others = {one.operation_id for one in attempts if allowance_of(one) == allowance_id}
    return any(
        row.kind == OperationKind.VOID
        and row.target_operation_id in others
        and (row.state not in _ENDED or row.updated_at_ms >= attempt.created_at_ms)
        for row in operations_of(purchase.uow, purchase.order_id)
    )
