"""States of an operation in the vault, the moves between them, and the rules of an allowance. No I/O."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, assert_never

from gateway.kernel.documents import encode
from gateway.kernel.money import MAX_AMOUNT_MINOR, Money
from gateway.kernel.subjects import OperationId
from wallets.vault.port import (
    AllowanceTerms,
    Authorize,
    Capture,
    Increment,
    Initiation,
    Limit,
    OperationKind,
    OperationStatus,
    Payout,
    Reauthorize,
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


FollowUp = Capture | Void | Refund | Increment
Request = Authorize | Reauthorize | FollowUp | Payout


def kind_of(request: Request) -> OperationKind:
    match request:
        case Authorize() | Reauthorize():
            return OperationKind.AUTHORIZE
        case Capture():
            return OperationKind.CAPTURE
        case Void():
            return OperationKind.VOID
        case Refund():
            return OperationKind.REFUND
        case Increment():
            return OperationKind.INCREMENT
        case Payout():
            return OperationKind.PAYOUT
        case _:
            assert_never(request)


def parent_of(request: FollowUp) -> OperationId:
    """Return the authorization of a capture, void or increment, the capture of a refund."""
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
            channel_text(terms.channel),
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
        # Left out where they say nothing, so that requests without them keep the digest they always had.
        if not is_plain(terms):
            parts.append(["terms", *_more_terms(terms)])
        more = _more_of(request)
        if more != _NO_MORE:
            parts.append(["request", *more])
    elif isinstance(request, Reauthorize):
        parts = [
            "reauthorize",
            request.authorization_id,
            request.amount.amount_minor,
            request.amount.currency,
            request.merchant_reason,
        ]
    elif isinstance(request, Payout):
        parts = [
            "payout",
            request.payment_method_id,
            request.customer_id,
            request.merchant_id,
            request.order_id,
            request.amount.amount_minor,
            request.amount.currency,
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


def channel_text(channel: str | frozenset[str]) -> str:
    """Return the channels of an allowance as they are stored: sorted, with a blank between."""
    return channel if isinstance(channel, str) else " ".join(sorted(channel))


def is_plain(terms: AllowanceTerms) -> bool:
    """Whether the terms have none of the scopes and limits that few allowances have."""
    return (
        terms.not_before_ms == 0
        and terms.session_id is None
        and terms.world_id is None
        and terms.device_key is None
        and terms.category is None
        and terms.max_item is None
        and terms.max_per_hour is None
        and terms.guardian_id is None
        and terms.guardian_above is None
    )


def _more_terms(terms: AllowanceTerms) -> list[object]:
    return [
        terms.not_before_ms,
        terms.session_id,
        terms.world_id,
        terms.device_key,
        terms.category,
        _plain(terms.max_item),
        _plain(terms.max_per_hour),
        terms.guardian_id,
        _plain(terms.guardian_above),
    ]


def _more_of(request: Authorize) -> tuple[object, ...]:
    return (
        request.initiation,
        request.merchant_reason,
        request.exemption,
        request.authentication,
        request.session_id,
        request.world_id,
        request.device_key,
        [[item.category, *_plain(item.unit_price)] for item in request.items] if request.items else None,
    )


_NO_MORE = (Initiation.CUSTOMER, *[None] * 7)


def _plain(amount: Money | None) -> list[object]:
    return [] if amount is None else [amount.amount_minor, amount.currency]


def is_usable(amount: Money) -> bool:
    """Whether an amount can be asked of a provider at all."""
    return 0 < amount.amount_minor <= MAX_AMOUNT_MINOR


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the vault says no, and which limit would be exceeded by how much, where it is one."""

    code: str
    limit: Limit | None = None


def _names_channels(channel: str | frozenset[str]) -> bool:
    """Whether there is a channel, and none that is empty or has a blank: stored, it could not be told from
    several channels."""
    names = (channel,) if isinstance(channel, str) else channel
    return bool(names) and all(name and " " not in name for name in names)


