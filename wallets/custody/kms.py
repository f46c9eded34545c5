"""The key-encryption key as a small port, and the adapter that keeps it in a file on this machine."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.kernel.errors import UnavailableError

_KEY_BYTES = 32
_NONCE_BYTES = 12


class KeyEncryptionKey(Protocol):
    """Wraps secrets; the key itself never leaves its adapter. ``context`` is bound to the wrapped bytes."""

    @property
    def key_id(self) -> str:
        """Names the key, so that a rotation knows what is wrapped with which."""
        ...

    def wrap(self, secret: bytes, context: bytes) -> bytes:
        """Return the secret encrypted and authenticated."""
        ...

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Return the secret. Raises UnavailableError ``custody.seed_unreadable`` if a bit differs."""
        ...


class LocalKeyFile:
    """A 256-bit AES-GCM key in a file that only its owner may read (mode 0600)."""

    def __init__(self, path: Path) -> None:
        """Read the key. Raises UnavailableError ``custody.key_missing`` if the file is not there."""
        try:
            key = path.read_bytes()
        except FileNotFoundError as error:
            raise UnavailableError(
                "custody.key_missing", f"The key file {path.name} is missing; restore it from its backup."
            ) from error
        if len(key) != _KEY_BYTES:
            raise UnavailableError("custody.key_missing", f"The key file {path.name} is not a key.")
        self._cipher = AESGCM(key)
        self._key_id = f"file:{path.name}"

    @classmethod
    def create(cls, path: Path) -> LocalKeyFile:
        """Create the file with a new random key, unless it exists, and read it."""
        write_private_file(path, secrets.token_bytes(_KEY_BYTES))
        return cls(path)

    @property
    def key_id(self) -> str:
        """See KeyEncryptionKey."""
        return self._key_id

    def wrap(self, secret: bytes, context: bytes) -> bytes:
        """See KeyEncryptionKey. The result is a random 96-bit nonce, the ciphertext, and a 128-bit tag."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret, context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """See KeyEncryptionKey."""
        try:
            return self._cipher.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], context)
        except (InvalidTag, ValueError) as error:
            raise UnavailableError(
                "custody.seed_unreadable", "The sealed seed does not open with this key; restore both."
            ) from error

    def __repr__(self) -> str:
        return f"LocalKeyFile({self._key_id})"


def write_private_file(path: Path, content: bytes) -> bool:
    """Write a new file, mode 0600, whole or not at all. False if it exists already, which then stands.

    The content is on the disk before the name appears: a crash leaves no half file, and of two processes that
    create it at once one wins and the other reads what the first wrote.
    """
    if path.exists():
        return False
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
    finally:
        draft.unlink()
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return True
