"""An authenticator in software: makes real WebAuthn answers, and wrong ones on demand."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url

_UP, _UV, _BE, _BS, _AT = 0x01, 0x04, 0x08, 0x10, 0x40


@dataclass
class SoftAuthenticator:
    """One passkey on one device. ``counts`` False: as a synced passkey, whose counter stays zero."""

    origin: str
    rp_id: str = "localhost"
    verified: bool = True
    cross_origin: bool = False
    counts: bool = True
    count: int = 0
    user_handle: str = ""
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def id(self) -> str:
        return bytes_to_base64url(self.credential_id)

    def create(self, options: dict[str, Any]) -> dict[str, Any]:
        """Answer `navigator.credentials.create`."""
        self.user_handle = options["user"]["id"]
        numbers = self.key.public_key().public_numbers()
        public = cbor2.dumps(
            {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        )
        credential = bytes(16) + len(self.credential_id).to_bytes(2, "big") + self.credential_id + public
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": self._data(_AT) + credential})
        return self._answer(
            {
                "clientDataJSON": self._client_data("webauthn.create", options["challenge"]),
                "attestationObject": bytes_to_base64url(attestation),
                "transports": ["internal"],
            }
        )

    def get(self, options: dict[str, Any]) -> dict[str, Any]:
        """Answer `navigator.credentials.get`."""
        if self.counts:
            self.count += 1
        data = self._data(0)
        client_data = self._client_data("webauthn.get", options["challenge"])
        signed = data + hashlib.sha256(base64url_to_bytes(client_data)).digest()
        return self._answer(
            {
                "clientDataJSON": client_data,
                "authenticatorData": bytes_to_base64url(data),
                "signature": bytes_to_base64url(self.key.sign(signed, ec.ECDSA(hashes.SHA256()))),
                "userHandle": self.user_handle,
            }
        )

    def _data(self, more_flags: int) -> bytes:
        flags = _UP | (_UV if self.verified else 0) | (0 if self.counts else _BE | _BS) | more_flags
        return hashlib.sha256(self.rp_id.encode()).digest() + bytes([flags]) + self.count.to_bytes(4, "big")

    def _client_data(self, type: str, challenge: str) -> str:
        said = {
            "type": type,
            "challenge": challenge,
            "origin": self.origin,
            "crossOrigin": self.cross_origin,
        }
        return bytes_to_base64url(json.dumps(said).encode())

    def _answer(self, response: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": self.id,
            "rawId": self.id,
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": response,
        }
