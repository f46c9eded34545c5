"""Orders, lines and legs: their states and the moves between them. No I/O.

A leg is the unit of fulfillment and of capture. When its money moves follows from its kind:

- ``mint`` to the customer's account here: captured when the mint is in a block;
- ``mint`` to a wallet outside: captured first, since nobody can take the token back, then minted;
- ``entitle``: captured first, granted in the unit that records the capture;
- ``ship``: captured at dispatch.

A digital leg that waits for the end of the period to withdraw is captured first, whatever its kind: no
authorization lasts that long.
"""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never


class OrderState(StrEnum):
    PLACED = "placed"
    """Accepted and reserved; payment is under way or waits for another method."""
    CONFIRMED = "confirmed"
    """Authorized: every leg is secured."""
    COMPLETED = "completed"
    """Every leg has ended and at least one was captured."""
    CANCELED = "canceled"
    REFUNDED = "refunded"
    """Everything captured was given back."""


ORDER_MOVES: dict[OrderState, frozenset[OrderState]] = {
    OrderState.PLACED: frozenset({OrderState.CONFIRMED, OrderState.CANCELED}),
    OrderState.CONFIRMED: frozenset({OrderState.COMPLETED, OrderState.CANCELED, OrderState.REFUNDED}),
    OrderState.COMPLETED: frozenset({OrderState.REFUNDED}),
    OrderState.CANCELED: frozenset(),
    OrderState.REFUNDED: frozenset(),
}


class LegKind(StrEnum):
    MINT = "mint"
    ENTITLE = "entitle"
    SHIP = "ship"


class LegState(StrEnum):
    RESERVED = "reserved"
    """Placed; stock or edition reserved, money not yet secured."""
    SECURED = "secured"
    STARTED = "started"
    """Handed to the mint lane, the order backend, or (entitle) to capture."""
    ACCEPTED = "accepted"
    """The order backend will ship it."""
    CANCELING = "canceling"
    """The order backend was asked to stop it."""
    FULFILLED = "fulfilled"
    """Minted or dispatched; its capture is under way."""
    PAID = "paid"
    """Captured before its delivery, which is under way or waits for the end of the period to withdraw."""
    UNDELIVERED = "undelivered"
    """Paid, and its wallet refused the token: the customer chooses another one, or the money goes back."""
    CAPTURED = "captured"
    """Delivered and paid."""
    CAPTURE_FAILED = "capture_failed"
    """Delivered but not paid: a token goes back to the treasury, goods are a debt."""
    RETURNING = "returning"
    RETURNED = "returned"
    CANCELED = "canceled"
    FAILED = "failed"


LEG_MOVES: dict[LegState, frozenset[LegState]] = {
    LegState.RESERVED: frozenset({LegState.SECURED, LegState.CANCELED}),
    LegState.SECURED: frozenset({LegState.STARTED, LegState.CANCELED}),
    LegState.STARTED: frozenset(
        {
            LegState.ACCEPTED,
            LegState.CANCELING,
            LegState.CANCELED,
            LegState.FULFILLED,
            LegState.CAPTURED,  # entitle: capture and grant are one unit
            LegState.PAID,
            LegState.FAILED,
        }
    ),
    LegState.ACCEPTED: frozenset(
        {LegState.CANCELING, LegState.CANCELED, LegState.FULFILLED, LegState.FAILED}
    ),
    LegState.CANCELING: frozenset({LegState.CANCELED, LegState.FULFILLED, LegState.FAILED}),
    LegState.FULFILLED: frozenset({LegState.CAPTURED, LegState.CAPTURE_FAILED}),
    LegState.PAID: frozenset({LegState.CAPTURED, LegState.UNDELIVERED, LegState.RETURNING}),
    LegState.UNDELIVERED: frozenset({LegState.PAID, LegState.RETURNING}),
    LegState.CAPTURED: frozenset({LegState.RETURNING}),
    LegState.CAPTURE_FAILED: frozenset({LegState.RETURNING}),
    LegState.RETURNING: frozenset({LegState.RETURNED}),
    LegState.RETURNED: frozenset(),
    LegState.CANCELED: frozenset(),
    LegState.FAILED: frozenset(),
}


def needs_money(state: LegState) -> bool:
    """Whether this leg may still capture its share of the authorization."""
    match state:
        case (
            LegState.RESERVED
            | LegState.SECURED
            | LegState.STARTED
            | LegState.ACCEPTED
            | LegState.CANCELING
            | LegState.FULFILLED
        ):
            return True
        case (
            LegState.PAID
            | LegState.UNDELIVERED
            | LegState.CAPTURED
            | LegState.CAPTURE_FAILED
            | LegState.RETURNING
            | LegState.RETURNED
            | LegState.CANCELED
            | LegState.FAILED
        ):
            return False
        case _:
            assert_never(state)


def holds_goods(state: LegState) -> bool:
    """Whether this leg ended with something delivered and paid for, or on its way back."""
    match state:
        case LegState.CAPTURED | LegState.RETURNING | LegState.RETURNED:
            return True
        case (
            LegState.RESERVED
            | LegState.SECURED
            | LegState.STARTED
            | LegState.ACCEPTED
            | LegState.CANCELING
            | LegState.FULFILLED
            | LegState.PAID
            | LegState.UNDELIVERED
            | LegState.CAPTURE_FAILED
            | LegState.CANCELED
            | LegState.FAILED
        ):
            return False
        case _:
            assert_never(state)


def is_owed(state: LegState) -> bool:
    """Whether this leg was paid for and is still to be delivered: its order has not ended."""
    return state in (LegState.PAID, LegState.UNDELIVERED)
