"""What a customer must do for a payment (``requires_action``), from the order's side.

    challenge asked for -> action open -> approved by the issuer  -> the authorization goes on
                                |    \\-> approved by a passkey   -> authorized anew with that authentication
                                |    \\-> denied by the customer  -> the order waits for another method
                                v
                        expired, abandoned: the order waits for another method, for what is left of its time

The session that bought may wait or drop meanwhile. What is decided comes from the provider or from a checked
assertion, never from a page. Every function runs inside a unit.
"""

from __future__ import annotations

from typing import Any

from gateway.kernel.clock import rfc3339
from gateway.kernel.money import Money
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.kernel.subjects import OperationId
from gateway.orders import voiding
from gateway.orders.declining import tell_declined
from gateway.orders.placing import begin_attempt
from gateway.orders.process import ProcessRules
from gateway.orders.purchase import Purchase
from gateway.orders.turns import end_turn, owed_by, take_turn
from gateway.payments import intents
from gateway.payments.authentication import (
    Opened,
    authentication_of,
    authentications_of,
    decide,
    open_authentication,
    present_state,
    what_changed,
)
from gateway.payments.authentication_model import (
    LONGEST_MS,
    AuthenticationMethod,
    AuthenticationState,
    is_decided,
    issuer_return,
    may_authorize,
    shown_user_code,
    state_after_challenge,
)
from gateway.payments.model import AttemptState, OperationState
from gateway.payments.operations import Recorded
from gateway.payments.spending import spending_of
from wallets.vault.port import DeclineClass

NOT_IN_TIME = {
    "class": DeclineClass.SOFT_RETRY_LATER.value,
    "code": "challenge_not_in_time",
    "message": "The payment was not approved in time.",
}
"""The decline that follows when nobody passes a challenge."""

ACTION_PATH = "/pay/challenges/"
CODE_PATH = "/pay"


def ask_customer(purchase: Purchase, recorded: Recorded, rules: ProcessRules) -> None:
    """Open the action of a challenged authorization and tell the session where it can be done."""
    uow, action = purchase.uow, recorded.result.action
    assert action is not None and recorded.attempt_id is not None
    until_ms = uow.now_ms + waits_ms(rules)
    purchase.keep_for_attempt(until_ms)
    attempt = _attempt(purchase, recorded.attempt_id)
    absolute = action.path.startswith(("https://", "http://"))
    opened = open_authentication(
        uow,
        order_id=purchase.order_id,
        attempt_id=recorded.attempt_id,
        operation_id=recorded.operation_id,
        customer_id=purchase.customer_id,
        payment_method_id=attempt.payment_method_id,
        amount=recorded.amount,
        payee=purchase.merchant_id,
        provider_url=action.path if absolute else f"{rules.base_url}{action.path}",
        expires_at_ms=until_ms,
        # A passkey's answer is another authorization, and an allowance for one use holds that one already.
        passkey_allowed=attempt.spending is None,
    )
    purchase.tell("payment.action_required", **_invitation(opened, rules))


def _invitation(opened: Opened, rules: ProcessRules) -> dict[str, Any]:
    page = page_of(rules, opened.action_id)
    return {
        "action_id": opened.action_id,
        "url": page,
        "user_code": shown_user_code(opened.user_code),
        "verification_url": f"{rules.base_url}{CODE_PATH}",
        "qr_url": f"{page}/qr.svg",
        "expires_at": rfc3339(opened.expires_at_ms),
    }


def page_of(rules: ProcessRules, action_id: str) -> str:
    """Return the address of an action's hosted page."""
    return f"{rules.base_url}{ACTION_PATH}{action_id}"


def return_of(rules: ProcessRules, row: Any) -> str:
    """Return where an issuer's page sends the browser in which it authenticated the customer."""
    return f"{page_of(rules, row.action_id)}/back?proof={issuer_return(row.nonce)}"


def waits_ms(rules: ProcessRules) -> int:
    """Return how long a challenge is open."""
    return min(rules.action_ms, LONGEST_MS)


