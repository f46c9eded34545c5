"""Facts from the vault: what each answer means for the order. Called in the unit that ends the task."""

from __future__ import annotations

from typing import Any

from gateway.kernel.clock import rfc3339
from gateway.kernel.money import Money
from gateway.kernel.store.unit import UnitOfWork
from gateway.kernel.subjects import OperationId
from gateway.kernel.tasks.model import Task
from gateway.kernel.tasks.queue import enqueue
from gateway.orders import books, process
from gateway.orders.model import OrderState
from gateway.orders.placing import begin_attempt
from gateway.orders.process import ProcessRules
from gateway.orders.purchase import Purchase, known_purchase, wire_money
from gateway.payments import calls, intents
from gateway.payments.methods import methods_of
from gateway.payments.model import AttemptState, IntentState, OperationState
from gateway.payments.operations import Recorded, operation_row, operations_of, record_result
from wallets.vault.port import DeclineClass, OperationKind, OperationResult, OperationStatus

_ASK_AGAIN_MS = 1_000
_ACTION_POLL_MS = 5_000
_MOST_TRIES = 3
"""Operations that are begun for one authorization, capture, void or refund before it counts as failed."""
_NOTHING_TO_VOID = frozenset({"vault.nothing_open", "vault.authorization_not_open"})
"""The authorization has ended by itself, or another void was faster."""


