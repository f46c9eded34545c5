"""Dynamic linking: what a strong customer authentication was passed for (RTS 2018/389 Art. 5).

The payer sees amount and payee, and the code they make is specific to both. Our code is the *link*: SHA-256
over order, amount, currency, payee and a nonce. A passkey signs it as its challenge; whoever is asked to
accept the authentication can compute it again from the payment itself, so an authentication for another
amount or payee does not fit.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Self

from gateway.kernel.documents import encode
from gateway.kernel.money import Money

_DOMAIN = "vitrine.dynamic-link.1"
"""Keeps these hashes apart from every other use of SHA-256 over similar values."""
_KIND = "passkey"


def link_of(order_id: str, amount: Money, payee: str, nonce: str) -> bytes:
    """Return the link: 32 bytes. ``payee`` is the merchant's id; ``nonce`` differs each time."""
    # A JSON array, so that no two different lists of values have the same text.
    content = [_DOMAIN, order_id, amount.amount_minor, amount.currency, payee, nonce]
    return hashlib.sha256(encode(content).encode()).digest()


@dataclass(frozen=True, slots=True)
class AuthenticationReference:
    """What an authorization says of an authentication that was passed (`port.Authorize.authentication`)."""

    authentication_id: str
    nonce: str
    link: str
    """Hexadecimal."""

    def __str__(self) -> str:
        return f"{_KIND}.{self.authentication_id}.{self.nonce}.{self.link}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the reference. Raises ValueError for a text that is none."""
        kind, *parts = text.split(".")
        if kind != _KIND or len(parts) != 3 or not all(parts):
            raise ValueError("not the reference of an authentication")
        return cls(*parts)

    def binds(self, order_id: str, amount: Money, payee: str) -> bool:
        """Whether the authentication was passed for exactly this payment."""
        return hmac.compare_digest(link_of(order_id, amount, payee, self.nonce).hex(), self.link)
