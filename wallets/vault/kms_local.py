"""Keys as files on this machine: for development and the embedded vault, which takes test cards only.

The files protect against a copied database, not against somebody who is already this user. That is no key
management (PCI DSS 4.0.1, 3.6.1.2), so in production this adapter does not open at all.
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
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from wallets.vault.kms import DataKey, KeyKind, KeyUseError

_KEY_BYTES = 32
_NONCE_BYTES = 12
_KEY_ID = re.compile(r"[a-z0-9-]{1,40}")
_PRODUCTION = "VITRINE_PRODUCTION"
_OFF = ("", "0", "false", "off")


class LocalKms:
    """`Kms` over files ``<kind>-<id>.key`` in a directory of their own, readable by this user only.

    Only `create` and `ensure` make keys; anywhere else a missing key is an error, so that a lost directory
    is not taken for a new installation. Raises KeyUseError in production: with ``production``, or where
    the environment has ``VITRINE_PRODUCTION`` set to anything but off.
    """

    def __init__(self, directory: Path, *, production: bool = False) -> None:
        # Read here too, whatever the caller was told: no path leads around it.
        if production or os.environ.get(_PRODUCTION, "").strip().lower() not in _OFF:
            raise KeyUseError(
                "keys kept in files are for test cards and development; in production the vault needs a "
                "key service (AWS KMS or one of its shape)"
            )
        self._directory = directory
        self._keks: dict[str, AESGCM] = {}
        self._macs: dict[str, hmac.HMAC] = {}
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def ensure(self, *, kek_id: str, mac_key_id: str) -> None:
        """Make both keys where they do not exist yet."""
        await self.create(KeyKind.KEK, kek_id)
        await self.create(KeyKind.MAC, mac_key_id)

    async def create(self, kind: KeyKind, key_id: str) -> None:
        """Make a key of 256 random bits unless it exists. Blocking work is done in a thread."""
        await asyncio.to_thread(self._create, kind, key_id)

    async def destroy(self, kind: KeyKind, key_id: str) -> None:
        """Overwrite and remove a key's file. Whatever it wraps can not be opened again, by anybody.

        On a file system that writes elsewhere (copy on write, flash) old bytes may survive the overwriting;
        a copy of the directory always does. Idempotent.
        """
        await asyncio.to_thread(self._destroy, kind, key_id)
        self._keks.pop(key_id, None)
        self._macs.pop(key_id, None)

    async def check(self, kind: KeyKind, key_id: str) -> None:
        await asyncio.to_thread(self._load, kind, key_id)

    async def generate_data_key(self, kek_id: str, context: bytes) -> DataKey:
        # Drawn together: every call to the system lets other threads in between.
        drawn = secrets.token_bytes(_KEY_BYTES + _NONCE_BYTES)
        plain, nonce = drawn[:_KEY_BYTES], drawn[_KEY_BYTES:]
        return DataKey(plain, self._wrap(kek_id, plain, context, nonce))

    async def unwrap(self, kek_id: str, wrapped: bytes, context: bytes) -> bytes:
        try:
            return self._kek(kek_id).decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], context)
        except (InvalidTag, ValueError):
            raise KeyUseError("the wrapped key does not open under this key and context") from None

    async def rewrap(self, kek_id: str, wrapped: bytes, context: bytes, new_kek_id: str) -> bytes:
        return self._wrap(
            new_kek_id,
            await self.unwrap(kek_id, wrapped, context),
            context,
            secrets.token_bytes(_NONCE_BYTES),
        )

    async def mac(self, key_id: str, data: bytes) -> bytes:
        keyed = self._macs.get(key_id)
        if keyed is None:
            keyed = self._macs[key_id] = hmac.new(self._load(KeyKind.MAC, key_id), digestmod=hashlib.sha256)
        started = keyed.copy()
        started.update(data)
        return started.digest()

    async def verify_mac(self, key_id: str, data: bytes, mac: bytes) -> bool:
        return hmac.compare_digest(await self.mac(key_id, data), mac)

    def _wrap(self, kek_id: str, plain: bytes, context: bytes, nonce: bytes) -> bytes:
        return nonce + self._kek(kek_id).encrypt(nonce, plain, context)

    def _kek(self, kek_id: str) -> AESGCM:
        kek = self._keks.get(kek_id)
        if kek is None:
            kek = self._keks[kek_id] = AESGCM(self._load(KeyKind.KEK, kek_id))
        return kek

    def _path(self, kind: KeyKind, key_id: str) -> Path:
        # Key ids are read back from database rows: none may name a file elsewhere.
        if _KEY_ID.fullmatch(key_id) is None:
            raise KeyUseError("malformed key id")
        return self._directory / f"{kind}-{key_id}.key"

    def _load(self, kind: KeyKind, key_id: str) -> bytes:
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

    def _create(self, kind: KeyKind, key_id: str) -> None:
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
        self._sync_directory()

    def _destroy(self, kind: KeyKind, key_id: str) -> None:
        path = self._path(kind, key_id)
        if not path.exists():
            return
        with path.open("r+b") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
        self._sync_directory()

    def _sync_directory(self) -> None:
        directory = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
