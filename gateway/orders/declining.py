"""What a payment that was not made is told as: why, which limit by how much, and what would work instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.kernel.clock import rfc3339
from gateway.kernel.money import Money
from gateway.orders import capturing
from gateway.orders.alternatives import alternatives
from gateway.orders.model import OrderState
from gateway.orders.purchase import Purchase
from wallets.vault.port import REFUSALS, DeclineClass, Limit, OperationResult, OperationStatus

_NOT_MADE = "The payment could not be made."
_CLASS_OF_REFUSAL = {
    "vault.retry_forbidden": DeclineClass.HARD_NEVER,
    "vault.retry_too_early": DeclineClass.SOFT_RETRY_LATER,
    "vault.attempts_exceeded": DeclineClass.SOFT_RETRY_LATER,
    "allowance.guardian_declined": DeclineClass.HARD_NEVER,
}
"""The networks' rules about attempts, which the vault holds, and the guardian's word: what they mean for the
next step."""


def reason_of(result: OperationResult) -> dict[str, Any]:
    """Return why an authorization was not made, as attempts keep it and events tell it.

    ``limit`` is there where the vault names one, ``retry_at`` where waiting is all it takes.
    """
    if result.decline is not None:
        decline = result.decline
        return {"class": decline.decline_class.value, "code": decline.code, "message": decline.message}
    # Failed: the request was lost, and the same method may work. Refused: a rule of the vault.
    failed = result.status is OperationStatus.FAILED
    code, limit = result.refusal or "failed", result.limit
    passes_later = failed or (limit is not None and limit.retry_at_ms is not None)
    soft = DeclineClass.SOFT_RETRY_LATER if passes_later else DeclineClass.FIX_DATA
    reason: dict[str, Any] = {
        "class": _CLASS_OF_REFUSAL.get(code, soft).value,
        "code": code,
        # What an allowance refuses its customer can understand; other rules are between us and the vault.
        "message": REFUSALS.get(code, _NOT_MADE) if code.startswith("allowance.") else _NOT_MADE,
    }
    if limit is not None:
        reason["limit"] = limit_document(limit)
        if limit.retry_at_ms is not None:
            reason["retry_at"] = rfc3339(limit.retry_at_ms)
    return reason


def limit_document(limit: Limit) -> dict[str, Any]:
    """Return a limit with what was asked, in minor units of a currency or in whole uses."""
    return {
        "name": limit.name,
        "unit": limit.unit,
        "allowed": limit.allowed,
        "used": limit.used,
        "asked": limit.asked,
        "over_by": limit.over_by,
    }


def told(reason: Mapping[str, Any]) -> dict[str, Any]:
    """Return a reason as the wire writes it."""
    return {
        "decline_class": reason["class"],
        "code": reason["code"],
        "message": reason["message"],
        **{name: reason[name] for name in ("limit", "retry_at") if name in reason},
    }


def owed(purchase: Purchase) -> Money:
    """Return what another way would have to pay: everything, or in place of a lost authorization the rest."""
    if purchase.state is OrderState.PLACED:
        return purchase.total
    return Money(capturing.needed(purchase), purchase.currency)


def tell_declined(purchase: Purchase, reason: Mapping[str, Any], pay_until_ms: int) -> None:
    """Announce a decline with the ways to pay that are left; the order waits for one of them."""
    purchase.tell(
        "payment.declined",
        **told(reason),
        alternatives=alternatives(purchase, owed(purchase)),
        pay_until=rfc3339(pay_until_ms),
    )
