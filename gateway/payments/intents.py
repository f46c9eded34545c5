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
from gateway.payments.spending import Spending, spending_text
from gateway.payments.tables import payment_attempt, payment_intent
from wallets.vault.port import Exemption


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


_INSERT_INTENT = insert_into(
    payment_intent, without=("reauthorization_id", "provider_terms", "refunding_minor")
)
_INSERT_ATTEMPT = insert_into(payment_attempt, without=("spending", "payer"))
_INSERT_SPENDING = insert_into(payment_attempt)
_TO_INTENT_STATE = {state: _to_intent_state(state) for state in IntentState}
_TO_ATTEMPT_STATE = {
    state: Statement(
        update(payment_attempt)
        .where(
            payment_attempt.c.attempt_id == bindparam("its_id"),
            payment_attempt.c.state.in_(inline(sources(ATTEMPT_MOVES, state))),
        )
        .values(state=state.value, decline=bindparam("new_decline"), liability=bindparam("new_liability"))
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
_REMEMBER_TERMS = Statement(
    update(payment_intent)
    .where(
        payment_intent.c.order_id == bindparam("its_order_id"),
        payment_intent.c.authorization_id == bindparam("its_authorization_id"),
    )
    .values(provider_terms=bindparam("new_terms"))
)
_BEGIN_REAUTHORIZATION = Statement(
    update(payment_intent)
    .where(
        payment_intent.c.order_id == bindparam("its_order_id"),
        payment_intent.c.state == IntentState.REQUIRES_CAPTURE.value,
        payment_intent.c.authorization_id == bindparam("its_authorization_id"),
        payment_intent.c.reauthorization_id.is_(None),
    )
    .values(reauthorization_id=bindparam("new_authorization_id"))
)
_END_REAUTHORIZATION = Statement(
    update(payment_intent)
    .where(
        payment_intent.c.order_id == bindparam("its_order_id"),
        payment_intent.c.reauthorization_id == bindparam("its_authorization_id"),
    )
    .values(reauthorization_id=None)
)
_REPLACE = Statement(
    update(payment_intent)
    .where(
        payment_intent.c.order_id == bindparam("its_order_id"),
        payment_intent.c.state == IntentState.REQUIRES_CAPTURE.value,
        payment_intent.c.reauthorization_id == bindparam("its_authorization_id"),
    )
    .values(
        authorization_id=payment_intent.c.reauthorization_id,
        reauthorization_id=None,
        provider_terms=bindparam("new_terms"),
        voided_minor=payment_intent.c.voided_minor + bindparam("released"),
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
    .returning(payment_intent.c.provider_terms)
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
        payment_intent.c.refunding_minor >= bindparam("amount"),
    )
    .values(
        refunded_minor=payment_intent.c.refunded_minor + bindparam("amount"),
        refunding_minor=payment_intent.c.refunding_minor - bindparam("amount"),
    )
)
_RESERVE_REFUND = Statement(
    update(payment_intent)
    .where(
        payment_intent.c.order_id == bindparam("its_order_id"),
        payment_intent.c.refunded_minor + payment_intent.c.refunding_minor + bindparam("amount")
        <= payment_intent.c.captured_minor,
    )
    .values(refunding_minor=payment_intent.c.refunding_minor + bindparam("amount"))
)
_RELEASE_REFUND = Statement(
    update(payment_intent)
    .where(
        payment_intent.c.order_id == bindparam("its_order_id"),
        payment_intent.c.refunding_minor >= bindparam("amount"),
    )
    .values(refunding_minor=payment_intent.c.refunding_minor - bindparam("amount"))
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
    authorization_id: OperationId | None,
    at_once: bool = False,
) -> IntentId:
    """Insert the intent of a new order, with the authorization that counts for it.

    Without one it waits for somebody to pay: through a link, or by a method that is named later. ``at_once``:
    not at the end of the batch, since its attempt asks for an exemption.
    """
    intent_id = uow.new_id(IntentId)
    write = uow.run if at_once else uow.append
    write(
        _INSERT_INTENT,
        {
            "intent_id": intent_id,
            "order_id": order_id,
            "merchant_id": merchant_id,
            "customer_id": customer_id,
            "state": (
                IntentState.REQUIRES_PAYMENT_METHOD if authorization_id is None else IntentState.AUTHORIZING
            ).value,
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
    uow: UnitOfWork,
    *,
    intent_id: str,
    order_id: str,
    payment_method_id: str,
    operation_id: OperationId,
    exemption: Exemption | None = None,
    spending: Spending | None = None,
    payer: str | None = None,
) -> AttemptId:
    """Insert an attempt with its authorize operation. ``payer`` is who pays, if not the order's customer.

    One that asks for an exemption is inserted at once, as its intent was: the next one is counted with it.
    """
    attempt_id = uow.new_id(AttemptId)
    row = {
        "attempt_id": attempt_id,
        "intent_id": intent_id,
        "order_id": order_id,
        "payment_method_id": payment_method_id,
        "operation_id": operation_id,
        "state": AttemptState.AUTHORIZING.value,
        "decline": None,
        "exemption": None if exemption is None else exemption.value,
        "liability": None,
        "created_at_ms": uow.now_ms,
    }
    write = uow.append if exemption is None else uow.run
    if spending is None and payer is None:
        write(_INSERT_ATTEMPT, row)
    else:
        write(
            _INSERT_SPENDING,
            {**row, "spending": None if spending is None else spending_text(spending), "payer": payer},
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
    uow: UnitOfWork,
    attempt_id: str,
    target: AttemptState,
    decline: dict[str, Any] | None = None,
    *,
    liability: str | None = None,
) -> bool:
    """Move the attempt if its state allows it; the answer says who won."""
    return (
        uow.run(
            _TO_ATTEMPT_STATE[target],
            {
                "its_id": attempt_id,
                "new_decline": None if decline is None else encode(decline),
                "new_liability": liability,
            },
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


def add_captured(uow: UnitOfWork, order_id: str, amount_minor: int) -> str | None:
    """Count a capture. It cannot exceed what is authorized and open: begun captures were checked.

    Returns the text of the provider's terms, which is None for nearly all.
    """
    row = uow.row(_CAPTURED, {"its_order_id": order_id, "amount": amount_minor})
    assert row is not None, f"capture of {amount_minor} exceeds what {order_id} has open"
    terms: str | None = row.provider_terms
    return terms


def add_voided(uow: UnitOfWork, order_id: str, amount_minor: int) -> None:
    """Count a release of authorized money."""
    changed = uow.run(_VOIDED, {"its_order_id": order_id, "amount": amount_minor})
    assert changed == 1, f"void of {amount_minor} exceeds what {order_id} has open"


def reserve_refund(uow: UnitOfWork, order_id: str, amount_minor: int) -> bool:
    """Keep an amount for a refund that is about to be asked for; False if less than that was captured and
    is neither refunded nor kept for others."""
    return uow.run(_RESERVE_REFUND, {"its_order_id": order_id, "amount": amount_minor}) == 1


def release_refund(uow: UnitOfWork, order_id: str, amount_minor: int) -> None:
    """The refund will not be made: the amount can be refunded again."""
    changed = uow.run(_RELEASE_REFUND, {"its_order_id": order_id, "amount": amount_minor})
    assert changed == 1, f"{amount_minor} was not kept for a refund of {order_id}"


def add_refunded(uow: UnitOfWork, order_id: str, amount_minor: int) -> None:
    """Count a refund whose amount was reserved."""
    changed = uow.run(_REFUNDED, {"its_order_id": order_id, "amount": amount_minor})
    assert changed == 1, f"refund of {amount_minor} was not reserved for {order_id}"


def remember_terms(uow: UnitOfWork, order_id: str, authorization_id: str, terms: str) -> None:
    """Keep how the provider lets the intent's authorization be used."""
    uow.run(
        _REMEMBER_TERMS,
        {"its_order_id": order_id, "its_authorization_id": authorization_id, "new_terms": terms},
    )


def begin_reauthorization(
    uow: UnitOfWork, order_id: str, authorization_id: str, replacement_id: OperationId
) -> bool:
    """Note that an authorization is to take the place of the present one; one at a time."""
    changed = uow.run(
        _BEGIN_REAUTHORIZATION,
        {
            "its_order_id": order_id,
            "its_authorization_id": authorization_id,
            "new_authorization_id": replacement_id,
        },
    )
    return changed == 1


def end_reauthorization(uow: UnitOfWork, order_id: str, replacement_id: str) -> bool:
    """Nothing came of the replacement; the present authorization stays. False if it was not under way."""
    changed = uow.run(
        _END_REAUTHORIZATION, {"its_order_id": order_id, "its_authorization_id": replacement_id}
    )
    return changed == 1


def replace_authorization(
    uow: UnitOfWork, order_id: str, replacement_id: str, *, released_minor: int, terms: str | None
) -> bool:
    """Let the replacement be the intent's authorization; False if the intent no longer waits for it.

    What was authorized, captured and voided stays as it is: the replacement holds what was open. Where it
    holds less, the difference (``released_minor``) is voided.
    """
    changed = uow.run(
        _REPLACE,
        {
            "its_order_id": order_id,
            "its_authorization_id": replacement_id,
            "released": released_minor,
            "new_terms": terms,
        },
    )
    return changed == 1


def intent_of(reader: Reader, order_id: str) -> Any | None:
    """Return the order's intent row, or None."""
    return reader.row(_BY_ORDER, {"order_id": order_id})


def attempts_of(reader: Reader, order_id: str) -> list[Any]:
    """Return the order's attempts, oldest first."""
    return reader.rows(_ATTEMPTS, {"order_id": order_id})
