"""Google Pay: checking a payment token's signatures without opening it (protocol ECv2).

Source: Google Pay API, "Payment data cryptography for merchants". A root key signs an intermediate key, the
intermediate key signs the message; each signature is ECDSA on P-256 with SHA-256 over length-prefixed parts.
The encrypted message goes on to the provider as it is, so its own expiry is the provider's to check.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from wallets.vault.providers.payloads import (
    CheckedPayload,
    PayloadRefusedError,
    read_base64,
    read_object,
    read_text,
)

_PROTOCOL = "ECv2"
_SENDER = "Google"
_LONGEST = 16_384


@dataclass(frozen=True, slots=True)
class RootKey:
    """One of Google's root signing keys. ``expires_at_ms`` None: no end was announced."""

    public_key: bytes
    """DER SubjectPublicKeyInfo of a P-256 key."""
    expires_at_ms: int | None = None

    @classmethod
    def published(cls, text: str) -> tuple[RootKey, ...]:
        """Read the ECv2 keys of Google's published ``keys.json``."""
        return tuple(
            cls(
                base64.b64decode(key["keyValue"]),
                int(key["keyExpiration"]) if "keyExpiration" in key else None,
            )
            for key in json.loads(text)["keys"]
            if key.get("protocolVersion") == _PROTOCOL
        )


def check_google_pay(token: str, *, roots: Sequence[RootKey], recipient: str, now_ms: int) -> CheckedPayload:
    """Check a token and return what identifies it, and until when it would pass here.

    ``recipient`` is ``merchant:<id>`` or ``gateway:<name>``, as registered with Google. Raises
    PayloadRefusedError.
    """
    if len(token) > _LONGEST:
        raise PayloadRefusedError("the payload is too long")
    document = read_object(token, "the payload")
    if document.get("protocolVersion") != _PROTOCOL:
        raise PayloadRefusedError("another protocol version")
    intermediate = document.get("intermediateSigningKey")
    if not isinstance(intermediate, dict):
        raise PayloadRefusedError("no intermediate key")
    signed_key = read_text(intermediate, "signedKey")
    signatures = intermediate.get("signatures")
    if not isinstance(signatures, list) or not 0 < len(signatures) <= 10:
        raise PayloadRefusedError("no signatures of the intermediate key")
    live = [root for root in roots if root.expires_at_ms is None or root.expires_at_ms > now_ms]
    signed = _joined(_SENDER, _PROTOCOL, signed_key)
    if not any(
        _is_signed(_key(root.public_key), read_base64(signature), signed)
        for root in live
        for signature in signatures
    ):
        raise PayloadRefusedError("no root key signed the intermediate key")
    key = read_object(signed_key, "the intermediate key")
    expiration = read_text(key, "keyExpiration")
    if not (expiration.isascii() and expiration.isdigit()) or int(expiration) <= now_ms:
        raise PayloadRefusedError("the intermediate key has expired")
    message = read_text(document, "signedMessage")
    signed = _joined(_SENDER, recipient, _PROTOCOL, message)
    if not _is_signed(_key(read_base64(key.get("keyValue"))), read_base64(document.get("signature")), signed):
        raise PayloadRefusedError("the message is not signed by the intermediate key")
    parts = read_object(message, "the message")
    for name in ("encryptedMessage", "ephemeralPublicKey", "tag"):
        read_base64(parts.get(name))
    return CheckedPayload(signed, int(expiration))


def _joined(*parts: str) -> bytes:
    """Each part with its length in bytes before it, as four bytes, least significant first."""
    encoded = [part.encode() for part in parts]
    return b"".join(len(part).to_bytes(4, "little") + part for part in encoded)


def _is_signed(key: ec.EllipticCurvePublicKey, signature: bytes, signed: bytes) -> bool:
    try:
        key.verify(signature, signed, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _key(der: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        raise PayloadRefusedError("a key cannot be read") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise PayloadRefusedError("a key is not on P-256")
    return key
