"""Signatures of webhooks, over the raw body, compared in constant time, with a limited age.

Two schemes: Standard Webhooks (``webhook-id``, ``webhook-timestamp``, ``webhook-signature: v1,<base64>``;
standardwebhooks.com, specification 1.0) and Stripe's (``stripe-signature: t=<seconds>,v1=<hex>``). Both take
several signatures at once, so that a key can be changed without a gap.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence

from wallets.vault.providers.port import NotAuthenticError
from wallets.vault.secret import Secret

TOLERANCE_MS = 300_000
"""Five minutes, either way, as both schemes advise."""
_KEY_PREFIX = "whsec_"
_LONGEST_HEADER = 4_096


def standard_headers(key: Secret, event_id: str, body: bytes, now_ms: int) -> dict[str, str]:
    """Return the headers that sign a body as Standard Webhooks says. ``key`` is ``whsec_<base64>``."""
    timestamp = str(now_ms // 1000)
    return {
        "webhook-id": event_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": "v1," + _standard_mac(key, event_id, timestamp, body),
    }


def check_standard(keys: Sequence[Secret], headers: Mapping[str, str], body: bytes, now_ms: int) -> str:
    """Return the event's id. Raises NotAuthenticError."""
    event_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    signatures = headers.get("webhook-signature", "")
    if not 0 < len(event_id) <= 255 or len(signatures) > _LONGEST_HEADER:
        raise NotAuthenticError("a header is missing")
    _check_age(timestamp, now_ms)
    given = [part[3:] for part in signatures.split(" ") if part.startswith("v1,")]
    _check(given, [_standard_mac(key, event_id, timestamp, body) for key in keys])
    return event_id


def stripe_header(key: Secret, body: bytes, now_ms: int) -> str:
    """Return the value of ``stripe-signature`` for a body."""
    timestamp = str(now_ms // 1000)
    return f"t={timestamp},v1={_stripe_mac(key, timestamp, body)}"


def check_stripe(keys: Sequence[Secret], headers: Mapping[str, str], body: bytes, now_ms: int) -> None:
    """Raises NotAuthenticError unless the body is signed with one of the keys."""
    header = headers.get("stripe-signature", "")
    if len(header) > _LONGEST_HEADER:
        raise NotAuthenticError("the header is too long")
    parts = [part.strip().partition("=") for part in header.split(",")]
    timestamp = next((value for name, _, value in parts if name == "t"), "")
    _check_age(timestamp, now_ms)
    given = [value for name, _, value in parts if name == "v1"]
    _check(given, [_stripe_mac(key, timestamp, body) for key in keys])


def _standard_mac(key: Secret, event_id: str, timestamp: str, body: bytes) -> str:
    try:
        raw = base64.b64decode(key.reveal().removeprefix(_KEY_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("a webhook key is base64 after 'whsec_'") from None
    signed = f"{event_id}.{timestamp}.".encode() + body
    return base64.b64encode(hmac.digest(raw, signed, hashlib.sha256)).decode()


def _stripe_mac(key: Secret, timestamp: str, body: bytes) -> str:
    return hmac.digest(key.reveal().encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hex()


def _check_age(timestamp: str, now_ms: int) -> None:
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise NotAuthenticError("the timestamp is missing")
    if abs(int(timestamp) * 1000 - now_ms) > TOLERANCE_MS:
        raise NotAuthenticError("the timestamp is too far away")


def _check(given: Sequence[str], expected: Sequence[str]) -> None:
    # Every pair is compared, so that the time tells nothing about which key or signature was near.
    matches = [hmac.compare_digest(one.encode(), other.encode()) for one in given[:10] for other in expected]
    if not any(matches):
        raise NotAuthenticError("no signature fits")
