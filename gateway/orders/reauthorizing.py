"""An authorization that runs out, or is used up, before everything has shipped: authorized anew, or held.

    due in time -> authorize what is still needed, without the customer (network transaction id)
                     |                                  |
                     v                                  v
                 replaced: the old one is voided    declined: what is on its way still can be captured;
                 and the legs go on                 once it cannot, the rest of the order is held
                                                        |                   |
                                                        v                   v
                                                  another method       given up in time
                                                  (order.pay)

Nothing is counted twice: the intent's amounts stay, its authorization changes by compare-and-set, and what is
open of the old one is voided without counting. While a capture is under way nothing is replaced, and while a
replacement is under way nothing is captured: what is asked for is exactly what is still needed.

A declined re-authorization holds what has not shipped, never what was paid for already (P6).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.kernel.clock import rfc3339
from gateway.kernel.money import Money
from gateway.kernel.subjects import OperationId
from gateway.kernel.tasks.queue import enqueue
from gateway.orders import books, capturing, voiding
from gateway.orders.alternatives import alternatives
from gateway.orders.declining import tell_declined
from gateway.orders.purchase import Purchase, wire_money
from gateway.payments import calls, intents
from gateway.payments.model import AttemptState, IntentState
from gateway.payments.operations import Recorded, begin_operation, operation_row, operations_of
from gateway.payments.provider_terms import terms_of, terms_text
from gateway.payments.spending import spending_of
from wallets.vault.port import DeclineClass, OperationKind, OperationStatus

RENEW = "payment.renew"
"""The task that looks at an authorization before it runs out. It has no effect on the outside itself."""

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_SOON_MS = 60_000


@dataclass(frozen=True, slots=True)
class RenewalRules:
    """When an authorization is renewed, and how long an order waits for another method."""

    margin_ms: int = _DAY_MS
    """How long before its end an authorization is replaced."""
    look_after_ms: int = 12 * _HOUR_MS
    """How old an open intent is when it is looked at first; far less than any authorization lasts (P5: the
    shortest are two days)."""
    retry_ms: int = 6 * _HOUR_MS
    most_tries: int = 4
    """For one authorization; the networks' own caps are held by the vault."""
    hold_ms: int = 3 * _DAY_MS


def plan_renewal(purchase: Purchase, operation_id: str, rules: RenewalRules) -> None:
    """Write the task that looks at an authorization in time; one that never runs out needs none."""
    row = operation_row(purchase.uow, operation_id)
    if row is not None and row.capture_before_ms is not None:
        _look_again(purchase, operation_id, row.capture_before_ms - rules.margin_ms)


def look(purchase: Purchase, authorization_id: str, rules: RenewalRules) -> None:
    """Replace an authorization that is about to run out, if anything still needs it."""
    uow, intent = purchase.uow, purchase.intent()
    if intent.authorization_id != authorization_id or intent.state != IntentState.REQUIRES_CAPTURE:
        return
    if purchase.is_held or intent.reauthorization_id is not None or not capturing.needed(purchase):
        return
    if capturing.in_flight(operations_of(uow, purchase.order_id)):
        _look_again(purchase, authorization_id, uow.now_ms + _SOON_MS)
    elif not renew(purchase, rules):
        row = operation_row(uow, authorization_id)
        assert row is not None
        if row.capture_before_ms is None or row.capture_before_ms <= uow.now_ms:
            hold(purchase, rules, "authorization_expired")
        else:
            _look_again(purchase, authorization_id, row.capture_before_ms)


def capture_or_renew(purchase: Purchase, rules: RenewalRules) -> None:
    """Ask for the shares that wait, by a new authorization where the present one is used up."""
    if not capturing.capture_waiting(purchase, purchase.intent()):
        renew_or_hold(purchase, rules, "authorization_used_up")


def used_up(purchase: Purchase, rules: RenewalRules) -> None:
    """After a capture: where it was the last one that the provider takes, secure the rest at once."""
    intent = purchase.intent()
    if intent.state != IntentState.REQUIRES_CAPTURE or not capturing.needed(purchase):
        return
    operations = operations_of(purchase.uow, purchase.order_id)
    if capturing.captures_left(terms_of(intent), intent.authorization_id, operations) <= 0:
        renew_or_hold(purchase, rules, "authorization_used_up")
    else:
        capture_or_renew(purchase, rules)


