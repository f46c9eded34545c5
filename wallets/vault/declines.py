"""Network response codes and what they mean for the next step.

What a code means is data with source and date (``data/declines.toml``), read once when the program starts.
A code without advice is not tried again.
"""

from __future__ import annotations

from typing import Final

from wallets.vault.decline_data import ANY, Blocks, Cap, Ruling, load_caps, load_declines
from wallets.vault.port import Decline, DeclineClass, MethodKind

TABLE: Final = load_declines()
CAPS: Final = load_caps()
ACCOUNTS = "iso20022"
"""The network of account payments: their codes are ISO 20022 reasons."""

_MESSAGES = {
    DeclineClass.HARD_NEVER: "The bank refused this card. Please use another payment method.",
    DeclineClass.SOFT_RETRY_LATER: (
        "The bank cannot approve this now. Please try later or use another payment method."
    ),
    DeclineClass.FIX_DATA: "Some card details are not right. Please check them.",
    DeclineClass.SOFT_NEEDS_SCA: "The bank asks you to confirm this payment.",
    DeclineClass.FRAUD_HOLD: "The bank refused this payment. Please use another payment method.",
}
_CODES = {key: entry.ruling for key, entry in TABLE.codes.items()}
_ADVICE = {key: entry.ruling for key, entry in TABLE.advice.items()}


def ruling(network: str, code: str, advice: str | None = None) -> Ruling:
    """Return what follows from a raw network code and the network's advice.

    Advice goes first, except before a code that blocks the card or asks for authentication.
    """
    by_code = _CODES.get((network, code)) or _CODES.get((ANY, code))
    by_advice = None if advice is None else _ADVICE.get((network, advice))
    if by_advice is None:
        return by_code or TABLE.unlisted
    if by_code is not None and (
        by_code.blocks is Blocks.CARD or by_code.decline_class is DeclineClass.SOFT_NEEDS_SCA
    ):
        return by_code
    return by_advice


def classify(network: str, code: str, advice: str | None = None) -> DeclineClass:
    """Return the class of a raw network code."""
    return ruling(network, code, advice).decline_class


def decline(network: str, code: str, advice: str | None = None) -> Decline:
    """Return the decline of a raw network code."""
    return classified(code, classify(network, code, advice), advice)


def classified(code: str, decline_class: DeclineClass, advice: str | None = None) -> Decline:
    """Return a decline whose class is known already, with its message for people."""
    return Decline(code, decline_class, _MESSAGES[decline_class], advice)


def network_of(kind: str, brand: str) -> str:
    """Return the network whose rules count for a stored method: its brand, or the account scheme."""
    return ACCOUNTS if kind == MethodKind.SEPA_DEBIT else brand


def caps_of(network: str) -> tuple[Cap, ...]:
    """Return how many declined attempts the network accepts within which times."""
    return CAPS.get(network) or CAPS[ANY]
