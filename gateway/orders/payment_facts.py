"""Facts from the vault: what each answer means for the order. Called in the unit that ends the task."""

from __future__ import annotations

from functools import partial
from typing import Any

from gateway.kernel.documents import decode
from gateway.kernel.money import Money
from gateway.kernel.store.unit import UnitOfWork
from gateway.kernel.subjects import OperationId
from gateway.kernel.tasks.model import Task
from gateway.kernel.tasks.queue import enqueue
from gateway.orders import actions, books, capturing, collecting, process, reauthorizing, refunding, voiding
from gateway.orders.declining import reason_of, tell_declined
from gateway.orders.guardian_asking import REQUIRED, ask_guardian
from gateway.orders.guardian_yes import go_on_after_yes
from gateway.orders.model import OrderState
from gateway.orders.pay_links import link_paid
from gateway.orders.placing import begin_attempt
from gateway.orders.process import ProcessRules
from gateway.orders.purchase import Purchase, known_purchase, wire_money
from gateway.orders.turns import take_turn
from gateway.payments import calls, intents
from gateway.payments.model import AttemptState, IntentState, OperationState
from gateway.payments.operations import Recorded, operation_row, operations_of, record_result
from gateway.payments.provider_terms import terms_of, terms_text
from gateway.payments.spending import allowance_of, spending_of
from gateway.payments.step_up import asks_at_once, steps_up, tried_of
from wallets.vault.port import OperationKind, OperationResult, OperationStatus

