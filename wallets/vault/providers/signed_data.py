"""Detached signatures of CMS (RFC 5652), as far as a wallet's payload needs them: one signer, ECDSA, SHA-256.

The reader takes definite lengths only (DER) and refuses everything it does not know.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

_SEQUENCE, _SET, _OCTETS, _OID = 0x30, 0x31, 0x04, 0x06
_ATTRIBUTES, _CERTIFICATES = 0xA0, 0xA0
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18

_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
_DATA = bytes.fromhex("2a864886f70d010701")
_CONTENT_TYPE = bytes.fromhex("2a864886f70d010903")
_MESSAGE_DIGEST = bytes.fromhex("2a864886f70d010904")
_SIGNING_TIME = bytes.fromhex("2a864886f70d010905")
_SHA256 = bytes.fromhex("608648016503040201")


class NotSignedError(Exception):
    """The signature does not hold, or is of a form that is not taken."""


@dataclass(frozen=True, slots=True)
class Signed:
    """Who signed and when, by their own account. Whether the signer is trusted is not decided here."""

    signer: x509.Certificate
    certificates: tuple[x509.Certificate, ...]
    signed_at_ms: int


def check_detached(signature: bytes, content: bytes) -> Signed:
    """Check that the signature's own signer signed exactly this content. Raises NotSignedError."""
    try:
        return _check(signature, content)
    except (
        IndexError,
        ValueError,
        StopIteration,
        RuntimeError,
        UnsupportedAlgorithm,
        x509.InvalidVersion,
        x509.DuplicateExtension,
    ):
        raise NotSignedError("the signature cannot be read") from None


def _check(signature: bytes, content: bytes) -> Signed:
    tag, outer, rest = _element(signature)
    if tag != _SEQUENCE or rest:
        raise NotSignedError("no signed data")
    (_, kind), (_, wrapped) = _children(outer)
    if kind != _SIGNED_DATA:
        raise NotSignedError("no signed data")
    _, body, _ = _element(wrapped)
    parts = list(_children(body))
    # version, digest algorithms, content, certificates, (revocations,) signers
    if [child for _, child in _children(parts[2][1])] != [_DATA]:
        raise NotSignedError("the content is inside, or of another type")
    if parts[3][0] != _CERTIFICATES:
        raise NotSignedError("no certificates")
    certificates = tuple(x509.load_der_x509_certificate(one) for one in _whole(parts[3][1]))
    signers = list(_children(parts[-1][1]))
    if len(signers) != 1:
        raise NotSignedError("not one signer")
    _version, who, digest, attributes, _algorithm, (_, value) = list(_children(signers[0][1]))[:6]
    if next(_children(digest[1]))[1] != _SHA256 or attributes[0] != _ATTRIBUTES:
        raise NotSignedError("another digest, or no signed attributes")
    signer = _signer(certificates, who)
    key = signer.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise NotSignedError("another kind of key")
    # Signed is the encoding as a SET, not the tagged one that is carried (RFC 5652, section 5.4).
    signed = bytes([_SET]) + _length(len(attributes[1])) + attributes[1]
    try:
        key.verify(value, signed, ec.ECDSA(SHA256()))
    except InvalidSignature:
        raise NotSignedError("the signature does not fit") from None
    named = _attributes(attributes[1])
    if named.get(_CONTENT_TYPE, (0, b""))[1] != _DATA:
        raise NotSignedError("another content type")
    if not hmac.compare_digest(named.get(_MESSAGE_DIGEST, (0, b""))[1], hashlib.sha256(content).digest()):
        raise NotSignedError("the content is another")
    if _SIGNING_TIME not in named:
        raise NotSignedError("no signing time")
    return Signed(signer, certificates, _time(*named[_SIGNING_TIME]))


def _signer(certificates: tuple[x509.Certificate, ...], who: tuple[int, bytes]) -> x509.Certificate:
    if who[0] != _SEQUENCE:
        raise NotSignedError("the signer is not named by issuer and serial number")
    issuer, (_, serial) = _whole_and_rest(who[1])
    for certificate in certificates:
        if certificate.issuer.public_bytes() == issuer and certificate.serial_number == int.from_bytes(
            serial
        ):
            return certificate
    raise NotSignedError("the signer's certificate is missing")


def _attributes(encoded: bytes) -> dict[bytes, tuple[int, bytes]]:
    found: dict[bytes, tuple[int, bytes]] = {}
    for _, attribute in _children(encoded):
        (_, name), (_, values) = _children(attribute)
        if name in found:
            raise NotSignedError("an attribute is there twice")
        (value,) = _children(values)
        found[name] = value
    return found


def _time(tag: int, text: bytes) -> int:
    if tag == _UTC_TIME:
        # Two digits of the year up to 2049 (RFC 5652, section 11.3).
        moment = datetime.strptime(text.decode("ascii"), "%y%m%d%H%M%SZ")
    elif tag == _GENERALIZED_TIME:
        moment = datetime.strptime(text.decode("ascii"), "%Y%m%d%H%M%SZ")
    else:
        raise NotSignedError("no signing time")
    return int(moment.replace(tzinfo=UTC).timestamp() * 1000)


def _element(encoded: bytes) -> tuple[int, bytes, bytes]:
    """Return tag, content and what follows."""
    tag, first = encoded[0], encoded[1]
    start, size = 2, first
    if first >= 0x80:
        count = first & 0x7F
        if not 1 <= count <= 3:
            raise ValueError("an indefinite or huge length")
        start, size = 2 + count, int.from_bytes(encoded[2 : 2 + count])
    end = start + size
    if end > len(encoded):
        raise ValueError("cut off")
    return tag, encoded[start:end], encoded[end:]


def _children(content: bytes) -> Iterator[tuple[int, bytes]]:
    while content:
        tag, inner, content = _element(content)
        yield tag, inner


def _whole(content: bytes) -> Iterator[bytes]:
    """Each child with its tag and length."""
    while content:
        _, _, rest = _element(content)
        yield content[: len(content) - len(rest)]
        content = rest


def _whole_and_rest(content: bytes) -> tuple[bytes, tuple[int, bytes]]:
    whole = next(_whole(content))
    tag, inner, rest = _element(content[len(whole) :])
    if rest:
        raise ValueError("more than expected")
    return whole, (tag, inner)


def _length(size: int) -> bytes:
    if size < 0x80:
        return bytes([size])
    digits = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([0x80 | len(digits)]) + digits
