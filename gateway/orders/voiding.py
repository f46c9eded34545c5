"""Releasing authorized money that no leg will capture."""

from __future__ import annotations

from gateway.kernel.money import Money
from gateway.kernel.subjects import OperationId
from gateway.kernel.tasks.queue import enqueue
from gateway.orders.purchase import Purchase
from gateway.payments import calls
from gateway.payments.model import OperationState
from gateway.payments.operations import begin_operation, operations_of
from wallets.vault.port import OperationKind


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
