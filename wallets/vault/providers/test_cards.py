"""The card numbers that the simulated acquirer knows, and what each of them does.

These are the only numbers an embedded vault accepts. All are Luhn-valid and lie in ranges that issuers do
not use for customers. Any expiry in the future and any security code of the right length will do.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from enum import StrEnum

from wallets.vault.port import MethodKind, OperationKind


class Behaviour(StrEnum):
    """What the acquirer does with the operation that the card is about."""

    APPROVE = "approve"
    DECLINE = "decline"
    CHALLENGE = "challenge"
    """Always asks for the customer's action, whether requested or not."""
    NEEDS_SCA = "needs_sca"
    """Declines unless a challenge was requested, then asks for the customer's action."""
    ANSWER_LOST = "answer_lost"
    """Acts, durably, and never answers: only a query finds it."""
    NEVER_ARRIVES = "never_arrives"
    """Neither acts nor answers, as if the request were lost on the way."""
    SLOW = "slow"
    """Acts and answers after the acquirer's configured delay."""


@dataclass(frozen=True, slots=True)
class SimulatedCard:
    """One test card. ``affects`` names the operation that behaves so; the others are approved."""

    name: str
    number: str
    brand: str
    behaviour: Behaviour
    description: str
    network_code: str = "00"
    affects: OperationKind = OperationKind.AUTHORIZE
    verifies: bool = True
    """Whether the card passes the check when it is stored."""
    network_number: str | None = None
    """The number that the network gives this card for our requestor (EMV payment tokenisation)."""

    @property
    def account_reference(self) -> str:
        """PAR: four characters of who controls the BIN and 25 more, the same for every token of the card."""
        digest = hashlib.sha256(b"par:" + (self.number or self.name).encode()).digest()
        return "V0SM" + base64.b32encode(digest).decode()[:25]


VISA = "4242424242424242"
MASTERCARD = "5555555555554444"
AMEX = "378282246310005"
INSUFFICIENT_FUNDS = "4000000000009995"
ISSUER_UNAVAILABLE = "4000000000009110"
NEEDS_SCA = "4000000000001109"
MASTERCARD_NEEDS_SCA = "5200000000000650"
EXPIRED_AT_ISSUER = "4000000000000069"
PICK_UP = "4000000000000044"
LOST_CARD = "4000000000009987"
STOLEN_CARD = "4000000000009979"
SUSPECTED_FRAUD = "4000000000000259"
CHALLENGE = "4000000000003220"
ANSWER_LOST = "4000000000000119"
NEVER_ARRIVES = "4000000000000127"
SLOW = "4000000000000135"
CAPTURE_DECLINED = "4000000000000341"
CAPTURE_ANSWER_LOST = "4000000000000358"
CAPTURE_NEVER_ARRIVES = "4000000000000366"
VOID_ANSWER_LOST = "4000000000000416"
REFUND_ANSWER_LOST = "4000000000000424"
REFUND_DECLINED = "4000000000000432"
WRONG_SECURITY_CODE = "4000000000000101"
WITH_NETWORK_NUMBER = "4000000000000440"
INCREMENT_DECLINED = "4000000000000457"
PAYOUT_DECLINED = "4000000000000465"

