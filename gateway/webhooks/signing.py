"""Signatures of webhooks by Standard Webhooks: ed25519 over id, timestamp and body (``v1a``).

The private keys are files of the installation, one per key, and never in a database. Every key there signs,
so that a receiver may check with the old public key or the new one while keys are changed.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.kernel.errors import UnavailableError
from wallets.custody.kms import write_private_file

_FILE = re.compile(r"webhook-(\d{1,9})\.key")
_PRIVATE_PREFIX, _PUBLIC_PREFIX = "whsk_", "whpk_"
_SEED_BYTES = 32


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key; ``number`` counts from 1, the newest has the highest."""

    number: int
    private: Ed25519PrivateKey

    @property
    def public(self) -> str:
        """The public key as receivers are given it: ``whpk_`` and the base64 of its 32 bytes."""
        raw = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return _PUBLIC_PREFIX + base64.b64encode(raw).decode()

    def __repr__(self) -> str:
        return f"SigningKey({self.number})"


class SigningKeys:
    """The keys in a directory. Another process may add or remove one: the directory is looked at again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._seen: int | None = None
        self._keys: tuple[SigningKey, ...] = ()

    @classmethod
    def open(cls, directory: Path) -> SigningKeys:
        """Open the keys of a directory, making the first one where there is none. Reads and writes files."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        keys = cls(directory)
        if not keys.current():
            keys._make(1)
        return keys

    def current(self) -> tuple[SigningKey, ...]:
        """Return all keys, the newest first. Raises UnavailableError ``webhook.key_unreadable``."""
        changed = self._directory.stat().st_mtime_ns
        if changed != self._seen:
            found = [
                (int(match[1]), path)
                for path in self._directory.iterdir()
                if (match := _FILE.fullmatch(path.name)) is not None
            ]
            self._keys = tuple(SigningKey(number, _read(path)) for number, path in sorted(found)[::-1])
            self._seen = changed
        return self._keys

    def signing(self) -> tuple[SigningKey, ...]:
        """The same; UnavailableError also where there is none, since nothing goes out unsigned."""
        if not self.current():
            raise UnavailableError("webhook.key_unreadable", "There is no key file of webhooks any more.")
        return self._keys

    def rotate(self) -> SigningKey:
        """Add a key. From now on every notice is signed by it as well."""
        return self._make(self.signing()[0].number + 1)

    def retire(self) -> SigningKey | None:
        """Remove the oldest key and return it; None if it is the only one."""
        keys = self.current()
        if len(keys) < 2:
            return None
        (self._directory / _name(keys[-1].number)).unlink()
        self._seen = None
        return keys[-1]

    def _make(self, number: int) -> SigningKey:
        text = _PRIVATE_PREFIX + base64.b64encode(secrets.token_bytes(_SEED_BYTES)).decode()
        # If another process has just made it, that one stands.
        write_private_file(self._directory / _name(number), text.encode())
        self._seen = None
        return self.current()[0]


def signed_headers(
    keys: Sequence[SigningKey], notice_id: str, body: bytes, now_ms: int
) -> list[tuple[str, str]]:
    """Return the three headers of one attempt. The timestamp is that of the attempt, in seconds."""
    timestamp = str(now_ms // 1000)
    content = f"{notice_id}.{timestamp}.".encode() + body
    signatures = ("v1a," + base64.b64encode(key.private.sign(content)).decode() for key in keys)
    return [
        ("webhook-id", notice_id),
        ("webhook-timestamp", timestamp),
        ("webhook-signature", " ".join(signatures)),
    ]


def parse_private(text: str) -> Ed25519PrivateKey:
    """Return the key of ``whsk_`` and 32 bytes in base64. Raises ValueError."""
    try:
        seed = base64.b64decode(text.strip().removeprefix(_PRIVATE_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    if len(seed) != _SEED_BYTES:
        raise ValueError(f"a key has {_SEED_BYTES} bytes")
    return Ed25519PrivateKey.from_private_bytes(seed)


def _name(number: int) -> str:
    return f"webhook-{number}.key"


def _read(path: Path) -> Ed25519PrivateKey:
    try:
        return parse_private(path.read_text())
    except (OSError, ValueError) as error:
        raise UnavailableError(
            "webhook.key_unreadable", f"The key file {path.name} cannot be read."
        ) from error