class PaymentFacts:
    """Records what the vault answered."""

    def __init__(self, rules: ProcessRules) -> None:
        self._rules = rules

    def record(self, uow: UnitOfWork, task: Task, result: OperationResult) -> None:
        """Record the answer to any payment task. An answer that is known already changes nothing."""
        recorded = record_result(uow, result)
        if recorded is None:
            if result.status is OperationStatus.REQUIRES_ACTION:
                self._wait_for_action(uow, task.subject, result)
            return
        purchase = known_purchase(uow, recorded.order_id)
        if recorded.state is OperationState.UNKNOWN:
            ask_again(uow, recorded.order_id, recorded.operation_id)
            purchase.tell("payment.unknown", operation_id=recorded.operation_id)
            return
        match recorded.kind:
            case OperationKind.AUTHORIZE:
                self._authorization(purchase, recorded)
            case OperationKind.CAPTURE:
                self._capture(purchase, recorded)
            case OperationKind.VOID:
                self._void(purchase, recorded)
            case OperationKind.REFUND:
                self._refund(purchase, recorded)

    def parked(self, uow: UnitOfWork, task: Task, error: str) -> None:
        """Attempts ran out: the order says so, and an operator sees the task."""
        known_purchase(uow, task.subject).tell("payment.stuck", task=task.kind)

    def record_free(self, uow: UnitOfWork, task: Task, _: None) -> None:
        """An order that costs nothing is secured as soon as it is placed."""
        purchase = known_purchase(uow, task.subject)
        if purchase.state is OrderState.PLACED:
            intents.move_intent(uow, purchase.order_id, IntentState.REQUIRES_CAPTURE)
            intents.move_intent(uow, purchase.order_id, IntentState.SUCCEEDED)
            process.secured(purchase, self._rules)

    def _authorization(self, purchase: Purchase, recorded: Recorded) -> None:
        assert recorded.attempt_id is not None
        match recorded.state:
            case OperationState.SUCCEEDED:
                self._authorized(purchase, recorded)
            case OperationState.REQUIRES_ACTION:
                self._action_required(purchase, recorded)
            case OperationState.DECLINED | OperationState.FAILED:
                self._declined(purchase, recorded)
            case _:
                raise AssertionError(recorded.state)

    def _authorized(self, purchase: Purchase, recorded: Recorded) -> None:
        uow, amount = purchase.uow, recorded.amount
        assert recorded.attempt_id is not None
        intents.move_attempt(uow, recorded.attempt_id, AttemptState.AUTHORIZED)
        if not intents.add_authorized(uow, purchase.order_id, recorded.operation_id, amount.amount_minor):
            # The order was given up, or paid another way, while this answer was under way.
            process.void_once(purchase, recorded.operation_id, amount)
            return
        books.post_authorized(purchase, amount)
        purchase.tell("payment.authorized", operation_id=recorded.operation_id, amount=wire_money(amount))
        process.secured(purchase, self._rules)

    def _action_required(self, purchase: Purchase, recorded: Recorded) -> None:
        uow, action = purchase.uow, recorded.result.action
        assert recorded.attempt_id is not None and action is not None
        intents.move_attempt(uow, recorded.attempt_id, AttemptState.REQUIRES_ACTION)
        if not intents.move_intent(uow, purchase.order_id, IntentState.REQUIRES_ACTION):
            process.void_once(purchase, recorded.operation_id, recorded.amount)
            return
        purchase.extend_payment(uow.now_ms + self._rules.action_ms)
        purchase.tell(
            "payment.action_required",
            action_id=action.action_id,
            url=f"{self._rules.base_url}{action.path}",
        )
        self._wait_for_action(uow, purchase.order_id, recorded.result)

    def _wait_for_action(self, uow: UnitOfWork, order_id: str, result: OperationResult) -> None:
        """The hosted page wakes us; asking from time to time is the safety net."""
        row = operation_row(uow, result.operation_id)
        if row is not None and row.state == OperationState.REQUIRES_ACTION:
            ask_again(uow, order_id, result.operation_id, after_ms=_ACTION_POLL_MS)

    def _declined(self, purchase: Purchase, recorded: Recorded) -> None:
        uow, result = purchase.uow, recorded.result
        assert recorded.attempt_id is not None
        declined = recorded.state is OperationState.DECLINED
        reason = _reason(result)
        intents.move_attempt(
            uow, recorded.attempt_id, AttemptState.DECLINED if declined else AttemptState.FAILED, reason
        )
        if not intents.move_intent(uow, purchase.order_id, IntentState.REQUIRES_PAYMENT_METHOD):
            return
        if self._authorize_anew(purchase, recorded):
            return
        pay_until_ms = uow.now_ms + self._rules.action_ms
        pay_until_ms = purchase.extend_payment(pay_until_ms)
        purchase.tell(
            "payment.declined",
            decline_class=reason["class"],
            code=reason["code"],
            message=reason["message"],
            alternatives=_alternatives(purchase),
            pay_until=rfc3339(pay_until_ms),
        )

    def _authorize_anew(self, purchase: Purchase, recorded: Recorded) -> bool:
        """Ask once more with the same method when the request was lost on its way: nobody has said no."""
        uow = purchase.uow
        attempts = intents.attempts_of(uow, purchase.order_id)
        lost = recorded.result.status is OperationStatus.FAILED
        if not lost or len(attempts) >= _MOST_TRIES:
            return False
        method_id = next(one.payment_method_id for one in attempts if one.attempt_id == recorded.attempt_id)
        operation_id = uow.new_id(OperationId)
        if not intents.try_again(uow, purchase.order_id, operation_id):
            return False
        begin_attempt(
            uow,
            intent_id=purchase.intent().intent_id,
            order_id=purchase.order_id,
            operation_id=operation_id,
            payment_method_id=method_id,
            customer_id=purchase.customer_id,
            merchant_id=purchase.merchant_id,
            channel=purchase.row.channel,
            place=purchase.row.place,
            device_id=purchase.row.device_id,
            total=purchase.total,
            pay_until_ms=purchase.extend_payment(uow.now_ms + self._rules.action_ms),
        )
        return True

    def _capture(self, purchase: Purchase, recorded: Recorded) -> None:
        assert recorded.leg_id is not None
        leg = purchase.leg(recorded.leg_id)
        if recorded.state is OperationState.SUCCEEDED:
            intents.add_captured(purchase.uow, purchase.order_id, recorded.amount.amount_minor)
            process.captured(purchase, leg, self._rules)
        elif _may_ask_anew(purchase, recorded):
            process.capture_leg(purchase, leg, self._rules)
        else:
            process.capture_failed(purchase, leg, _reason(recorded.result)["code"], self._rules)

    def _void(self, purchase: Purchase, recorded: Recorded) -> None:
        if recorded.state is not OperationState.SUCCEEDED:
            if _may_ask_anew(purchase, recorded):
                assert recorded.target_operation_id is not None
                process.void(purchase, recorded.target_operation_id, recorded.amount)
                return
            intent = purchase.intent()
            late = recorded.target_operation_id != intent.authorization_id or not intent.authorized_minor
            if late and recorded.result.refusal in _NOTHING_TO_VOID:
                return
            purchase.tell("payment.stuck", task=calls.VOID)
            return
        uow, intent = purchase.uow, purchase.intent()
        counted = recorded.target_operation_id == intent.authorization_id and intent.authorized_minor
        if not counted:
            # A late approval or a challenge that was given up: it never counted for the order.
            for attempt in intents.attempts_of(uow, purchase.order_id):
                if attempt.operation_id == recorded.target_operation_id:
                    intents.move_attempt(uow, attempt.attempt_id, AttemptState.VOIDED)
            return
        intents.add_voided(uow, purchase.order_id, recorded.amount.amount_minor)
        books.post_voided(purchase, recorded.amount)
        purchase.tell("payment.voided", amount=wire_money(recorded.amount))

    def _refund(self, purchase: Purchase, recorded: Recorded) -> None:
        assert recorded.leg_id is not None
        leg = purchase.leg(recorded.leg_id)
        if recorded.state is not OperationState.SUCCEEDED:
            if _may_ask_anew(purchase, recorded):
                process.refund_leg(purchase, leg, self._rules)
                return
            purchase.tell("payment.stuck", task=calls.REFUND)
            return
        intents.add_refunded(purchase.uow, purchase.order_id, recorded.amount.amount_minor)
        books.post_refunded(purchase, leg, self._rules.provider)
        purchase.tell("payment.refunded", leg_id=leg.leg_id, amount=wire_money(recorded.amount))
        process.returned(purchase, leg, self._rules)