_ASK_AGAIN_MS = 1_000
_ACTION_POLL_MS = 5_000
_MOST_TRIES = 3
"""Operations that are begun for one authorization, capture, void or refund before it counts as failed."""
_FIRST_WAIT_MS = 5_000
_LONGEST_WAIT_MS = 6 * 60 * 60_000
_SAID_NO = frozenset({capturing.EXPIRED, collecting.NOT_COLLECTED})
"""Failed for a reason that another try would meet again."""
_FREED_BY_VOID = frozenset(
    {"allowance.amount_exceeded", "allowance.uses_exceeded", "allowance.hour_exceeded", REQUIRED}
)
"""Refused for what another attempt holds: money and uses of an allowance, and a guardian's yes."""
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
            elif result.status is OperationStatus.UNKNOWN:
                _wait_on(uow, task)
            return
        purchase = known_purchase(uow, recorded.order_id)
        # Only what waited can have been challenged; nothing is looked up for an answer that came at once.
        waited = recorded.kind is OperationKind.AUTHORIZE and task.kind == calls.RESOLVE
        if waited and not actions.challenge_answered(purchase, recorded):
            return
        if recorded.state is OperationState.UNKNOWN:
            if _takes_its_time(purchase, recorded):
                ask_now_and_then(uow, recorded.order_id, recorded.operation_id)
                return
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
            case OperationKind.REFUND | OperationKind.PAYOUT:
                anew = recorded.state is OperationState.FAILED and _may_ask_anew(purchase, recorded)
                refunding.record_back(purchase, recorded, self._rules, ask_anew=anew)
            case OperationKind.INCREMENT:
                raise AssertionError("no order asks for an increment")

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
        uow, amount, terms = purchase.uow, recorded.amount, recorded.result.terms
        assert recorded.attempt_id is not None
        if recorded.target_operation_id is not None:
            self._replaced(purchase, recorded)
            return
        liability = recorded.result.liability
        intents.move_attempt(uow, recorded.attempt_id, AttemptState.AUTHORIZED, liability=liability)
        if not intents.add_authorized(uow, purchase.order_id, recorded.operation_id, amount.amount_minor):
            # The order was given up, or paid another way, while this answer was under way.
            voiding.void_once(purchase, recorded.operation_id, amount)
            return
        if terms is not None:
            text = terms_text(terms)
            assert text is not None
            intents.remember_terms(uow, purchase.order_id, recorded.operation_id, text)
        books.post_authorized(purchase, amount, self._rules.provider_of(terms), recorded.operation_id)
        purchase.tell("payment.authorized", operation_id=recorded.operation_id, amount=wire_money(amount))
        if recorded.pay_link_id is not None:
            link_paid(purchase, recorded)
        if uow.now_ms - purchase.row.created_at_ms > self._rules.renewal.look_after_ms // 2:
            # Paid for so late that the sweep may have passed.
            reauthorizing.plan_renewal(purchase, recorded.operation_id, self._rules.renewal)
        process.secured(purchase, self._rules)

    def record_due(self, uow: UnitOfWork, task: Task, _: None) -> None:
        """An authorization will run out soon."""
        purchase = known_purchase(uow, task.subject)
        reauthorizing.look(purchase, task.payload["authorization_id"], self._rules.renewal)

    def _replaced(self, purchase: Purchase, recorded: Recorded) -> None:
        rules = self._rules
        if reauthorizing.replaced(purchase, recorded, rules.renewal, rules.provider_of):
            if recorded.pay_link_id is not None:
                link_paid(purchase, recorded)
            process.settle(purchase, rules)

    def _action_required(self, purchase: Purchase, recorded: Recorded) -> None:
        uow = purchase.uow
        assert recorded.attempt_id is not None
        intents.move_attempt(uow, recorded.attempt_id, AttemptState.REQUIRES_ACTION)
        takes_place = recorded.target_operation_id is not None
        if takes_place and purchase.intent().reauthorization_id == recorded.operation_id:
            self._ask_customer(purchase, recorded)
            return
        if not intents.move_intent(uow, purchase.order_id, IntentState.REQUIRES_ACTION):
            voiding.void_once(purchase, recorded.operation_id, recorded.amount)
            return
        self._ask_customer(purchase, recorded)

    def _ask_customer(self, purchase: Purchase, recorded: Recorded) -> None:
        if recorded.pay_link_id is None:
            actions.ask_customer(purchase, recorded, self._rules)
        else:
            # Whoever pays through a link finds the challenge on its page; it is not the customer's.
            purchase.keep_for_attempt(purchase.uow.now_ms + actions.waits_ms(self._rules))
        self._wait_for_action(purchase.uow, purchase.order_id, recorded.result)

    def _wait_for_action(self, uow: UnitOfWork, order_id: str, result: OperationResult) -> None:
        """The hosted page wakes us; asking now and then is the safety net, and ends what takes too long."""
        row = operation_row(uow, result.operation_id)
        if row is None or row.state != OperationState.REQUIRES_ACTION:
            return
        if uow.now_ms >= row.updated_at_ms + actions.waits_ms(self._rules):
            actions.give_up_challenge(known_purchase(uow, order_id), row)
        ask_again(uow, order_id, result.operation_id, after_ms=_ACTION_POLL_MS)

    def _declined(self, purchase: Purchase, recorded: Recorded) -> None:
        uow, result = purchase.uow, recorded.result
        assert recorded.attempt_id is not None
        declined = recorded.state is OperationState.DECLINED
        reason = reason_of(result)
        if recorded.target_operation_id is not None:
            goes_on = partial(self._goes_on, purchase, recorded)
            reauthorizing.not_replaced(purchase, recorded, self._rules.renewal, reason, goes_on)
            return
        intents.move_attempt(
            uow, recorded.attempt_id, AttemptState.DECLINED if declined else AttemptState.FAILED, reason
        )
        if purchase.intent().authorization_id != recorded.operation_id:
            # Replaced by another authorization, which decides about the order.
            return
        if not intents.move_intent(uow, purchase.order_id, IntentState.REQUIRES_PAYMENT_METHOD):
            return
        if self._goes_on(purchase, recorded):
            return
        tell_declined(purchase, reason, purchase.extend_payment(uow.now_ms + self._rules.action_ms))

    def _goes_on(self, purchase: Purchase, recorded: Recorded) -> bool:
        """Whether more is done than to wait for another way: it is tried again, or a guardian is asked."""
        return (
            self._authorize_anew(purchase, recorded)
            or go_on_after_yes(purchase, self._rules)
            or ask_guardian(purchase, recorded, self._rules)
        )

    def _authorize_anew(self, purchase: Purchase, recorded: Recorded) -> bool:
        """Ask once more with the same method: when the request was lost on its way, so that nobody has said
        no, with a challenge when the issuer wants to see the customer, and a moment later when an earlier
        attempt had not given its allowance back."""
        uow, result = purchase.uow, recorded.result
        attempts = intents.attempts_of(uow, purchase.order_id)
        attempt = next(one for one in attempts if one.attempt_id == recorded.attempt_id)
        method_id = attempt.payment_method_id
        decline_class = None if result.decline is None else result.decline.decline_class
        challenge = steps_up(decline_class, method_id, tried_of(attempts))
        lost = result.status is OperationStatus.FAILED and _tries(purchase, recorded, attempts) < _MOST_TRIES
        too_early = result.refusal in _FREED_BY_VOID and voiding.met_void(purchase, attempt, attempts)
        if too_early and _refused_so(result.refusal, attempt, attempts) > _MOST_TRIES:
            return False
        if not lost and not challenge and not too_early:
            return False
        operation_id = uow.new_id(OperationId)
        turn = take_turn(purchase, operation_id)
        if turn is None:
            return False
        begin_attempt(
            uow,
            intent_id=purchase.intent().intent_id,
            order_id=purchase.order_id,
            operation_id=operation_id,
            payment_method_id=method_id,
            customer_id=attempt.payer or purchase.customer_id,
            merchant_id=purchase.merchant_id,
            channel=purchase.row.channel,
            place=purchase.row.place,
            device_id=purchase.row.device_id,
            total=turn.amount,
            pay_until_ms=purchase.keep_for_attempt(uow.now_ms + self._rules.action_ms),
            request_challenge=challenge or asks_at_once(method_id, tried_of(attempts)),
            pay_link_id=recorded.pay_link_id,
            replaces=turn.replaces,
            spending=spending_of(attempt),
            due_at_ms=uow.now_ms + _ASK_AGAIN_MS if too_early else None,
        )
        return True

    def _capture(self, purchase: Purchase, recorded: Recorded) -> None:
        rules = self._rules
        legs = capturing.legs_of_capture(purchase, recorded.operation_id, recorded.leg_id)
        if recorded.state is OperationState.SUCCEEDED:
            terms = intents.add_captured(purchase.uow, purchase.order_id, recorded.amount.amount_minor)
            if terms is None:
                process.captured(purchase, legs, rules, recorded.target_operation_id)
            else:
                collecting.captured(purchase, recorded, legs, rules)
                reauthorizing.used_up(purchase, rules.renewal)
            return
        legs = process.drop_lost(purchase, legs, rules)
        legs = process.drop_withdrawn(purchase, legs, rules)
        if recorded.result.refusal == capturing.EXPIRED:
            reauthorizing.renew_or_hold(purchase, rules.renewal, "authorization_expired")
        elif recorded.result.refusal == collecting.NOT_COLLECTED:
            collecting.refused(purchase, recorded, legs, rules)
        elif _may_ask_anew(purchase, recorded):
            process.capture_again(purchase, rules)
        else:
            process.capture_failed(purchase, legs, reason_of(recorded.result)["code"], rules)

    def _void(self, purchase: Purchase, recorded: Recorded) -> None:
        intent = purchase.intent()
        expired = recorded.result.refusal == capturing.EXPIRED
        if recorded.state is not OperationState.SUCCEEDED and not expired:
            if _may_ask_anew(purchase, recorded):
                assert recorded.target_operation_id is not None
                voiding.void(purchase, recorded.target_operation_id, recorded.amount)
                return
            late = recorded.target_operation_id != intent.authorization_id or not intent.authorized_minor
            if late and recorded.result.refusal in _NOTHING_TO_VOID:
                return
            purchase.tell("payment.stuck", task=calls.VOID)
            return
        # An authorization that the issuer has let go of is void without anybody's doing.
        uow = purchase.uow
        counted = recorded.target_operation_id == intent.authorization_id and intent.authorized_minor
        if not counted:
            # A late approval or a challenge that was given up: it never counted for the order.
            for attempt in intents.attempts_of(uow, purchase.order_id):
                if attempt.operation_id == recorded.target_operation_id:
                    intents.move_attempt(uow, attempt.attempt_id, AttemptState.VOIDED)
            voided = operation_row(uow, recorded.target_operation_id or "")
            if voided is not None and voided.state == OperationState.REQUIRES_ACTION:
                # A challenge that was called off with it: hear so now, not at the next look.
                ask_again(uow, purchase.order_id, voided.operation_id, after_ms=0)
            return
        intents.add_voided(uow, purchase.order_id, recorded.amount.amount_minor)
        assert recorded.target_operation_id is not None
        books.post_voided(purchase, recorded.amount, recorded.target_operation_id)
        purchase.tell("payment.voided", amount=wire_money(recorded.amount))


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


