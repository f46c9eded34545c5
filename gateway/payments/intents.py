"""Opening intents and attempts, and moving their amounts: conditional updates that say who won."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import bindparam, case, literal_column, select, update

from gateway.kernel.documents import encode
from gateway.kernel.money import Money
from gateway.kernel.store.statements import Statement, insert_into
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.kernel.subjects import OperationId
from gateway.payments.model import (
    ATTEMPT_MOVES,
    INTENT_MOVES,
    AttemptId,
    AttemptState,
    IntentId,
    IntentState,
)
from gateway.payments.tables import payment_attempt, payment_intent


def sources(moves: dict[Any, frozenset[Any]], target: Any) -> list[str]:
    """Return the states from which ``target`` may be reached."""
    return [state.value for state, targets in moves.items() if target in targets]


def _to_intent_state(target: IntentState) -> Statement:
    return Statement(
        update(payment_intent)
        .where(
            payment_intent.c.order_id == bindparam("its_order_id"),
            payment_intent.c.state.in_(inline(sources(INTENT_MOVES, target))),
        )
        .values(state=target.value)
    )


def inline(values: Iterable[str]) -> list[Any]:
    """Return constants for an ``IN`` list that is compiled once."""
    return [literal_column(f"'{value}'") for value in values]


_INSERT_INTENT = insert_into(payment_intent)
_INSERT_ATTEMPT = insert_into(payment_attempt)
_TO_INTENT_STATE = {state: _to_intent_state(state) for state in IntentState}
_TO_ATTEMPT_STATE = {
    state: Statement(
        update(payment_attempt)
        .where(
            payment_attempt.c.attempt_id == bindparam("its_id"),
            payment_attempt.c.state.in_(inline(sources(ATTEMPT_MOVES, state))),
        )
        .values(state=state.value, decline=bindparam("new_decline"))
    )
    for state in AttemptState
    if sources(ATTEMPT_MOVES, state)
}
_AUTHORIZED = Statement(
    update(payment_intent)
    .where(
        payment_intent.c.order_id == bindparam("its_order_id"),
        payment_intent.c.state.in_(inline(sources(INTENT_MOVES, IntentState.REQUIRES_CAPTURE))),
        payment_intent.c.authorization_id == bindparam("its_authorization_id"),
    )
    .values(
        state=IntentState.REQUIRES_CAPTURE.value,
        authorized_minor=payment_intent.c.authorized_minor + bindparam("amount"),
    )
)
_open_after_capture = payment_intent.c.authorized_minor - payment_intent.c.voided_minor
_CAPTURED = Statement(
    update(payment_intent)
    .where(
        payment_intent.c.order_id == bindparam("its_order_id"),
        payment_intent.c.captured_minor + bindparam("amount") <= _open_after_capture,
    )
    .values(
        captured_minor=payment_intent.c.captured_minor + bindparam("amount"),
        state=case(
            (
                payment_intent.c.captured_minor + bindparam("amount") == _open_after_capture,
                IntentState.SUCCEEDED.value,
            ),
            else_=payment_intent.c.state,
        ),
    )
)
_open_after_void = payment_intent.c.authorized_minor - payment_intent.c.captured_minor
_VOIDED = Statement(
    update(payment_intent)
    .where(
        payment_intent.c.order_id == bindparam("its_order_id"),
        payment_intent.c.voided_minor + bindparam("amount") <= _open_after_void,
    )
    .values(
        voided_minor=payment_intent.c.voided_minor + bindparam("amount"),
        state=case(
            (
                payment_intent.c.voided_minor + bindparam("amount") == payment_intent.c.authorized_minor,
                IntentState.CANCELED.value,
            ),
            (
                payment_intent.c.voided_minor + bindparam("amount") == _open_after_void,
                IntentState.SUCCEEDED.value,
            ),
            else_=payment_intent.c.state,
        ),
    )
)
_REFUNDED = Statement(
    update(payment_intent)
    .where(
        payment_intent.c.order_id == bindparam("its_order_id"),
        payment_intent.c.refunded_minor + bindparam("amount") <= payment_intent.c.captured_minor,
    )
    .values(refunded_minor=payment_intent.c.refunded_minor + bindparam("amount"))
)
_CURRENT_ATTEMPT = Statement(
    update(payment_intent)
    .where(
        payment_intent.c.order_id == bindparam("its_order_id"),
        payment_intent.c.state == IntentState.REQUIRES_PAYMENT_METHOD.value,
    )
    .values(state=IntentState.AUTHORIZING.value, authorization_id=bindparam("new_authorization_id"))
)
_BY_ORDER = Statement(select(payment_intent).where(payment_intent.c.order_id == bindparam("order_id")))
_ATTEMPTS = Statement(
    select(payment_attempt)
    .where(payment_attempt.c.order_id == bindparam("order_id"))
    .order_by(payment_attempt.c.attempt_id)
)


def open_intent(
    uow: UnitOfWork,
    *,
    order_id: str,
    merchant_id: str,
    customer_id: str,
    amount: Money,
    authorization_id: OperationId,
) -> IntentId:
    """Insert the intent of a new order, with the authorization that counts for it."""
    intent_id = uow.new_id(IntentId)
    uow.append(
        _INSERT_INTENT,
        {
            "intent_id": intent_id,
            "order_id": order_id,
            "merchant_id": merchant_id,
            "customer_id": customer_id,
            "state": IntentState.AUTHORIZING.value,
            "currency": amount.currency,
            "amount_minor": amount.amount_minor,
            "authorized_minor": 0,
            "captured_minor": 0,
            "voided_minor": 0,
            "refunded_minor": 0,
            "authorization_id": authorization_id,
            "created_at_ms": uow.now_ms,
        },
    )
    return intent_id


def add_attempt(
    uow: UnitOfWork, *, intent_id: str, order_id: str, payment_method_id: str, operation_id: OperationId
) -> AttemptId:
    """Insert an attempt with its authorize operation."""
    attempt_id = uow.new_id(AttemptId)
    uow.append(
        _INSERT_ATTEMPT,
        {
            "attempt_id": attempt_id,
            "intent_id": intent_id,
            "order_id": order_id,
            "payment_method_id": payment_method_id,
            "operation_id": operation_id,
            "state": AttemptState.AUTHORIZING.value,
            "decline": None,
            "created_at_ms": uow.now_ms,
        },
    )
    return attempt_id


def try_again(uow: UnitOfWork, order_id: str, authorization_id: OperationId) -> bool:
    """Let another authorization count for a declined intent; False if the intent does not wait for one."""
    return (
        uow.run(_CURRENT_ATTEMPT, {"its_order_id": order_id, "new_authorization_id": authorization_id}) == 1
    )


def move_intent(uow: UnitOfWork, order_id: str, target: IntentState) -> bool:
    """Move the intent if its state allows it; the answer says who won."""
    return uow.run(_TO_INTENT_STATE[target], {"its_order_id": order_id}) == 1


def move_attempt(
    uow: UnitOfWork, attempt_id: str, target: AttemptState, decline: dict[str, Any] | None = None
) -> bool:
    """Move the attempt if its state allows it; the answer says who won."""
    return (
        uow.run(
            _TO_ATTEMPT_STATE[target],
            {"its_id": attempt_id, "new_decline": None if decline is None else encode(decline)},
        )
        == 1
    )


def add_authorized(uow: UnitOfWork, order_id: str, authorization_id: str, amount_minor: int) -> bool:
    """Count an approval for its intent; False when the intent no longer waits for this authorization."""
    return (
        uow.run(
            _AUTHORIZED,
            {"its_order_id": order_id, "its_authorization_id": authorization_id, "amount": amount_minor},
        )
        == 1
    )


def add_captured(uow: UnitOfWork, order_id: str, amount_minor: int) -> None:
    """Count a capture. It cannot exceed what is authorized and open: begun captures were checked."""
    changed = uow.run(_CAPTURED, {"its_order_id": order_id, "amount": amount_minor})
    assert changed == 1, f"capture of {amount_minor} exceeds what {order_id} has open"


def add_voided(uow: UnitOfWork, order_id: str, amount_minor: int) -> None:
    """Count a release of authorized money."""
    changed = uow.run(_VOIDED, {"its_order_id": order_id, "amount": amount_minor})
    assert changed == 1, f"void of {amount_minor} exceeds what {order_id} has open"


def add_refunded(uow: UnitOfWork, order_id: str, amount_minor: int) -> None:
    """Count a refund."""
    changed = uow.run(_REFUNDED, {"its_order_id": order_id, "amount": amount_minor})
    assert changed == 1, f"refund of {amount_minor} exceeds what {order_id} captured"


def intent_of(reader: Reader, order_id: str) -> Any | None:
    """Return the order's intent row, or None."""
    return reader.row(_BY_ORDER, {"order_id": order_id})


def attempts_of(reader: Reader, order_id: str) -> list[Any]:
    """Return the order's attempts, oldest first."""
    return reader.rows(_ATTEMPTS, {"order_id": order_id})
