"""Whose turn it is to pay an order: one attempt at a time, taken and given back by compare-and-set.

An order that was placed waits for an authorization of all of it; one that is confirmed can only wait for
another authorization in place of its present one, for what is still needed. What comes from an attempt that
has no turn any more does not count, and is released.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.kernel.money import Money
from gateway.kernel.subjects import OperationId
from gateway.orders import capturing
from gateway.orders.model import OrderState
from gateway.orders.purchase import Purchase
from gateway.payments import intents
from gateway.payments.model import IntentState


@dataclass(frozen=True, slots=True)
class Turn:
    """What an attempt is for."""

    amount: Money
    replaces: str | None = None
    """The authorization in whose place it is."""


def take_turn(purchase: Purchase, operation_id: OperationId) -> Turn | None:
    """Let this authorization be the one that the order waits for; None if it waits for none or another."""
    uow, order_id = purchase.uow, purchase.order_id
    if purchase.state is OrderState.PLACED:
        return Turn(purchase.total) if intents.try_again(uow, order_id, operation_id) else None
    turn = Turn(owed_instead(purchase), purchase.intent().authorization_id)
    assert turn.replaces is not None
    if not turn.amount or not intents.begin_reauthorization(uow, order_id, turn.replaces, operation_id):
        return None
    return turn


def has_turn(purchase: Purchase, operation_id: str) -> bool:
    """Whether the order waits for what the customer does about this authorization."""
    intent = purchase.intent()
    if intent.reauthorization_id == operation_id:
        return True
    return bool(intent.state == IntentState.REQUIRES_ACTION and intent.authorization_id == operation_id)


def end_turn(purchase: Purchase, operation_id: str) -> bool:
    """Let the order wait for another attempt than this one; False if this one did not count any more."""
    uow, order_id = purchase.uow, purchase.order_id
    if intents.end_reauthorization(uow, order_id, operation_id):
        return True
    return purchase.intent().authorization_id == operation_id and intents.move_intent(
        uow, order_id, IntentState.REQUIRES_PAYMENT_METHOD
    )


def owed_by(purchase: Purchase, replaces: str | None) -> Money:
    """Return what the order owes now to an authorization of all of it, or to one in place of another."""
    return purchase.total if replaces is None else owed_instead(purchase)


def owed_instead(purchase: Purchase) -> Money:
    """Return what legs still need, in place of an authorization that is lost."""
    return Money(capturing.needed(purchase), purchase.currency)
