"""Apple Pay: checking a payment token's signature and its chain of certificates without opening it.

Source: Apple, "Payment token format reference", EC_v1. The signature is detached CMS over the ephemeral key,
the encrypted data, the transaction id and the application data. The signer's certificate and the one above
it carry Apple's marker extensions; the chain ends at a root that is configured, never at one that came along.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from gateway.kernel.clock import utc_datetime
from wallets.vault.providers.payloads import (
    CheckedPayload,
    PayloadRefusedError,
    read_base64,
    read_hex,
    read_object,
)
from wallets.vault.providers.signed_data import NotSignedError, check_detached

LEAF_MARKER = x509.ObjectIdentifier("1.2.840.113635.100.6.29")
INTERMEDIATE_MARKER = x509.ObjectIdentifier("1.2.840.113635.100.6.2.14")
_VERSION = "EC_v1"
_FRESH_MS = 300_000
"""A token signed longer ago may be a replay."""
_LONGEST = 32_768


def check_apple_pay(payment_data: str, *, roots: Sequence[x509.Certificate], now_ms: int) -> CheckedPayload:
    """Check a token's ``paymentData``; return what identifies it, and until when it would pass here.

    Raises PayloadRefusedError.
    """
    if len(payment_data) > _LONGEST:
        raise PayloadRefusedError("the payload is too long")
    document = read_object(payment_data, "the payload")
    if document.get("version") != _VERSION:
        raise PayloadRefusedError("another version")
    header = document.get("header")
    if not isinstance(header, dict):
        raise PayloadRefusedError("no header")
    content = (
        read_base64(header.get("ephemeralPublicKey"))
        + read_base64(document.get("data"))
        + read_hex(header.get("transactionId"))
        + (read_hex(header["applicationData"]) if "applicationData" in header else b"")
    )
    try:
        signed = check_detached(read_base64(document.get("signature")), content)
    except NotSignedError as error:
        raise PayloadRefusedError(str(error)) from None
    try:
        _check_chain(signed.signer, signed.certificates, roots, utc_datetime(now_ms))
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension):
        # A certificate is read lazily: what is wrong inside it shows up here.
        raise PayloadRefusedError("a certificate cannot be read") from None
    if abs(now_ms - signed.signed_at_ms) > _FRESH_MS:
        raise PayloadRefusedError("signed too long ago")
    return CheckedPayload(content, signed.signed_at_ms + _FRESH_MS + 1)


def _check_chain(
    signer: x509.Certificate,
    certificates: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    now: datetime,
) -> None:
    if not _is_marked(signer, LEAF_MARKER):
        raise PayloadRefusedError("the signer is not marked for payments")
    for middle in certificates:
        if not _is_marked(middle, INTERMEDIATE_MARKER) or not _is_authority(middle):
            continue
        for root in roots:
            links = ((signer, middle), (middle, root))
            if all(_is_issued_by(below, above) for below, above in links):
                if all(_is_valid(certificate, now) for certificate in (signer, middle, root)):
                    return
                raise PayloadRefusedError("a certificate is not valid now")
    raise PayloadRefusedError("no chain to a known root")


def _is_marked(certificate: x509.Certificate, marker: x509.ObjectIdentifier) -> bool:
    return any(extension.oid == marker for extension in certificate.extensions)


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _is_issued_by(below: x509.Certificate, above: x509.Certificate) -> bool:
    try:
        below.verify_directly_issued_by(above)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _is_valid(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
