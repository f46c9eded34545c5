"""Keys behind a port: key-encrypting keys (KEK) and MAC keys are used, never handed out.

A cloud service or a hardware module implements the same six methods; `context` is what they call
encryption context or associated data. The adapter here keeps keys as files, for one machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import os
import re
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_KEY_BYTES = 32
_NONCE_BYTES = 12
_KEY_ID = re.compile(r"[a-z0-9-]{1,40}")


class KeyUseError(Exception):
    """A key is missing, is not private, or does not open what it was given. Never carries key material."""


@dataclass(frozen=True, slots=True)
class DataKey:
    """A fresh data key, in the clear for immediate use and wrapped for storing."""

    plain: bytes
    wrapped: bytes

    def __repr__(self) -> str:
        return "DataKey(***)"


class Kms(Protocol):
    """Use of keys that the caller cannot read. Every method raises KeyUseError."""

    async def generate_data_key(self, kek_id: str, context: bytes) -> DataKey: ...

    async def unwrap(self, kek_id: str, wrapped: bytes, context: bytes) -> bytes: ...

    async def rewrap(self, kek_id: str, wrapped: bytes, context: bytes, new_kek_id: str) -> bytes: ...

    async def mac(self, key_id: str, data: bytes) -> bytes:
        """Return HMAC-SHA256 under the named key."""
        ...

    async def verify_mac(self, key_id: str, data: bytes, mac: bytes) -> bool: ...


class LocalKms:
    """Keys as files ``<kind>-<id>.key`` in a directory of their own, readable by this user only.

    Only `ensure` makes keys; anywhere else a missing key is an error, so that a lost directory is not
    taken for a new installation. For test cards and development: the files protect against a copied
    database, not against somebody who is already this user.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._keks: dict[str, AESGCM] = {}
        self._macs: dict[str, hmac.HMAC] = {}
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def ensure(self, *, kek_id: str, mac_key_id: str) -> None:
        """Make the named keys where they do not exist yet. Blocking work is done in a thread."""
        await asyncio.to_thread(self._create, "kek", kek_id)
        await asyncio.to_thread(self._create, "mac", mac_key_id)

    async def check(self, *, kek_id: str, mac_key_id: str) -> None:
        """Raise KeyUseError unless the named keys are there and private: better at start than at a sale."""
        await asyncio.to_thread(self._load, "kek", kek_id)
        await asyncio.to_thread(self._load, "mac", mac_key_id)

    async def generate_data_key(self, kek_id: str, context: bytes) -> DataKey:
        plain = AESGCM.generate_key(_KEY_BYTES * 8)
        return DataKey(plain, self._wrap(kek_id, plain, context))

    async def unwrap(self, kek_id: str, wrapped: bytes, context: bytes) -> bytes:
        try:
            return self._kek(kek_id).decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], context)
        except (InvalidTag, ValueError):
            raise KeyUseError("the wrapped key does not open under this key and context") from None

    async def rewrap(self, kek_id: str, wrapped: bytes, context: bytes, new_kek_id: str) -> bytes:
        return self._wrap(new_kek_id, await self.unwrap(kek_id, wrapped, context), context)

    async def mac(self, key_id: str, data: bytes) -> bytes:
        keyed = self._macs.get(key_id)
        if keyed is None:
            keyed = self._macs[key_id] = hmac.new(self._load("mac", key_id), digestmod=hashlib.sha256)
        started = keyed.copy()
        started.update(data)
        return started.digest()

    async def verify_mac(self, key_id: str, data: bytes, mac: bytes) -> bool:
        return hmac.compare_digest(await self.mac(key_id, data), mac)

    def _wrap(self, kek_id: str, plain: bytes, context: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._kek(kek_id).encrypt(nonce, plain, context)

    def _kek(self, kek_id: str) -> AESGCM:
        kek = self._keks.get(kek_id)
        if kek is None:
            kek = self._keks[kek_id] = AESGCM(self._load("kek", kek_id))
        return kek

    def _path(self, kind: str, key_id: str) -> Path:
        # Key ids are read back from database rows: none may name a file elsewhere.
        if _KEY_ID.fullmatch(key_id) is None:
            raise KeyUseError("malformed key id")
        return self._directory / f"{kind}-{key_id}.key"

    def _load(self, kind: str, key_id: str) -> bytes:
        path = self._path(kind, key_id)
        try:
            mode = path.stat().st_mode
            key = path.read_bytes()
        except FileNotFoundError:
            raise KeyUseError(f"key file {path.name} is missing") from None
        if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
            raise KeyUseError(f"key file {path.name} is readable by others; set its mode to 0600")
        if len(key) != _KEY_BYTES:
            raise KeyUseError(f"key file {path.name} does not hold {_KEY_BYTES} bytes")
        return key

    def _create(self, kind: str, key_id: str) -> None:
        path = self._path(kind, key_id)
        if path.exists():
            return
        # Written beside and linked into place: another process sees no key or a whole one, and the
        # first to link wins.
        draft = path.with_suffix(f".{secrets.token_hex(8)}.draft")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(_KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)
        finally:
            draft.unlink()
        directory = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
