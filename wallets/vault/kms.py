"""Keys behind a port: key-encrypting keys (KEK) and MAC keys are used, never handed out.

A cloud service or a hardware module implements the same few methods; ``context`` is what they call
encryption context or associated data. Adapters: `kms_local` (files), `kms_aws` (HTTP).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class KeyUseError(Exception):
    """A key is missing, is not private, or does not open what it was given. Never carries key material."""


class KeysUnavailableError(KeyUseError):
    """The key service gave no answer. Nothing was used; the same may be asked again later."""


class KeyKind(StrEnum):
    """What a key is made for. No key serves both."""

    KEK = "kek"
    MAC = "mac"


@dataclass(frozen=True, slots=True)
class DataKey:
    """A fresh data key, in the clear for immediate use and wrapped for storing."""

    plain: bytes
    wrapped: bytes

    def __repr__(self) -> str:
        return "DataKey(***)"


class Kms(Protocol):
    """Use of keys that the caller cannot read. Every method raises KeyUseError.

    ``context`` is authenticated with a wrapped key: it opens in the same context only. Text in UTF-8.
    """

    async def check(self, kind: KeyKind, key_id: str) -> None:
        """Raise KeyUseError unless the key is there and fit for this use."""
        ...

    async def generate_data_key(self, kek_id: str, context: bytes) -> DataKey: ...

    async def unwrap(self, kek_id: str, wrapped: bytes, context: bytes) -> bytes: ...

    async def rewrap(self, kek_id: str, wrapped: bytes, context: bytes, new_kek_id: str) -> bytes: ...

    async def mac(self, key_id: str, data: bytes) -> bytes:
        """Return HMAC-SHA256 under the named key."""
        ...

    async def verify_mac(self, key_id: str, data: bytes, mac: bytes) -> bool: ...
