"""States of an operation in the vault, the moves between them, and the rules of an allowance. No I/O."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Final, assert_never

from gateway.kernel.documents import encode
from gateway.kernel.money import MAX_AMOUNT_MINOR, Money
from gateway.kernel.subjects import OperationId
from wallets.vault.port import (
    Authorize,
    Capture,
    OperationKind,
    OperationStatus,
    Refund,
    Void,
)


class OperationState(StrEnum):
    """What the vault's own record says."""

    SENT = "sent"
    """Recorded and about to be sent, or sent and not answered: from here only the provider knows."""
    REQUIRES_ACTION = "requires_action"
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    FAILED = "failed"
    REFUSED = "refused"
    """Stored, so that a repeat that arrives when the rule would allow it is still refused."""
    ABANDONED = "abandoned"
    """A tombstone, written before any request under this id was seen."""


ALLOWED_MOVES: Final[dict[OperationState, frozenset[OperationState]]] = {
    OperationState.SENT: frozenset(
        {
            OperationState.REQUIRES_ACTION,
            OperationState.SUCCEEDED,
            OperationState.DECLINED,
            OperationState.FAILED,
        }
    ),
    OperationState.REQUIRES_ACTION: frozenset(
        {OperationState.SUCCEEDED, OperationState.DECLINED, OperationState.FAILED}
    ),
    OperationState.SUCCEEDED: frozenset(),
    OperationState.DECLINED: frozenset(),
    OperationState.FAILED: frozenset(),
    OperationState.REFUSED: frozenset(),
    OperationState.ABANDONED: frozenset(),
}


def sources(target: OperationState) -> tuple[OperationState, ...]:
    """Return the states from which a move to ``target`` is allowed; the update that moves names them."""
    return tuple(state for state, targets in ALLOWED_MOVES.items() if target in targets)


def is_terminal(state: OperationState) -> bool:
    """Whether the record can no longer change."""
    return not ALLOWED_MOVES[state]


def status_of(state: OperationState) -> OperationStatus:
    """Return what a caller may rely on when the record is in this state."""
    match state:
        case OperationState.SENT:
            return OperationStatus.UNKNOWN
        case OperationState.REQUIRES_ACTION:
            return OperationStatus.REQUIRES_ACTION
        case OperationState.SUCCEEDED:
            return OperationStatus.SUCCEEDED
        case OperationState.DECLINED:
            return OperationStatus.DECLINED
        case OperationState.FAILED:
            return OperationStatus.FAILED
        case OperationState.REFUSED | OperationState.ABANDONED:
            return OperationStatus.REFUSED
        case _:
            assert_never(state)


FollowUp = Capture | Void | Refund
Request = Authorize | FollowUp


def kind_of(request: Request) -> OperationKind:
    match request:
        case Authorize():
            return OperationKind.AUTHORIZE
        case Capture():
            return OperationKind.CAPTURE
        case Void():
            return OperationKind.VOID
        case Refund():
            return OperationKind.REFUND
        case _:
            assert_never(request)


def parent_of(request: FollowUp) -> OperationId:
    """Return the authorization of a capture or void, the capture of a refund."""
    return request.capture_id if isinstance(request, Refund) else request.authorization_id


def request_digest(request: Request) -> str:
    """Return a digest of everything in the request, to tell a repeat from another request.

    The requests hold ids and amounts only, so a plain hash gives nothing away.
    """
    parts: list[object]
    if isinstance(request, Authorize):
        terms = request.allowance
        parts = [
            "authorize",
            terms.allowance_id,
            terms.payment_method_id,
            terms.customer_id,
            terms.merchant_id,
            terms.order_id,
            terms.channel,
            terms.place_id,
            terms.device_id,
            terms.reason,
            terms.max_amount.amount_minor,
            terms.max_amount.currency,
            terms.max_uses,
            terms.expires_at_ms,
            request.amount.amount_minor,
            request.amount.currency,
            request.customer_id,
            request.merchant_id,
            request.order_id,
            request.channel,
            request.place_id,
            request.device_id,
            request.request_challenge,
            request.network_transaction_id,
        ]
    else:
        amount = request.amount
        parts = [
            kind_of(request),
            parent_of(request),
            None if amount is None else amount.amount_minor,
            None if amount is None else amount.currency,
        ]
    return hashlib.blake2b(encode(parts).encode(), digest_size=16).hexdigest()


def is_usable(amount: Money) -> bool:
    """Whether an amount can be asked of a provider at all."""
    return 0 < amount.amount_minor <= MAX_AMOUNT_MINOR


def refusal_by_terms(request: Authorize, now_ms: int) -> str | None:
    """Return the code of the first rule of its own terms that the authorization breaks.

    What was spent before and a revocation are not in the terms; the conditional update that spends
    decides those.
    """
    terms = request.allowance
    amount = request.amount
    if not is_usable(amount) or not is_usable(terms.max_amount):
        return "vault.amount_invalid"
    if request.merchant_id != terms.merchant_id:
        return "allowance.merchant_mismatch"
    if request.customer_id != terms.customer_id:
        return "allowance.customer_mismatch"
    if terms.order_id is not None and request.order_id != terms.order_id:
        return "allowance.order_mismatch"
    if request.channel != terms.channel:
        return "allowance.channel_mismatch"
    if terms.place_id is not None and request.place_id != terms.place_id:
        return "allowance.place_mismatch"
    if terms.device_id is not None and request.device_id != terms.device_id:
        return "allowance.device_mismatch"
    if amount.currency != terms.max_amount.currency:
        return "allowance.currency_mismatch"
    if now_ms >= terms.expires_at_ms:
        return "allowance.expired"
    if amount.amount_minor > terms.max_amount.amount_minor:
        return "allowance.amount_exceeded"
    if terms.max_uses < 1:
        return "allowance.uses_exceeded"
    return None
