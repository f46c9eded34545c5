"""The life of a fulfillment order: its states, the allowed moves, and what a late or early word means."""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never


class FulfillmentState(StrEnum):
    CREATED = "created"
    """Decided by us, not yet at the backend as far as we know."""
    SENT = "sent"
    """The backend has it."""
    ACCEPTED = "accepted"
    """The backend will ship it."""
    DISPATCHED = "dispatched"
    """Handed to the carrier: the moment money is captured."""
    DELIVERED = "delivered"
    CANCELED = "canceled"
    """It will not be shipped because we asked so."""
    REFUSED = "refused"
    """It will not be shipped because the backend cannot."""

    @property
    def terminal(self) -> bool:
        return not ALLOWED_MOVES[self]

    @property
    def left_the_house(self) -> bool:
        """Whether the goods are on their way or there: only a return undoes that."""
        match self:
            case FulfillmentState.DISPATCHED | FulfillmentState.DELIVERED:
                return True
            case (
                FulfillmentState.CREATED
                | FulfillmentState.SENT
                | FulfillmentState.ACCEPTED
                | FulfillmentState.CANCELED
                | FulfillmentState.REFUSED
            ):
                return False
            case _:
                assert_never(self)


_S = FulfillmentState
_NOT_SHIPPED = frozenset({_S.CANCELED, _S.REFUSED})

ALLOWED_MOVES: dict[FulfillmentState, frozenset[FulfillmentState]] = {
    _S.CREATED: frozenset({_S.SENT}) | _NOT_SHIPPED,
    _S.SENT: frozenset({_S.ACCEPTED}) | _NOT_SHIPPED,
    _S.ACCEPTED: frozenset({_S.DISPATCHED}) | _NOT_SHIPPED,
    _S.DISPATCHED: frozenset({_S.DELIVERED}),
    _S.DELIVERED: frozenset(),
    _S.CANCELED: frozenset(),
    _S.REFUSED: frozenset(),
}

_WAY = (_S.CREATED, _S.SENT, _S.ACCEPTED, _S.DISPATCHED, _S.DELIVERED)


def moves_to(now: FulfillmentState, told: FulfillmentState) -> tuple[FulfillmentState, ...] | None:
    """Return the moves that make what a backend told true, each of them allowed.

    Updates come late, twice and out of order. What is already so, or was so before, needs no move: an empty
    tuple. What implies steps we have not heard of (delivered, so it was dispatched) walks through them. None
    means a contradiction: shipped though canceled, or canceled though shipped.
    """
    if told == now:
        return ()
    if told in _NOT_SHIPPED:
        if now in _NOT_SHIPPED:
            return ()
        return None if now.left_the_house else (told,)
    if now in _NOT_SHIPPED:
        return None if told.left_the_house else ()
    return _WAY[_WAY.index(now) + 1 : _WAY.index(told) + 1]
