"""Beginning another attempt to pay for an order that waits for one."""

from __future__ import annotations

from gateway.kernel.errors import ConflictError
from gateway.kernel.store.unit import UnitOfWork
from gateway.kernel.subjects import OperationId
from gateway.orders.model import OrderState
from gateway.orders.placing import begin_attempt
from gateway.orders.purchase import Purchase
from gateway.orders.turns import take_turn
from gateway.payments import intents
from gateway.payments.model import IntentState
from gateway.payments.spending import Spending
from gateway.payments.step_up import asks_at_once, tried_of


def begin_payment(
    uow: UnitOfWork,
    purchase: Purchase,
    *,
    payment_method_id: str,
    vault_customer_id: str,
    device_id: str | None,
    action_ms: int,
    pay_link_id: str | None = None,
    spending: Spending | None = None,
) -> None:
    """Begin an attempt for what the order waits for: all of it, or in place of a lost authorization the rest.

    Raises ConflictError ``order.not_payable``: it waits for nothing, or for another attempt's answer, or its
    time is over.
    """
    intent = purchase.intent()
    operation_id = uow.new_id(OperationId)
    may_begin = (purchase.state is OrderState.PLACED or purchase.is_held) and not purchase.is_over
    turn = take_turn(purchase, operation_id) if may_begin else None
    if turn is None:
        raise ConflictError(
            "order.not_payable",
            "The order does not wait for another payment method.",
            data={"state": purchase.state.value, "payment": intent.state},
        )
    pay_until_ms = uow.now_ms + action_ms
    purchase.keep_for_attempt(pay_until_ms)
    tried = tried_of(intents.attempts_of(uow, purchase.order_id))
    begin_attempt(
        uow,
        intent_id=intent.intent_id,
        order_id=purchase.order_id,
        operation_id=operation_id,
        payment_method_id=payment_method_id,
        customer_id=vault_customer_id,
        merchant_id=purchase.merchant_id,
        channel=purchase.row.channel,
        place=purchase.row.place,
        device_id=device_id,
        total=turn.amount,
        pay_until_ms=pay_until_ms,
        request_challenge=asks_at_once(payment_method_id, tried),
        pay_link_id=pay_link_id,
        replaces=turn.replaces,
        spending=spending,
    )


def waits_for_payment(purchase: Purchase) -> bool:
    """Whether another attempt can begin now: the order is not paid for, and none is under way."""
    if purchase.is_over:
        return False
    intent = purchase.intent()
    if purchase.is_held:
        return intent.reauthorization_id is None
    return purchase.state is OrderState.PLACED and intent.state == IntentState.REQUIRES_PAYMENT_METHOD