def ask_now_and_then(uow: UnitOfWork, order_id: str, operation_id: str, waited_ms: int = 0) -> None:
    """Ask about an operation that takes its time, each time after a longer while, for days if need be.

    Whoever decides it (a courier, a bank) is heard at once through the vault's list of changes; this is the
    net below.
    """
    wait_ms = min(max(2 * waited_ms, _FIRST_WAIT_MS), _LONGEST_WAIT_MS)
    payload = {"operation_id": operation_id, "abandon": False, "waited_ms": wait_ms}
    enqueue(uow, calls.RESOLVE, order_id, payload, due_at_ms=uow.now_ms + wait_ms)


def _wait_on(uow: UnitOfWork, task: Task) -> None:
    """Nothing new about an operation that takes its time."""
    waited_ms = task.payload.get("waited_ms")
    if waited_ms is not None:
        row = operation_row(uow, task.payload["operation_id"])
        if row is not None and row.state == OperationState.UNKNOWN:
            ask_now_and_then(uow, row.order_id, row.operation_id, waited_ms)


def _takes_its_time(purchase: Purchase, recorded: Recorded) -> bool:
    """Whether no answer is what is to be expected of this provider now."""
    if recorded.kind is OperationKind.AUTHORIZE:
        return False
    terms = terms_of(purchase.intent())
    return terms is not None and terms.async_capture_result