def renew_or_hold(purchase: Purchase, rules: RenewalRules, reason: str) -> None:
    """The present authorization gives no more money: get another one, or hold the order, if it needs any."""
    if purchase.is_held or purchase.intent().reauthorization_id is not None or not capturing.needed(purchase):
        return
    if capturing.in_flight(operations_of(purchase.uow, purchase.order_id)):
        _look_again(purchase, purchase.intent().authorization_id, purchase.uow.now_ms + _SOON_MS)
    elif not renew(purchase, rules):
        hold(purchase, rules, reason)


def renew(purchase: Purchase, rules: RenewalRules) -> bool:
    """Ask for another authorization without the customer; False where that cannot be, or was tried enough."""
    uow, intent = purchase.uow, purchase.intent()
    terms = terms_of(intent)
    tried = [
        row
        for row in operations_of(uow, purchase.order_id)
        if row.kind == OperationKind.AUTHORIZE and row.target_operation_id == intent.authorization_id
    ]
    if (terms is not None and not terms.merchant_initiated) or len(tried) >= rules.most_tries:
        return False
    old = _attempt_of(purchase, intent.authorization_id)
    if any(_is_final_no(row) for row in tried if _same_method(purchase, row, old)):
        return False
    operation_id = uow.new_id(OperationId)
    amount = Money(capturing.needed(purchase), purchase.currency)
    if not intents.begin_reauthorization(uow, purchase.order_id, intent.authorization_id, operation_id):
        return False
    attempt_id = intents.add_attempt(
        uow,
        intent_id=intent.intent_id,
        order_id=purchase.order_id,
        payment_method_id=old.payment_method_id,
        operation_id=operation_id,
        # Taken over with the method and the agreement; it is not named again.
        spending=spending_of(old),
    )
    begin_operation(
        uow,
        operation_id,
        OperationKind.AUTHORIZE,
        order_id=purchase.order_id,
        amount=amount,
        attempt_id=attempt_id,
        target_operation_id=intent.authorization_id,
    )
    payload = calls.settle_payload(operation_id, intent.authorization_id, amount)
    enqueue(uow, calls.REAUTHORIZE, purchase.order_id, payload)
    return True


def replaced(
    purchase: Purchase, recorded: Recorded, rules: RenewalRules, provider_of: Callable[[Any], str]
) -> bool:
    """The new authorization stands: let it be the order's, and release what is open of the old one.

    False when the order needs it no more; it is released then.
    """
    uow, amount = purchase.uow, recorded.amount
    old_id = recorded.target_operation_id
    assert recorded.attempt_id is not None and old_id is not None
    intents.move_attempt(
        uow, recorded.attempt_id, AttemptState.AUTHORIZED, liability=recorded.result.liability
    )
    intent = purchase.intent()
    open_minor = intent.authorized_minor - intent.captured_minor - intent.voided_minor
    terms = recorded.result.terms
    if not capturing.needed(purchase) or not intents.replace_authorization(
        uow,
        purchase.order_id,
        recorded.operation_id,
        released_minor=open_minor - amount.amount_minor,
        terms=terms_text(terms),
    ):
        intents.end_reauthorization(uow, purchase.order_id, recorded.operation_id)
        voiding.void_once(purchase, recorded.operation_id, amount)
        return False
    intents.move_attempt(uow, _attempt_of(purchase, old_id).attempt_id, AttemptState.REPLACED)
    books.post_voided(purchase, Money(open_minor, purchase.currency), old_id)
    books.post_authorized(purchase, amount, provider_of(terms), recorded.operation_id)
    voiding.void_once(purchase, old_id, Money(open_minor, purchase.currency))
    purchase.tell("payment.reauthorized", operation_id=recorded.operation_id, amount=wire_money(amount))
    if purchase.is_held:
        purchase.let_go()
        purchase.tell("order.released")
    plan_renewal(purchase, recorded.operation_id, rules)
    capture_or_renew(purchase, rules)
    return True


