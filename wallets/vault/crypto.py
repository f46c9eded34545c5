"""Encrypted records: AES-256-GCM with one data key per record, wrapped by a key of the KMS.

One data key per record and version makes the bound on random 96-bit nonces (NIST SP 800-38D, section 8.3)
irrelevant. The associated data ties a record to its row: a ciphertext moved to another row, customer,
purpose or version does not open.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.kernel.documents import encode
from wallets.vault.kms import KeysUnavailableError, KeyUseError, Kms

FORMAT_VERSION = 1
_NONCE_BYTES = 12


class RecordUnreadableError(Exception):
    """The record was changed, moved, or its key is gone. There is no more to say safely."""


@dataclass(frozen=True, slots=True)
class RecordPlace:
    """Where a record belongs; it opens nowhere else."""

    token_id: str
    customer_id: str
    purpose: str
    record_version: int

    def associated_data(self) -> bytes:
        """Canonical bytes: a JSON array, so that no two places share them."""
        return encode(
            [
                "vitrine.vault",
                FORMAT_VERSION,
                self.token_id,
                self.customer_id,
                self.purpose,
                self.record_version,
            ]
        ).encode()


@dataclass(frozen=True, slots=True)
class Record:
    """An encrypted record as it is stored. ``ciphertext`` ends with the 128-bit tag."""

    format_version: int
    kek_id: str
    wrapped_key: bytes
    nonce: bytes
    ciphertext: bytes


async def seal(kms: Kms, kek_id: str, place: RecordPlace, plain: bytes) -> Record:
    """Encrypt under a fresh data key. Raises KeyUseError."""
    context = place.associated_data()
    key = await kms.generate_data_key(kek_id, context)
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return Record(
        FORMAT_VERSION, kek_id, key.wrapped, nonce, AESGCM(key.plain).encrypt(nonce, plain, context)
    )


async def open_record(kms: Kms, place: RecordPlace, record: Record) -> bytes:
    """Decrypt, or raise RecordUnreadableError for anything that is not exactly what was sealed here.

    Raises KeysUnavailableError when the key service gives no answer: the record may be all right.
    """
    if record.format_version != FORMAT_VERSION:
        raise RecordUnreadableError(f"record format {record.format_version} is not known")
    context = place.associated_data()
    try:
        key = await kms.unwrap(record.kek_id, record.wrapped_key, context)
        return AESGCM(key).decrypt(record.nonce, record.ciphertext, context)
    except KeysUnavailableError:
        raise
    except (KeyUseError, InvalidTag, ValueError):
        raise RecordUnreadableError(f"record of {place.token_id} does not open") from None