def ask_again(
    uow: UnitOfWork, order_id: str, operation_id: str, *, after_ms: int = _ASK_AGAIN_MS, abandon: bool = False
) -> None:
    """Write the task that asks the vault how an operation stands; ``abandon`` leaves a tombstone for it."""
    enqueue(
        uow,
        calls.RESOLVE,
        order_id,
        {"operation_id": operation_id, "abandon": abandon},
        due_at_ms=uow.now_ms + after_ms,
    )


def _may_ask_anew(purchase: Purchase, recorded: Recorded) -> bool:
    """Whether a capture, void or refund that failed is asked for once more, under a new operation id.

    Failed is definite: nothing happened and nothing will under this id, mostly because the request was lost
    on its way and a look-up has fenced it. What was declined or refused by a rule is not asked again.
    """
    if recorded.result.status is not OperationStatus.FAILED:
        return False
    tried = [
        row
        for row in operations_of(purchase.uow, purchase.order_id)
        if (row.kind, row.leg_id, row.target_operation_id)
        == (recorded.kind, recorded.leg_id, recorded.target_operation_id)
    ]
    return len(tried) < _MOST_TRIES


def _reason(result: OperationResult) -> dict[str, Any]:
    if result.decline is not None:
        decline = result.decline
        return {"class": decline.decline_class.value, "code": decline.code, "message": decline.message}
    # Failed: the request was lost, and the same method may work. Refused: a rule of the vault.
    failed = result.status is OperationStatus.FAILED
    return {
        "class": (DeclineClass.SOFT_RETRY_LATER if failed else DeclineClass.FIX_DATA).value,
        "code": result.refusal or "failed",
        "message": "The payment could not be made.",
    }


def _alternatives(purchase: Purchase) -> list[dict[str, Any]]:
    """The customer's other stored methods, without those that were declined for this order."""
    tried = {attempt.payment_method_id for attempt in intents.attempts_of(purchase.uow, purchase.order_id)}
    return [
        {
            "kind": "stored_method",
            "payment_method_id": method.payment_method_id,
            "brand": method.brand,
            "last4": method.last4,
        }
        for method in methods_of(purchase.uow, purchase.customer_id)
        if method.payment_method_id not in tried
    ]


def amount_of(row: Any) -> Money:
    """Return the amount of an operation's row."""
    return Money(row.amount_minor, row.currency)