def not_replaced(
    purchase: Purchase,
    recorded: Recorded,
    rules: RenewalRules,
    reason: dict[str, Any],
    goes_on: Callable[[], bool],
) -> None:
    """The new authorization was declined: the present one stays for as long as it lasts.

    ``goes_on`` tries what else can be done for somebody who waits, and says whether anything can: another
    attempt, or a guardian who is asked to approve it after all.
    """
    uow, result = purchase.uow, recorded.result
    assert recorded.attempt_id is not None
    declined = result.status is OperationStatus.DECLINED
    state = AttemptState.DECLINED if declined else AttemptState.FAILED
    intents.move_attempt(uow, recorded.attempt_id, state, reason)
    if not intents.end_reauthorization(uow, purchase.order_id, recorded.operation_id):
        return
    intent = purchase.intent()
    if intent.state != IntentState.REQUIRES_CAPTURE or not capturing.needed(purchase):
        return
    was_asked = not _is_renewal(purchase, recorded)
    if purchase.is_held or was_asked:
        # Somebody is waiting at a screen.
        if not goes_on():
            tell_declined(purchase, reason, purchase.pay_until_ms or uow.now_ms)
        return
    purchase.tell(
        "payment.reauthorization_declined",
        decline_class=reason["class"],
        code=reason["code"],
        **({"limit": reason["limit"]} if "limit" in reason else {}),
    )
    old = operation_row(uow, intent.authorization_id)
    assert old is not None
    if _is_usable(purchase, intent, old):
        again_ms = uow.now_ms + rules.retry_ms
        if result.limit is not None and result.limit.retry_at_ms is not None:
            again_ms = max(again_ms, result.limit.retry_at_ms)
        _look_again(purchase, intent.authorization_id, min(again_ms, old.capture_before_ms or again_ms))
        capture_or_renew(purchase, rules)
    elif not (_may_pass_later(recorded) and renew(purchase, rules)):
        hold(purchase, rules, reason["code"])


def hold(purchase: Purchase, rules: RenewalRules, reason: str) -> None:
    """Nothing more of the order starts or is captured until another method pays, or its time is over."""
    if purchase.is_held or not purchase.hold(purchase.uow.now_ms + rules.hold_ms):
        return
    amount = Money(capturing.needed(purchase), purchase.currency)
    assert purchase.pay_until_ms is not None
    purchase.tell(
        "order.held",
        reason=reason,
        amount=wire_money(amount),
        alternatives=alternatives(purchase, amount),
        pay_until=rfc3339(purchase.pay_until_ms),
    )


def _look_again(purchase: Purchase, authorization_id: str, at_ms: int) -> None:
    payload = {"authorization_id": authorization_id}
    enqueue(purchase.uow, RENEW, purchase.order_id, payload, due_at_ms=max(at_ms, purchase.uow.now_ms))


def _attempt_of(purchase: Purchase, operation_id: str) -> Any:
    return next(
        attempt
        for attempt in intents.attempts_of(purchase.uow, purchase.order_id)
        if attempt.operation_id == operation_id
    )


def _same_method(purchase: Purchase, row: Any, old: Any) -> bool:
    return bool(_attempt_of(purchase, row.operation_id).payment_method_id == old.payment_method_id)


def _is_renewal(purchase: Purchase, recorded: Recorded) -> bool:
    """Whether it was asked for without the customer: with the same method as the one it was to replace."""
    assert recorded.target_operation_id is not None
    mine = _attempt_of(purchase, recorded.operation_id)
    return bool(
        mine.payment_method_id == _attempt_of(purchase, recorded.target_operation_id).payment_method_id
    )


def _is_usable(purchase: Purchase, intent: Any, old: Any) -> bool:
    """Whether the present authorization can still be captured."""
    if old.capture_before_ms is not None and old.capture_before_ms <= purchase.uow.now_ms:
        return False
    operations = operations_of(purchase.uow, purchase.order_id)
    if any(_expired(row, intent.authorization_id) for row in operations):
        return False
    return capturing.captures_left(terms_of(intent), intent.authorization_id, operations) > 0


def _expired(row: Any, authorization_id: str) -> bool:
    return (
        row.kind == OperationKind.CAPTURE
        and row.target_operation_id == authorization_id
        and row.detail is not None
        and capturing.EXPIRED in row.detail
    )


def _may_pass_later(recorded: Recorded) -> bool:
    """Whether the same request may be approved later; only a lost one is sent again at once."""
    return recorded.result.status is OperationStatus.FAILED


def _is_final_no(row: Any) -> bool:
    """Whether a re-authorization was declined for good; the vault's caps end the others."""
    return row.detail is not None and any(
        f'"{final.value}"' in row.detail
        for final in (DeclineClass.HARD_NEVER, DeclineClass.FRAUD_HOLD, DeclineClass.FIX_DATA)
    )
