"""The optional signature of ACP requests: detached, base64url, over the canonical JSON of the body.

Which algorithms count is agreed with each caller beside the protocol (ACP 2.1); here Ed25519 and ES256. The
timestamp is not part of what is signed, so it only bounds how late an honest request may come; a replayed
one meets its idempotency key.
"""

from __future__ import annotations

import base64
import binascii

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from gateway.kernel.clock import parse_rfc3339

TOLERANCE_MS = 300_000

SignatureKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey


def signature_key(pem: bytes) -> SignatureKey:
    """Return a caller's public key. Raises ValueError for anything but Ed25519 and P-256."""
    key = load_pem_public_key(pem)
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise ValueError("a signature key is an Ed25519 or a P-256 public key")


def is_signed(key: SignatureKey, signature: str, canonical: bytes) -> bool:
    """Whether the header's signature is the key's over these bytes. ES256 is r and s, 32 bytes each."""
    try:
        raw = base64.b64decode(signature + "=" * (-len(signature) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return False
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(raw, canonical)
        elif len(raw) == 64:
            pair = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
            key.verify(pair, canonical, ec.ECDSA(hashes.SHA256()))
        else:
            return False
    except InvalidSignature:
        return False
    return True


def is_timely(timestamp: str, now_ms: int) -> bool:
    """Whether an RFC 3339 time is within the tolerance of our clock."""
    try:
        return abs(parse_rfc3339(timestamp) - now_ms) <= TOLERANCE_MS
    except (ValueError, OverflowError):
        return False