def challenge_answered(purchase: Purchase, recorded: Recorded) -> bool:
    """Record what an authorization's answer says about its challenge; False when the answer may not count.

    An approval for another amount, currency or payee than the order has now is void (RTS Art. 5(1)(d)): it
    is released, and the customer is asked about the present payment.
    """
    uow, result = purchase.uow, recorded.result
    row = authentication_of(uow, recorded.operation_id)
    if row is None:
        return True
    owed = owed_by(purchase, recorded.target_operation_id)
    changed = what_changed(row, purchase.order_id, owed, purchase.merchant_id)
    if recorded.state is OperationState.SUCCEEDED and changed is not None:
        void_authentication(purchase, row, changed)
        return False
    code = None if result.decline is None else result.decline.code
    state = state_after_challenge(result.status, code=code, reason=result.refusal)
    if state is AuthenticationState.PENDING:
        return True
    decided = decide(
        uow,
        row,
        state,
        method=AuthenticationMethod.THREE_DS,
        liability=result.liability,
        reason=code or result.refusal,
    )
    if decided and may_authorize(state):
        tell_authenticated(purchase, row, AuthenticationMethod.THREE_DS)
    return True


def call_off(uow: UnitOfWork, operation_id: str, reason: str = "order_given_up") -> None:
    """The order was given up, or the time is over: the open action ends with it."""
    row = authentication_of(uow, operation_id)
    if row is not None:
        state = present_state(row, uow.now_ms)
        ended = state if is_decided(state) else AuthenticationState.ABANDONED
        decide(uow, row, ended, reason=reason)


def give_up_challenge(purchase: Purchase, operation: Any) -> None:
    """Nobody has passed the challenge in time, the customer's or that of whoever pays through a link: the
    order does not wait for it any more, so that it can be paid another way."""
    if not end_turn(purchase, operation.operation_id):
        return
    call_off(purchase.uow, operation.operation_id, NOT_IN_TIME["code"])
    voiding.void_once(purchase, operation.operation_id, Money(operation.amount_minor, operation.currency))
    intents.move_attempt(purchase.uow, operation.attempt_id, AttemptState.DECLINED, NOT_IN_TIME)
    tell_declined(purchase, NOT_IN_TIME, purchase.extend_payment(purchase.pay_until_ms or 0))


def waiting_action(reader: Reader, order_id: str) -> dict[str, Any] | None:
    """Return the order's open action for its customer, or None. Its short code was in the event alone."""
    for row in reversed(authentications_of(reader, order_id)):
        if not is_decided(present_state(row, reader.now_ms)):
            return {"action_id": row.action_id, "expires_at": rfc3339(row.expires_at_ms)}
    return None


def tell_authenticated(purchase: Purchase, row: Any, method: AuthenticationMethod) -> None:
    """Announce that the customer was authenticated; the authorization's outcome follows."""
    purchase.tell("payment.authenticated", action_id=row.action_id, method=method.value)


def void_authentication(purchase: Purchase, row: Any, reason: str) -> None:
    """The payment is another one than the customer saw: what they approved ends, and they are asked anew."""
    decide(purchase.uow, row, AuthenticationState.EXPIRED, reason=reason)
    authorize_instead(purchase, row, request_challenge=True)


def authorize_instead(
    purchase: Purchase, row: Any, *, authentication: str | None = None, request_challenge: bool = False
) -> bool:
    """Replace the challenged authorization by another with the same method; False if it counts no more.

    The replaced one is voided, which calls its challenge off. Should it be approved at this very moment,
    it no longer counts for the intent and is released like every late approval.
    """
    uow, operation_id = purchase.uow, purchase.uow.new_id(OperationId)
    counted = end_turn(purchase, row.operation_id)
    turn = take_turn(purchase, operation_id) if counted else None
    voiding.void_once(purchase, row.operation_id, Money(row.amount_minor, row.currency))
    if counted:
        intents.move_attempt(uow, row.attempt_id, AttemptState.FAILED)
    if turn is None:
        return False
    begin_attempt(
        uow,
        intent_id=purchase.intent().intent_id,
        order_id=purchase.order_id,
        operation_id=operation_id,
        payment_method_id=row.payment_method_id,
        customer_id=purchase.customer_id,
        merchant_id=purchase.merchant_id,
        channel=purchase.row.channel,
        place=purchase.row.place,
        device_id=purchase.row.device_id,
        total=turn.amount,
        pay_until_ms=purchase.keep_for_attempt(uow.now_ms + LONGEST_MS),
        request_challenge=request_challenge,
        authentication=authentication,
        replaces=turn.replaces,
        spending=spending_of(_attempt(purchase, row.attempt_id)),
    )
    return True


def _attempt(purchase: Purchase, attempt_id: str) -> Any:
    attempts = intents.attempts_of(purchase.uow, purchase.order_id)
    return next(one for one in attempts if one.attempt_id == attempt_id)
