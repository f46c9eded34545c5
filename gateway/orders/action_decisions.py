"""What is decided about an open action on our own side: approved by a passkey, or denied by the customer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select

from gateway.identity.passkeys import CLONE_SUSPECTED, Assertion, count_assertion, revoke_passkey
from gateway.kernel.errors import ConflictError, ErrorClass, VitrineError
from gateway.kernel.money import Money
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.orders.actions import authorize_instead, tell_authenticated, void_authentication
from gateway.orders.declining import tell_declined
from gateway.orders.purchase import Purchase, known_purchase
from gateway.orders.tables import order_line
from gateway.orders.turns import end_turn, has_turn, owed_by
from gateway.orders.voiding import void_once
from gateway.payments import intents
from gateway.payments.authentication import (
    action_row,
    decide,
    open_action_row,
    present_state,
    reference_of,
    what_changed,
)
from gateway.payments.authentication_model import (
    ENROL_WITHIN_MS,
    AuthenticationMethod,
    AuthenticationState,
)
from gateway.payments.methods import method_of
from gateway.payments.model import AttemptState
from gateway.payments.operations import operation_row
from wallets.vault.port import DeclineClass

DENIED = {
    "class": DeclineClass.HARD_NEVER.value,
    "code": "customer_denied",
    "message": "You said that you did not start this payment.",
}
"""The decline that follows when a customer denies a payment."""

_LINES = Statement(
    select(order_line.c.title, order_line.c.quantity_current, order_line.c.format)
    .where(order_line.c.order_id == bindparam("order_id"))
    .order_by(order_line.c.position)
)


@dataclass(frozen=True, slots=True)
class Bought:
    """A line of what is bought, for people."""

    title: str
    quantity: int
    format: str


@dataclass(frozen=True, slots=True)
class ActionView:
    """What may be shown of an action, and what can be done about it."""

    action_id: str
    order_id: str
    customer_id: str
    merchant_id: str
    state: AuthenticationState
    method: str | None
    amount: Money
    lines: tuple[Bought, ...]
    brand: str
    last4: str
    provider_url: str
    link: bytes
    passkey_allowed: bool
    enrol_challenge: str | None
    may_enrol: bool
    payment_state: str
    expires_at_ms: int
    row: Any


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of an action. ``voided`` names what had changed since the customer was asked."""

    action_id: str
    state: AuthenticationState
    voided: str | None = None
    clone_suspected: bool = False


def action_view(reader: Reader, action_id: str, *, customer_id: str | None = None) -> ActionView:
    """Return an action; NotFoundError ``challenge.unknown`` also for another customer's."""
    row = action_row(reader, action_id)
    if customer_id is not None and row.customer_id != customer_id:
        row = action_row(reader, "")  # the same answer as for an action that never was
    method = method_of(reader, row.customer_id, row.payment_method_id)
    intent = intents.intent_of(reader, row.order_id)
    assert intent is not None
    state = present_state(row, reader.now_ms)
    return ActionView(
        action_id=row.action_id,
        order_id=row.order_id,
        customer_id=row.customer_id,
        merchant_id=row.payee,
        state=state,
        method=row.method,
        amount=Money(row.amount_minor, row.currency),
        lines=tuple(
            Bought(line.title, line.quantity_current, line.format)
            for line in reader.rows(_LINES, {"order_id": row.order_id})
        ),
        brand="" if method is None else method.brand,
        last4="" if method is None else method.last4,
        provider_url=row.provider_url,
        link=bytes.fromhex(row.link),
        passkey_allowed=bool(row.passkey_allowed),
        enrol_challenge=row.enrol_challenge,
        may_enrol=(
            state is AuthenticationState.AUTHENTICATED
            and row.decided_at_ms is not None
            and reader.now_ms < row.decided_at_ms + ENROL_WITHIN_MS
        ),
        payment_state=intent.state,
        expires_at_ms=row.expires_at_ms,
        row=row,
    )


def approve_by_passkey(uow: UnitOfWork, action_id: str, assertion: Assertion) -> Decision:
    """Count a checked assertion: the customer is authenticated, and the payment is authorized with it.

    Raises ConflictError ``challenge.decided``. A payment that changed since the customer was asked voids the
    action instead; a passkey whose counter did not grow is revoked and authenticates nothing.
    """
    purchase, row = _waiting(uow, action_id)
    operation = operation_row(uow, row.operation_id)
    assert operation is not None
    owed = owed_by(purchase, operation.target_operation_id)
    changed = what_changed(row, purchase.order_id, owed, purchase.merchant_id)
    if changed is not None:
        void_authentication(purchase, row, changed)
        return Decision(action_id, AuthenticationState.EXPIRED, voided=changed)
    if not has_turn(purchase, row.operation_id):
        raise ConflictError(
            "challenge.decided",
            "The payment does not wait for this.",
            data={"state": purchase.intent().state},
        )
    if assertion.clone_suspected:
        revoke_passkey(uow, row.customer_id, assertion.passkey_id, CLONE_SUSPECTED)
        return Decision(action_id, AuthenticationState.PENDING, clone_suspected=True)
    if not row.passkey_allowed or not count_assertion(uow, assertion):
        raise VitrineError("passkey.refused", "The passkey was not accepted.", error_class=ErrorClass.SCA)
    decide(uow, row, AuthenticationState.AUTHENTICATED, method=AuthenticationMethod.PASSKEY)
    tell_authenticated(purchase, row, AuthenticationMethod.PASSKEY)
    authorize_instead(purchase, row, authentication=reference_of(row))
    return Decision(action_id, AuthenticationState.AUTHENTICATED)


def deny(uow: UnitOfWork, action_id: str) -> Decision:
    """The customer did not start this: nothing is charged with this method, the order waits for another.

    Raises ConflictError ``challenge.decided``.
    """
    purchase, row = _waiting(uow, action_id)
    decide(uow, row, AuthenticationState.NOT_AUTHENTICATED, reason=DENIED["code"])
    waits = end_turn(purchase, row.operation_id)
    void_once(purchase, row.operation_id, Money(row.amount_minor, row.currency))
    if waits:
        intents.move_attempt(uow, row.attempt_id, AttemptState.DECLINED, DENIED)
        tell_declined(purchase, DENIED, purchase.extend_payment(purchase.pay_until_ms or 0))
    return Decision(action_id, AuthenticationState.NOT_AUTHENTICATED)


def _waiting(uow: UnitOfWork, action_id: str) -> tuple[Purchase, Any]:
    """Return the order, locked, and then its action, so that nobody decides between the look and the move."""
    purchase = known_purchase(uow, action_row(uow, action_id).order_id)
    return purchase, open_action_row(uow, action_id)
