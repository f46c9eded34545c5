"""The seed that every key of this installation is derived from, sealed by a key-encryption key.

Whoever has the two files has the wallets; whoever loses one of them has lost the wallets. They are created
together on first use and never again: a seed without its key is an error, not a reason to make a new one.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from pathlib import Path

from gateway.kernel.documents import decode, encode
from gateway.kernel.errors import UnavailableError
from wallets.custody.kms import KeyEncryptionKey, LocalKeyFile, write_private_file

SEED_FILE = "custody.seed"
KEY_FILE = "custody.key"

_VERSION = 1
_SEED_BYTES = 64


class SealedSeed:
    """A seed that shows nothing when it is printed."""

    __slots__ = ("_seed",)

    def __init__(self, seed: bytes) -> None:
        self._seed = seed

    def reveal(self) -> bytes:
        """Return the seed, for deriving keys."""
        return self._seed

    def __repr__(self) -> str:
        return "SealedSeed(...)"

    @classmethod
    def open(cls, directory: Path) -> SealedSeed:
        """Open the seed of a keys directory, or create it and its key on first use, both mode 0600.

        Raises UnavailableError ``custody.key_missing`` or ``custody.seed_unreadable``. Reads and writes
        files: call it at start.
        """
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = directory / SEED_FILE
        if path.exists():
            return cls(_unseal(path.read_bytes(), LocalKeyFile(directory / KEY_FILE)))
        key = LocalKeyFile.create(directory / KEY_FILE)
        write_private_file(path, _seal(secrets.token_bytes(_SEED_BYTES), key))
        return cls(_unseal(path.read_bytes(), key))


def _context(version: int, key_id: str) -> bytes:
    return f"vitrine custody seed v{version} {key_id}".encode()


def _seal(seed: bytes, key: KeyEncryptionKey) -> bytes:
    wrapped = base64.b64encode(key.wrap(seed, _context(_VERSION, key.key_id))).decode()
    return encode({"version": _VERSION, "key_id": key.key_id, "wrapped": wrapped}).encode()


def _unseal(content: bytes, key: KeyEncryptionKey) -> bytes:
    try:
        document = decode(content.decode())
        version, key_id = int(document["version"]), str(document["key_id"])
        wrapped = base64.b64decode(document["wrapped"], validate=True)
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise UnavailableError("custody.seed_unreadable", "The sealed seed is damaged.") from error
    if version != _VERSION or key_id != key.key_id:
        raise UnavailableError(
            "custody.seed_unreadable",
            f"The seed is sealed with {key_id}, version {version}, not {key.key_id}.",
        )
    return key.unwrap(wrapped, _context(version, key_id))
