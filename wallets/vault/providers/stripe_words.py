"""Stripe's statuses and decline codes in our words, each in one place. What is not listed is no answer.

Sources: Stripe API reference, PaymentIntent and Refund ``status``; "Decline codes" and ``advice_code`` (read
in November 2026).
"""

from __future__ import annotations

from typing import Any

from wallets.vault.declines import classified
from wallets.vault.port import Action, Decline, DeclineClass
from wallets.vault.providers.port import NoAnswerError, Outcome, ProviderAnswer

_NEVER = DeclineClass.HARD_NEVER
_LATER = DeclineClass.SOFT_RETRY_LATER
_FIX = DeclineClass.FIX_DATA

_BY_ADVICE: dict[str, DeclineClass] = {
    "do_not_try_again": _NEVER,
    "try_again_later": _LATER,
    "confirm_card_data": _FIX,
}
_BY_DECLINE_CODE: dict[str, DeclineClass] = {
    **dict.fromkeys(("authentication_required", "authentication_not_handled"), DeclineClass.SOFT_NEEDS_SCA),
    **dict.fromkeys(
        (
            "approve_with_id",
            "card_velocity_exceeded",
            "insufficient_funds",
            "issuer_not_available",
            "processing_error",
            "reenter_transaction",
            "try_again_later",
            "withdrawal_count_limit_exceeded",
        ),
        _LATER,
    ),
    **dict.fromkeys(
        (
            "expired_card",
            "incorrect_address",
            "incorrect_cvc",
            "incorrect_number",
            "incorrect_pin",
            "incorrect_zip",
            "invalid_cvc",
            "invalid_expiry_month",
            "invalid_expiry_year",
            "invalid_number",
        ),
        _FIX,
    ),
    "fraudulent": DeclineClass.FRAUD_HOLD,
    "merchant_blacklist": DeclineClass.FRAUD_HOLD,
}
_FAILED_CHALLENGE = "payment_intent_authentication_failure"
_CHALLENGE_FAILED_CODE = "3DS:N"


def decline_of(error: dict[str, Any]) -> Decline:
    """Return the decline of a ``card_error`` or ``last_payment_error``. Without advice: not again."""
    if error.get("code") == _FAILED_CHALLENGE:
        return classified(_CHALLENGE_FAILED_CODE, _NEVER)
    name = error.get("decline_code") or error.get("code") or "generic_decline"
    advised = _BY_ADVICE.get(error.get("advice_code") or "")
    network_code = error.get("network_decline_code")
    code = str(network_code) if network_code else f"stripe:{name}"
    return classified(code[:40], advised or _BY_DECLINE_CODE.get(name, _NEVER))


def authorization_answer(intent: dict[str, Any], challenge_path: str) -> ProviderAnswer:
    """Return what a PaymentIntent with manual capture says of its authorization."""
    reference = str(intent["id"])
    match intent.get("status"):
        case "requires_capture" | "succeeded":
            card = _card_details(intent)
            before_s = card.get("capture_before")
            return ProviderAnswer(
                Outcome.SUCCEEDED,
                reference,
                network_transaction_id=card.get("network_transaction_id"),
                # Never assumed: without it, the caller learns of the end when a capture fails.
                capture_before_ms=None if before_s is None else int(before_s) * 1000,
            )
        case "requires_action":
            redirect = (intent.get("next_action") or {}).get("redirect_to_url") or {}
            # The provider's own page where it names one, else ours that embeds it.
            path = redirect.get("url") or challenge_path + reference
            return ProviderAnswer(Outcome.REQUIRES_ACTION, reference, action=Action(reference, path))
        case "requires_payment_method":
            error = intent.get("last_payment_error")
            if not error:
                raise NoAnswerError("an authorization without a method and without an error")
            return ProviderAnswer(Outcome.DECLINED, reference, decline=decline_of(error))
        case "canceled":
            return ProviderAnswer(Outcome.FAILED, reference, failure="provider.canceled")
        case "processing":
            return ProviderAnswer(Outcome.PENDING, reference)
        case _:
            raise NoAnswerError("an unknown status of an authorization")


def capture_answer(intent: dict[str, Any], units: int) -> ProviderAnswer | None:
    """Return what a PaymentIntent says of its only capture; None where it was not captured."""
    reference = str(intent["id"])
    match intent.get("status"):
        case "succeeded":
            received = intent.get("amount_received")
            if received is not None and received != units:
                raise NoAnswerError("captured, but another amount")
            return ProviderAnswer(Outcome.SUCCEEDED, reference)
        case "processing":
            return ProviderAnswer(Outcome.PENDING, reference)
        case "requires_capture":
            return None
        case "canceled":
            return ProviderAnswer(Outcome.FAILED, reference, failure="provider.not_open")
        case _:
            raise NoAnswerError("an unknown status of a capture")


def void_answer(intent: dict[str, Any]) -> ProviderAnswer | None:
    """Return what a PaymentIntent says of its cancellation; None where it is still open."""
    reference = str(intent["id"])
    match intent.get("status"):
        case "canceled":
            return ProviderAnswer(Outcome.SUCCEEDED, reference)
        case "succeeded" | "processing":
            return ProviderAnswer(Outcome.FAILED, reference, failure="provider.not_open")
        case "requires_capture" | "requires_action":
            return None
        case _:
            raise NoAnswerError("an unknown status of a cancellation")


def refund_answer(refund: dict[str, Any]) -> ProviderAnswer:
    reference = str(refund["id"])
    match refund.get("status"):
        case "succeeded":
            return ProviderAnswer(Outcome.SUCCEEDED, reference)
        case "pending" | "requires_action":
            return ProviderAnswer(Outcome.PENDING, reference)
        case "failed" | "canceled":
            return ProviderAnswer(Outcome.FAILED, reference, failure="provider.refund_failed")
        case _:
            raise NoAnswerError("an unknown status of a refund")


def _card_details(intent: dict[str, Any]) -> dict[str, Any]:
    charge = intent.get("latest_charge")
    details = charge.get("payment_method_details") if isinstance(charge, dict) else None
    card = (details or {}).get("card") or {}
    return card if isinstance(card, dict) else {}
