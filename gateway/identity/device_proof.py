"""A device's proof that it holds the key an allowance is bound to (after RFC 9449).

The proof is a JWS in compact form: header ``{"typ": "vitrine-payment+jwt", "alg": "ES256" or "Ed25519",
"jwk": <public key>}``, payload ``{"allowance_id", "sub", "iat"}``. ``sub`` is the quote that is ordered or
the order that is paid, so that a proof which was overheard pays for nothing else.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gateway.kernel.errors import InvalidError

if TYPE_CHECKING:
    from joserfc.jwk import ECKey, OKPKey

TYPE = "vitrine-payment+jwt"
ALGORITHMS = {"ES256": ("EC", "P-256"), "Ed25519": ("OKP", "Ed25519")}
TOLERANCE_S = 300
AHEAD_S = 10
"""How far a device's clock may run ahead of ours. More would only make its proofs last longer."""
_PRIVATE = frozenset({"d", "k", "p", "q"})


def device_key_of(proof: str, *, allowance_id: str, subject: str, now_ms: int) -> str:
    """Return the RFC 7638 thumbprint of the key that made the proof.

    Raises InvalidError ``device_proof.invalid``: not of this form, for something else, badly signed, more
    than five minutes old, or more than ten seconds ahead of us.
    """
    from joserfc.errors import JoseError

    try:
        key, claims = _verified(proof)
        issued_at_s = claims["iat"]
        for_this = (claims["allowance_id"], claims["sub"]) == (allowance_id, subject)
        if not for_this or type(issued_at_s) is not int:
            raise _invalid("it is not for this payment")
    except (JoseError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _invalid("it cannot be read or its signature is wrong") from error
    # In whole numbers: the time is whatever somebody wrote, and may be too large for a float.
    now_s = now_ms // 1000
    if issued_at_s < now_s - TOLERANCE_S:
        raise _invalid("it is too old")
    if issued_at_s > now_s + AHEAD_S:
        raise _invalid("it is of a time to come")
    return str(key.thumbprint())


def _verified(proof: str) -> tuple[ECKey | OKPKey, dict[str, Any]]:
    """Return the key and the claims. Raises JoseError, ValueError, KeyError or TypeError."""
    from joserfc import jws
    from joserfc.jwk import ECKey, OKPKey

    header = jws.extract_compact(proof.encode()).headers()
    algorithm, public = header["alg"], header["jwk"]
    kind, curve = ALGORITHMS[algorithm]
    if header["typ"] != TYPE or not isinstance(public, dict) or _PRIVATE & public.keys():
        raise ValueError("header")
    if (public["kty"], public["crv"]) != (kind, curve):
        raise ValueError("key")
    key = ECKey.import_key(public) if kind == "EC" else OKPKey.import_key(public)
    signed = jws.deserialize_compact(proof, key, algorithms=[algorithm])
    claims = json.loads(signed.payload)
    if not isinstance(claims, dict):
        raise ValueError("claims")
    return key, claims


def _invalid(why: str) -> InvalidError:
    return InvalidError(
        "device_proof.invalid",
        f"The proof of the device's key does not count: {why}.",
        param="$.body.payment.device_proof",
    )
