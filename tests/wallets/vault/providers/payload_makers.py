"""Makes wallets' payloads under root keys of the test's own, and spoils them."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, pkcs7

from wallets.vault.providers.apple_pay import INTERMEDIATE_MARKER, LEAF_MARKER
from wallets.vault.providers.google_pay import RootKey

RECIPIENT = "gateway:vitrine"


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _public(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass
class Google:
    """Signs as Google does (ECv2)."""

    root: ec.EllipticCurvePrivateKey = field(default_factory=_new_key)
    intermediate: ec.EllipticCurvePrivateKey = field(default_factory=_new_key)

    def roots(self, expires_at_ms: int | None = None) -> tuple[RootKey, ...]:
        return (RootKey(_public(self.root), expires_at_ms),)

    def token(
        self,
        now_ms: int,
        *,
        recipient: str = RECIPIENT,
        expires_in_ms: int = 86_400_000,
        content: str = "card",
    ) -> str:
        signed_key = json.dumps(
            {"keyValue": _b64(_public(self.intermediate)), "keyExpiration": str(now_ms + expires_in_ms)}
        )
        message = json.dumps(
            {
                "encryptedMessage": _b64(content.encode()),
                "ephemeralPublicKey": _b64(b"key"),
                "tag": _b64(b"tag"),
            }
        )
        of_key = self._sign(self.root, "Google", "ECv2", signed_key)
        return json.dumps(
            {
                "protocolVersion": "ECv2",
                "signature": self._sign(self.intermediate, "Google", recipient, "ECv2", message),
                "intermediateSigningKey": {"signedKey": signed_key, "signatures": [of_key]},
                "signedMessage": message,
            }
        )

    @staticmethod
    def _sign(key: ec.EllipticCurvePrivateKey, *parts: str) -> str:
        signed = b"".join(len(part).to_bytes(4, "little") + part.encode() for part in parts)
        return _b64(key.sign(signed, ec.ECDSA(SHA256())))


@dataclass
class Apple:
    """Signs as Apple does (EC_v1), with its own root, intermediate and leaf."""

    valid_days: int = 30
    marked: bool = True
    authority: bool = True

    def __post_init__(self) -> None:
        root_key, middle_key, self.leaf_key = _new_key(), _new_key(), _new_key()
        self.root = self._certificate("root", root_key, "root", root_key, None, True)
        self.middle = self._certificate(
            "middle", middle_key, "root", root_key, INTERMEDIATE_MARKER, self.authority
        )
        marker = LEAF_MARKER if self.marked else None
        self.leaf = self._certificate("leaf", self.leaf_key, "middle", middle_key, marker, False)

    def _certificate(
        self, name: str, key: Any, issuer: str, issuer_key: Any, marker: Any, authority: bool
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=60))
            .not_valid_after(now + timedelta(days=self.valid_days))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if marker is not None:
            builder = builder.add_extension(x509.UnrecognizedExtension(marker, b"\x05\x00"), critical=False)
        return builder.sign(issuer_key, SHA256())

    def payment_data(self, content: bytes = b"encrypted card") -> str:
        ephemeral, transaction = b"ephemeral key", b"\x01\x02"
        signature = (
            pkcs7.PKCS7SignatureBuilder()
            .set_data(ephemeral + content + transaction)
            .add_signer(self.leaf, self.leaf_key, SHA256())
            .add_certificate(self.middle)
            .sign(Encoding.DER, [pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Binary])
        )
        return json.dumps(
            {
                "version": "EC_v1",
                "data": _b64(content),
                "signature": _b64(signature),
                "header": {
                    "ephemeralPublicKey": _b64(ephemeral),
                    "publicKeyHash": _b64(b"hash"),
                    "transactionId": transaction.hex(),
                },
            }
        )
