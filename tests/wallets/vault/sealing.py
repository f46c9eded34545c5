"""What a browser or a device does with a card: encrypt it to the vault's key. And a key pair made once."""

from __future__ import annotations

import secrets
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from joserfc import jwe
from joserfc.jwk import RSAKey
from pydantic_core import to_json

from wallets.vault import card_keys
from wallets.vault.port import CardEntry, CardKey


@cache
def one_card_key() -> RSAPrivateKey:
    """Making a key pair takes tenths of a second: the tests share one."""
    return card_keys.generate()


def card_document(card: CardEntry) -> dict[str, Any]:
    return {
        "number": card.number.reveal(),
        "expiry_month": card.expiry_month,
        "expiry_year": card.expiry_year,
        "security_code": card.security_code.reveal(),
        "holder": card.holder.reveal(),
    }


def document(card: CardEntry, subject: str, iat: int, /, **changes: Any) -> dict[str, Any]:
    made = {"iat": iat, "jti": secrets.token_urlsafe(24), "sub": subject, "card": card_document(card)}
    return {**made, **changes}


def sealed(key: CardKey, content: Any, **header: Any) -> str:
    """Encrypt any document; ``header`` changes the protected header."""
    public = RSAKey.import_key({"kty": "RSA", "n": key.modulus, "e": key.exponent})
    protected = {"alg": "RSA-OAEP-256", "enc": "A256GCM", "kid": key.key_id, **header}
    plain = content if isinstance(content, bytes) else to_json(content)
    return jwe.encrypt_compact(protected, plain, public, [protected["alg"], protected["enc"], "DEF"])


def sealed_card(key: CardKey, card: CardEntry, subject: str) -> str:
    """Return the card as a device would send it."""
    return sealed(key, document(card, subject, key.now_s))
