"""Payment methods as the port gives and takes them: stored, typed, passed through, entered on a page.

Nothing in these values can print a card number or a security code.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gateway.kernel.subjects import PaymentMethodId
from wallets.vault.secret import Secret


class MethodKind(StrEnum):
    """What a stored payment method is. Only CARD holds a card number, and only inside the vault."""

    CARD = "card"
    CARD_PRESENT = "card_present"
    """A card read by a terminal: the provider's token and the PAR, never a number (PCI P2PE)."""
    APPLE_PAY = "apple_pay"
    GOOGLE_PAY = "google_pay"
    """A wallet's payment token, verified and passed through encrypted. Single use: it holds a cryptogram."""
    SEPA_DEBIT = "sepa_debit"
    CASH = "cash"
    """A promise to pay at the till, the door or the pickup counter; staff confirm what was collected."""
    VOUCHER = "voucher"
    """Stored value that this installation issued."""


@dataclass(frozen=True, slots=True)
class CardEntry:
    """A card as the customer typed it. Every field that identifies it prints masked."""

    number: Secret
    expiry_month: int
    expiry_year: int
    """Four digits."""
    security_code: Secret
    holder: Secret

    @classmethod
    def typed(
        cls, number: str, expiry_month: int, expiry_year: int, security_code: str, holder: str = ""
    ) -> CardEntry:
        """Wrap the texts. Blanks and hyphens in the number are allowed; nothing is checked here."""
        return cls(
            Secret(number.replace(" ", "").replace("-", "")),
            expiry_month,
            expiry_year,
            Secret(security_code),
            Secret(holder),
        )


@dataclass(frozen=True, slots=True)
class StoredMethod:
    """What anybody outside the vault may know of a stored payment method."""

    payment_method_id: PaymentMethodId
    customer_id: str
    kind: str
    """A `MethodKind`."""
    brand: str
    """``visa``, ``mastercard``, ``amex``; of another kind the name people know it by."""
    last4: str
    """Of the card or account number; empty where there is none."""
    expiry_month: int
    """0 where the method has no expiry."""
    expiry_year: int
    created_at_ms: int
    account_reference: str | None = None
    """PAR of a card (29 characters): the same for every token of one card, and no means to pay."""


@dataclass(frozen=True, slots=True)
class PassedMethod:
    """A method whose secret is the provider's: a terminal's token, a wallet's payload, a mandate.

    ``reference`` is what the provider is to be handed back; `facts` what may be shown of it.
    """

    kind: MethodKind
    reference: Secret
    brand: str = ""
    last4: str = ""
    expiry_month: int = 0
    expiry_year: int = 0
    account_reference: str | None = None
    mandate_reference: str = ""
    """Of a SEPA mandate: what the customer signed. `reference` is the account number (IBAN) then."""


@dataclass(frozen=True, slots=True)
class CardSession:
    """A page on which the customer enters one card. Whoever has the address may use it, once."""

    url: str
    """Absolute where the vault is a process of its own; otherwise a path, to be joined with the public
    base URL."""
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class CardKey:
    """The public key to which a card is encrypted before it is sent (RSA, RFC 7518 section 6.3.1)."""

    key_id: str
    modulus: str
    """Base64url, as the JWK member ``n``."""
    exponent: str
    """Base64url, as the JWK member ``e``."""
    now_s: int
    """The vault's clock in whole seconds: what ``iat`` is measured against."""


@dataclass(frozen=True, slots=True)
class MethodPage:
    """Methods in the order in which their cards were entered. Hand `cursor` to the next call."""

    methods: tuple[StoredMethod, ...]
    cursor: str