def _refused_so(code: str | None, attempt: Any, attempts: list[Any]) -> int:
    """Return how many attempts with the allowance of this one were refused with this code."""
    return sum(
        allowance_of(one) == allowance_of(attempt)
        and one.decline is not None
        and decode(one.decline)["code"] == code
        for one in attempts
    )


def _tries(purchase: Purchase, recorded: Recorded, attempts: list[Any]) -> int:
    """Return how many attempts there were: for a placed order all, in place of a lost authorization those
    with the same method. Renewals without the customer went before them."""
    if recorded.target_operation_id is None:
        return len(attempts)
    methods = {one.operation_id: one.payment_method_id for one in attempts}
    return sum(
        row.kind == OperationKind.AUTHORIZE
        and row.target_operation_id == recorded.target_operation_id
        and methods[row.operation_id] == methods[recorded.operation_id]
        for row in operations_of(purchase.uow, purchase.order_id)
    )


def _may_ask_anew(purchase: Purchase, recorded: Recorded) -> bool:
    """Whether a capture, void or refund that failed is asked for once more, under a new operation id.

    Failed is definite: nothing happened and nothing will under this id, mostly because the request was lost
    on its way and a look-up has fenced it. What was declined or refused by a rule is not asked again.
    """
    if recorded.result.status is not OperationStatus.FAILED:
        return False
    if recorded.result.refusal in _SAID_NO:
        return False
    tried = [
        row
        for row in operations_of(purchase.uow, purchase.order_id)
        if row.state == OperationState.FAILED
        and (row.kind, row.leg_id, row.target_operation_id, row.refund_id)
        == (recorded.kind, recorded.leg_id, recorded.target_operation_id, recorded.refund_id)
    ]
    return len(tried) < _MOST_TRIES


def amount_of(row: Any) -> Money:
    """Return the amount of an operation's row."""
    return Money(row.amount_minor, row.currency)
