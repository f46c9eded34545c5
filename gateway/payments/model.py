"""What a payment is: intent (what is owed), attempts (conversations with a provider), operations.

The tables of allowed moves are here; the walk over every state is in the tests. ``unknown`` is a real state:
a lost reply is resolved by asking with the same operation id, never by a second operation. The kinds of
operation are the vault's (`wallets.vault.port.OperationKind`).
"""

from __future__ import annotations

from enum import StrEnum

from gateway.kernel.ids import Id


class IntentId(Id):
    prefix = "int"


class AttemptId(Id):
    prefix = "att"


class IntentState(StrEnum):
    """What is owed for an order, by what has to happen next (names after Stripe's PaymentIntent)."""

    AUTHORIZING = "authorizing"
    REQUIRES_ACTION = "requires_action"
    """The customer has to pass a challenge (strong customer authentication)."""
    REQUIRES_PAYMENT_METHOD = "requires_payment_method"
    """Declined: another method can be tried until the reservation ends."""
    REQUIRES_CAPTURE = "requires_capture"
    """Authorized; parts are captured as legs are fulfilled."""
    SUCCEEDED = "succeeded"
    """Everything that was not voided has been captured."""
    CANCELED = "canceled"


INTENT_MOVES: dict[IntentState, frozenset[IntentState]] = {
    IntentState.AUTHORIZING: frozenset(
        {
            IntentState.REQUIRES_ACTION,
            IntentState.REQUIRES_PAYMENT_METHOD,
            IntentState.REQUIRES_CAPTURE,
            IntentState.CANCELED,
        }
    ),
    IntentState.REQUIRES_ACTION: frozenset(
        {IntentState.REQUIRES_PAYMENT_METHOD, IntentState.REQUIRES_CAPTURE, IntentState.CANCELED}
    ),
    IntentState.REQUIRES_PAYMENT_METHOD: frozenset({IntentState.AUTHORIZING, IntentState.CANCELED}),
    IntentState.REQUIRES_CAPTURE: frozenset({IntentState.SUCCEEDED, IntentState.CANCELED}),
    IntentState.SUCCEEDED: frozenset(),
    IntentState.CANCELED: frozenset(),
}


class AttemptState(StrEnum):
    """One conversation with a provider."""

    AUTHORIZING = "authorizing"
    REQUIRES_ACTION = "requires_action"
    AUTHORIZED = "authorized"
    DECLINED = "declined"
    FAILED = "failed"
    """Definitely nothing happened: refused by the vault, or given up with a tombstone."""
    VOIDED = "voided"
    """Authorized after its order was given up; released in full."""
    REPLACED = "replaced"
    """Authorized, and what was left of it authorized anew: by the same method before it ran out, or by
    another one after that had failed."""


ATTEMPT_MOVES: dict[AttemptState, frozenset[AttemptState]] = {
    AttemptState.AUTHORIZING: frozenset(
        {AttemptState.REQUIRES_ACTION, AttemptState.AUTHORIZED, AttemptState.DECLINED, AttemptState.FAILED}
    ),
    AttemptState.REQUIRES_ACTION: frozenset(
        {AttemptState.AUTHORIZED, AttemptState.DECLINED, AttemptState.FAILED}
    ),
    AttemptState.AUTHORIZED: frozenset({AttemptState.VOIDED, AttemptState.REPLACED}),
    AttemptState.DECLINED: frozenset(),
    AttemptState.FAILED: frozenset(),
    AttemptState.VOIDED: frozenset(),
    AttemptState.REPLACED: frozenset(),
}


class OperationState(StrEnum):
    """How one thing asked of the provider stands, as the order side knows it."""

    CREATED = "created"
    """Written with the fact that calls for it; its task may have sent it."""
    REQUIRES_ACTION = "requires_action"
    UNKNOWN = "unknown"
    """Sent, no usable answer: being asked about."""
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    FAILED = "failed"


OPERATION_MOVES: dict[OperationState, frozenset[OperationState]] = {
    OperationState.CREATED: frozenset(
        {
            OperationState.REQUIRES_ACTION,
            OperationState.UNKNOWN,
            OperationState.SUCCEEDED,
            OperationState.DECLINED,
            OperationState.FAILED,
        }
    ),
    OperationState.REQUIRES_ACTION: frozenset(
        # Not unknown: a late word about the first answer must not undo the second.
        {OperationState.SUCCEEDED, OperationState.DECLINED, OperationState.FAILED}
    ),
    OperationState.UNKNOWN: frozenset(
        {
            OperationState.REQUIRES_ACTION,
            OperationState.SUCCEEDED,
            OperationState.DECLINED,
            OperationState.FAILED,
        }
    ),
    OperationState.SUCCEEDED: frozenset(),
    OperationState.DECLINED: frozenset(),
    OperationState.FAILED: frozenset(),
}


def intent_is_open(state: IntentState) -> bool:
    """Whether money may still move forward on this intent."""
    match state:
        case (
            IntentState.AUTHORIZING
            | IntentState.REQUIRES_ACTION
            | IntentState.REQUIRES_PAYMENT_METHOD
            | IntentState.REQUIRES_CAPTURE
        ):
            return True
        case IntentState.SUCCEEDED | IntentState.CANCELED:
            return False


def operation_is_final(state: OperationState) -> bool:
    """Whether the provider's answer is known for good."""
    match state:
        case OperationState.CREATED | OperationState.REQUIRES_ACTION | OperationState.UNKNOWN:
            return False
        case OperationState.SUCCEEDED | OperationState.DECLINED | OperationState.FAILED:
            return True
