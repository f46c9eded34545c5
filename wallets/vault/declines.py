"""Network response codes and what they mean for the next step.

Sources: Visa Acceptance decline categories and Mastercard merchant advice codes as published by acquirers
(state of January 2026). Lists of Visa's category 1 differ between providers; the entries here are those all
of them share. A code without advice is not tried again.
"""

from __future__ import annotations

from wallets.vault.port import Decline, DeclineClass

_NEVER = DeclineClass.HARD_NEVER
_LATER = DeclineClass.SOFT_RETRY_LATER
_FIX = DeclineClass.FIX_DATA
_SCA = DeclineClass.SOFT_NEEDS_SCA

_MESSAGES = {
    _NEVER: "The bank refused this card. Please use another payment method.",
    _LATER: "The bank cannot approve this now. Please try later or use another payment method.",
    _FIX: "Some card details are not right. Please check them.",
    _SCA: "The bank asks you to confirm this payment.",
    DeclineClass.FRAUD_HOLD: "The bank refused this payment. Please use another payment method.",
}

_BY_CODE: dict[str, DeclineClass] = {
    # Visa category 1, the issuer will never approve.
    **dict.fromkeys(("04", "07", "12", "14", "15", "41", "43", "46", "57", "R0", "R1", "R3"), _NEVER),
    # Funds, limits and outages.
    **dict.fromkeys(("51", "61", "65", "91", "96"), _LATER),
    # Expiry, PIN, security code.
    **dict.fromkeys(("54", "55", "N7"), _FIX),
    "1A": _SCA,
    "59": DeclineClass.FRAUD_HOLD,
    # Not a network code: the customer failed or rejected the challenge, and such a payment must not be
    # authorized (EMV 3-D Secure, transaction status N).
    "3DS:N": _NEVER,
}

_BY_BRAND: dict[tuple[str, str], DeclineClass] = {
    # Visa means a frequency limit; Mastercard online asks for authentication.
    ("mastercard", "65"): _SCA,
}


def classify(brand: str, code: str) -> DeclineClass:
    """Return the class of a raw network code."""
    return _BY_BRAND.get((brand, code)) or _BY_CODE.get(code, _NEVER)


def decline(brand: str, code: str) -> Decline:
    """Return the decline of a raw network code."""
    return classified(code, classify(brand, code))


def classified(code: str, decline_class: DeclineClass) -> Decline:
    """Return a decline whose class is known already, with its message for people."""
    return Decline(code, decline_class, _MESSAGES[decline_class])
