"""What a provider cannot do is refused here, before it is asked. Rules over its `Capabilities`, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wallets.vault.port import Authorize, Initiation, OperationKind
from wallets.vault.providers.port import Capabilities

CANNOT = "vault.provider_cannot"


@dataclass(frozen=True, slots=True)
class Captures:
    """Of one authorization."""

    begun: int = 0
    """Not failed so far."""
    done: int = 0


def refusal_of_authorize(able: Capabilities, request: Authorize) -> str | None:
    """Return why this provider is not asked to authorize, or None.

    An exemption is only a request: one that the provider cannot pass on is not asked for.
    """
    if request.initiation is Initiation.MERCHANT and not able.merchant_initiated:
        return CANNOT
    if request.initiation is Initiation.MOTO and not able.moto:
        return CANNOT
    return CANNOT if request.request_challenge and not able.challenge else None


def needs_parent(able: Capabilities, kind: OperationKind) -> bool:
    """Whether the parent must be read before it is known if the provider can do this."""
    match kind:
        case OperationKind.CAPTURE:
            return not able.partial_capture or able.most_captures < MANY
        case OperationKind.VOID:
            return not (able.partial_void and able.void_after_capture)
        case OperationKind.REFUND:
            return not able.partial_refund
        case _:
            # The parent of an increment names the allowance that pays for it.
            return kind is OperationKind.INCREMENT


MANY = 1_000
"""As many captures as nobody needs: they are not counted."""


def refusal_of_follow_up(
    able: Capabilities, kind: OperationKind, amount_minor: int, parent: Any, captures: Captures
) -> str | None:
    """Return why this provider is not asked, or None.

    ``parent`` may be None where `needs_parent` says so, or where there is none (another rule refuses that).
    """
    if kind is OperationKind.INCREMENT:
        return None if able.incremental_authorization else CANNOT
    if parent is None or parent.amount_minor is None:  # refused for its amount: another rule says no
        return None
    if kind is OperationKind.REFUND:
        return CANNOT if not able.partial_refund and amount_minor < parent.amount_minor else None
    is_part = amount_minor < parent.amount_minor
    if kind is OperationKind.CAPTURE:
        none_left = captures.begun >= able.most_captures
        return CANNOT if (is_part and not able.partial_capture) or none_left else None
    if able.partial_void or (captures.begun and not able.void_after_capture):
        return None
    if captures.begun == captures.done:
        is_part = amount_minor < parent.amount_minor - parent.captured_minor - parent.voided_minor
    return CANNOT if is_part else None


def is_released_by_capture(able: Capabilities, kind: OperationKind, captures: Captures) -> bool:
    """Whether a void needs no call: the one capture that the provider allows has released the rest."""
    return kind is OperationKind.VOID and captures.done > 0 and not able.void_after_capture


def waits_for_capture(able: Capabilities, kind: OperationKind, captures: Captures) -> bool:
    """Whether a void must wait: a capture that is not decided will release the rest, or leave all of it."""
    if kind is not OperationKind.VOID or able.void_after_capture:
        return False
    return captures.begun > 0 and captures.done == 0