_B = Behaviour
_CAPTURE, _VOID, _REFUND = OperationKind.CAPTURE, OperationKind.VOID, OperationKind.REFUND
_INCREMENT, _PAYOUT = OperationKind.INCREMENT, OperationKind.PAYOUT
_CARDS = (
    SimulatedCard("visa", VISA, "visa", _B.APPROVE, "Approved"),
    SimulatedCard("mastercard", MASTERCARD, "mastercard", _B.APPROVE, "Approved"),
    SimulatedCard("amex", AMEX, "amex", _B.APPROVE, "Approved; four-digit security code"),
    SimulatedCard(
        "insufficient_funds", INSUFFICIENT_FUNDS, "visa", _B.DECLINE, "Not enough money; later", "51"
    ),
    SimulatedCard(
        "issuer_unavailable", ISSUER_UNAVAILABLE, "visa", _B.DECLINE, "Issuer not reachable; later", "91"
    ),
    SimulatedCard("needs_sca", NEEDS_SCA, "visa", _B.NEEDS_SCA, "Soft decline until challenged", "1A"),
    SimulatedCard(
        "mastercard_needs_sca",
        MASTERCARD_NEEDS_SCA,
        "mastercard",
        _B.NEEDS_SCA,
        "Soft decline until challenged",
        "65",
    ),
    SimulatedCard(
        "expired_at_issuer", EXPIRED_AT_ISSUER, "visa", _B.DECLINE, "Expired card; fix the data", "54"
    ),
    SimulatedCard("pick_up", PICK_UP, "visa", _B.DECLINE, "Pick up card; never again", "04"),
    SimulatedCard("lost_card", LOST_CARD, "visa", _B.DECLINE, "Lost card; never again", "41"),
    SimulatedCard("stolen_card", STOLEN_CARD, "visa", _B.DECLINE, "Stolen card; never again", "43"),
    SimulatedCard("suspected_fraud", SUSPECTED_FRAUD, "visa", _B.DECLINE, "Suspected fraud; hold", "59"),
    SimulatedCard(
        "challenge", CHALLENGE, "visa", _B.CHALLENGE, "The customer must confirm on the hosted page"
    ),
    SimulatedCard(
        "answer_lost", ANSWER_LOST, "visa", _B.ANSWER_LOST, "Authorized, but the answer never comes"
    ),
    SimulatedCard(
        "never_arrives", NEVER_ARRIVES, "visa", _B.NEVER_ARRIVES, "Not authorized, and no answer comes"
    ),
    SimulatedCard("slow", SLOW, "visa", _B.SLOW, "Approved after a delay"),
    SimulatedCard(
        "capture_declined",
        CAPTURE_DECLINED,
        "visa",
        _B.DECLINE,
        "Authorized; captures are declined",
        "05",
        _CAPTURE,
    ),
    SimulatedCard(
        "capture_answer_lost",
        CAPTURE_ANSWER_LOST,
        "visa",
        _B.ANSWER_LOST,
        "Captured, but the answer never comes",
        affects=_CAPTURE,
    ),
    SimulatedCard(
        "capture_never_arrives",
        CAPTURE_NEVER_ARRIVES,
        "visa",
        _B.NEVER_ARRIVES,
        "Not captured, and no answer comes",
        affects=_CAPTURE,
    ),
    SimulatedCard(
        "void_answer_lost",
        VOID_ANSWER_LOST,
        "visa",
        _B.ANSWER_LOST,
        "Voided, but the answer never comes",
        affects=_VOID,
    ),
    SimulatedCard(
        "refund_answer_lost",
        REFUND_ANSWER_LOST,
        "visa",
        _B.ANSWER_LOST,
        "Refunded, but the answer never comes",
        affects=_REFUND,
    ),
    SimulatedCard(
        "refund_declined", REFUND_DECLINED, "visa", _B.DECLINE, "Refunds are declined", "57", _REFUND
    ),
    SimulatedCard(
        "wrong_security_code",
        WRONG_SECURITY_CODE,
        "visa",
        _B.DECLINE,
        "Refused when it is stored: wrong security code",
        "N7",
        verifies=False,
    ),
    SimulatedCard(
        "network_token",
        WITH_NETWORK_NUMBER,
        "visa",
        _B.APPROVE,
        "Approved; the network gives a token of the card",
        network_number="4895370000000007",
    ),
    SimulatedCard(
        "increment_declined",
        INCREMENT_DECLINED,
        "visa",
        _B.DECLINE,
        "Authorized; raising the authorization is declined",
        "51",
        _INCREMENT,
    ),
    SimulatedCard(
        "payout_declined",
        PAYOUT_DECLINED,
        "visa",
        _B.DECLINE,
        "Approved; money cannot be sent to it",
        "57",
        _PAYOUT,
    ),
)

TEST_CARDS: dict[str, SimulatedCard] = {card.number: card for card in _CARDS}
"""By card number."""

# What comes without a number. A terminal's reference names the card that was read: ``terminal:visa``.
_PASSED = (
    SimulatedCard("apple_pay", "", "visa", _B.APPROVE, "A card in Apple Pay"),
    SimulatedCard("google_pay", "", "visa", _B.APPROVE, "A card in Google Pay"),
)
_ACCOUNTS = (
    SimulatedCard("account", "DE89370400440532013000", "sepa", _B.APPROVE, "Direct debits are paid"),
    SimulatedCard(
        "account_empty", "AT611904300234573201", "sepa", _B.DECLINE, "Not enough money", "AM04", _CAPTURE
    ),
    SimulatedCard(
        "account_closed", "NL91ABNA0417164300", "sepa", _B.DECLINE, "The account is closed", "AC04", _CAPTURE
    ),
    SimulatedCard("no_mandate", "FR1420041010050500013M02606", "sepa", _B.DECLINE, "No mandate", "MD01"),
)
TERMINAL_PREFIX = "terminal:"

TEST_ACCOUNTS: dict[str, SimulatedCard] = {account.number: account for account in _ACCOUNTS}
"""Accounts of direct debits by IBAN."""

TEST_CARDS_BY_NAME: dict[str, SimulatedCard] = {card.name: card for card in _CARDS}
"""By name; the acquirer's database and the documentation know cards by name only."""

TEST_TERMINAL_TOKENS: dict[str, SimulatedCard] = {TERMINAL_PREFIX + card.name: card for card in _CARDS}
"""By what a terminal passes."""

PAYERS_BY_NAME: dict[str, SimulatedCard] = {card.name: card for card in (*_CARDS, *_PASSED, *_ACCOUNTS)}
"""Cards and accounts, with or without a number."""

CARD_OF_WALLET: dict[MethodKind, SimulatedCard] = {
    MethodKind.APPLE_PAY: PAYERS_BY_NAME["apple_pay"],
    MethodKind.GOOGLE_PAY: PAYERS_BY_NAME["google_pay"],
}

CARDS_OF_TOKENS: dict[str, SimulatedCard] = {
    card.network_number: card for card in _CARDS if card.network_number is not None
}
"""By network token."""