def invalid_terms(terms: AllowanceTerms) -> Refusal | None:
    """Return the refusal of terms that nobody could spend by, or None."""
    if not is_usable(terms.max_amount):
        return Refusal("vault.amount_invalid")
    if not _names_channels(terms.channel):
        return Refusal("allowance.terms_invalid")
    if is_plain(terms):
        return None
    limits = [terms.max_item, terms.max_per_hour, terms.guardian_above]
    contradict = (
        any(limit is not None and limit.currency != terms.max_amount.currency for limit in limits)
        or any(limit is not None and limit.amount_minor < 0 for limit in limits)
        or (terms.guardian_above is not None and terms.guardian_id is None)
        or terms.not_before_ms >= terms.expires_at_ms
    )
    return Refusal("allowance.terms_invalid") if contradict else None


def refusal_by_terms(request: Authorize, now_ms: int) -> Refusal | None:
    """Return the first rule of its own terms that the authorization breaks, or None.

    What was spent before, an approval and a revocation are not in the terms; the conditional updates that
    spend decide those.
    """
    terms = request.allowance
    amount = request.amount
    if not is_usable(amount) or not is_usable(terms.max_amount):
        return Refusal("vault.amount_invalid")
    if (request.initiation is Initiation.MERCHANT) != (request.merchant_reason is not None):
        return Refusal("vault.initiation_invalid")
    if request.merchant_id != terms.merchant_id:
        return Refusal("allowance.merchant_mismatch")
    if request.customer_id != terms.customer_id:
        return Refusal("allowance.customer_mismatch")
    if terms.order_id is not None and request.order_id != terms.order_id:
        return Refusal("allowance.order_mismatch")
    if not _names_channels(terms.channel):
        return Refusal("allowance.terms_invalid")
    if request.channel != terms.channel and (
        isinstance(terms.channel, str) or request.channel not in terms.channel
    ):
        return Refusal("allowance.channel_mismatch")
    if terms.place_id is not None and request.place_id != terms.place_id:
        return Refusal("allowance.place_mismatch")
    if terms.device_id is not None and request.device_id != terms.device_id:
        return Refusal("allowance.device_mismatch")
    if amount.currency != terms.max_amount.currency:
        return Refusal("allowance.currency_mismatch")
    if now_ms >= terms.expires_at_ms:
        return Refusal("allowance.expired")
    if not is_plain(terms):
        refusal = invalid_terms(terms) or _refusal_by_scopes(request, now_ms)
        if refusal is not None:
            return refusal
    if amount.amount_minor > terms.max_amount.amount_minor:
        return Refusal("allowance.amount_exceeded", limit_of("max_amount", terms.max_amount, amount))
    if terms.max_uses < 1:
        return Refusal("allowance.uses_exceeded", Limit("max_uses", "uses", terms.max_uses, 0, 1))
    return None


def limit_of(name: str, allowed: Money, asked: Money) -> Limit:
    """Return a limit on one amount alone."""
    return Limit(name, allowed.currency, allowed.amount_minor, 0, asked.amount_minor)


def _refusal_by_scopes(request: Authorize, now_ms: int) -> Refusal | None:
    """The scopes of games and worlds, and the limits that need no count."""
    terms = request.allowance
    if now_ms < terms.not_before_ms:
        return Refusal("allowance.not_yet_valid")
    if terms.session_id is not None and request.session_id != terms.session_id:
        return Refusal("allowance.session_mismatch")
    if terms.world_id is not None and request.world_id != terms.world_id:
        return Refusal("allowance.world_mismatch")
    if terms.device_key is not None and request.device_key != terms.device_key:
        return Refusal("allowance.device_key_mismatch")
    if terms.category is not None or terms.max_item is not None:
        if not request.items:
            return Refusal("allowance.items_missing")
        for item in request.items:
            if terms.category is not None and item.category != terms.category:
                return Refusal("allowance.category_mismatch")
            if terms.max_item is None:
                continue
            if item.unit_price.currency != terms.max_item.currency:
                return Refusal("allowance.currency_mismatch")
            if item.unit_price.amount_minor > terms.max_item.amount_minor:
                return Refusal(
                    "allowance.item_exceeded", limit_of("max_item", terms.max_item, item.unit_price)
                )
    if terms.max_per_hour is not None and request.amount.amount_minor > terms.max_per_hour.amount_minor:
        return Refusal(
            "allowance.hour_exceeded", limit_of("max_per_hour", terms.max_per_hour, request.amount)
        )
    return None
