"""Key pairs to which cards are encrypted on their way in. The private halves are records under the KMS.

A key is handed out for 30 days and opens for one day longer, so that what was encrypted with it shortly
before still arrives. A new one is made when it is needed; several processes that make one at the same moment
all find theirs in the database. A rotation of the key-encrypting key rewraps them like every other record.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from sqlalchemy import bindparam, delete, select

from gateway.kernel.clock import Clock
from gateway.kernel.ids import Id, IdSource
from gateway.kernel.store.statements import Statement, insert_into
from gateway.kernel.store.unit import Store, UnitOfWork
from wallets.vault.audit import Action, current_actor, note
from wallets.vault.crypto import Record, RecordPlace, open_record, seal
from wallets.vault.keys import KeyRing
from wallets.vault.kms import Kms
from wallets.vault.port import CardKey
from wallets.vault.tables import card_key

PURPOSE = "card-key"
BITS = 3072
"""128 bits of strength (NIST SP 800-57 part 1, table 2)."""
_DAY_MS = 86_400_000
HANDED_OUT_MS = 30 * _DAY_MS
OPENS_MS = 31 * _DAY_MS
_LOOKED_UP_MS = 60_000
"""How long a process may go on handing out a key after another process has made a new one."""


class CardKeyId(Id):
    prefix = "vck"


_INSERT = insert_into(card_key)
_NEWEST = Statement(
    select(card_key).order_by(card_key.c.created_at_ms.desc(), card_key.c.key_id.desc()).limit(1)
)
_GET = Statement(
    select(card_key).where(
        card_key.c.key_id == bindparam("key_id"), card_key.c.created_at_ms > bindparam("after_ms")
    )
)
_FORGET = Statement(delete(card_key).where(card_key.c.created_at_ms <= bindparam("until_ms")))


def generate() -> rsa.RSAPrivateKey:
    """Return a fresh key pair; takes some tenths of a second."""
    return rsa.generate_private_key(public_exponent=65537, key_size=BITS)


@dataclass(frozen=True, slots=True)
class _Opened:
    key: rsa.RSAPrivateKey
    created_at_ms: int


class CardKeys:
    """The keys of one vault, each decrypted once per process and kept in its memory."""

    def __init__(
        self,
        store: Store,
        kms: Kms,
        clock: Clock,
        ids: IdSource,
        ring: KeyRing,
        make: Callable[[], rsa.RSAPrivateKey] = generate,
    ) -> None:
        self._store = store
        self._kms = kms
        self._clock = clock
        self._ids = ids
        self._ring = ring
        self._make = make
        self._opened: dict[str, _Opened] = {}
        self._current: tuple[CardKey, int] | None = None
        self._making = asyncio.Lock()

    async def current(self) -> CardKey:
        """Return the public key to encrypt to now. Raises KeyUseError."""
        async with self._making:
            now_ms = self._clock.now_ms()
            if self._current is None or now_ms - self._current[1] >= _LOOKED_UP_MS:
                row = await self._store.read(lambda reader: reader.row(_NEWEST))
                if row is None or now_ms - row.created_at_ms >= HANDED_OUT_MS:
                    row = await self._add(now_ms)
                public = CardKey(row.key_id, row.modulus, row.exponent, 0)
                self._current = (public, now_ms)
            public = self._current[0]
        return CardKey(public.key_id, public.modulus, public.exponent, now_ms // 1000)

    async def rotate(self) -> str:
        """Make a new key now and return its id; the one before it opens to the end of its time."""
        async with self._making:
            row = await self._add(self._clock.now_ms())
            self._current = None
            return str(row.key_id)

    async def private(self, key_id: str) -> rsa.RSAPrivateKey | None:
        """Return a private key that may still open; None for one that is unknown or too old."""
        after_ms = self._clock.now_ms() - OPENS_MS
        found = self._opened.get(key_id)
        if found is None:
            row = await self._store.read(
                lambda reader: reader.row(_GET, {"key_id": key_id, "after_ms": after_ms})
            )
            if row is None:
                return None
            record = Record(row.format_version, row.kek_id, row.wrapped_key, row.nonce, row.ciphertext)
            key = load_der_private_key(await open_record(self._kms, place_of(key_id), record), None)
            assert isinstance(key, rsa.RSAPrivateKey)
            found = self._opened[key_id] = _Opened(key, row.created_at_ms)
        if found.created_at_ms <= after_ms:
            del self._opened[key_id]
            return None
        return found.key

    async def _add(self, now_ms: int) -> Any:
        key = await asyncio.to_thread(self._make)
        key_id = self._ids.new(CardKeyId)
        plain = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        keys = await self._ring.keys()
        record = await seal(self._kms, keys.kek_id, place_of(key_id), plain)
        public = key.public_key().public_numbers()
        values = {
            "key_id": key_id,
            "modulus": _base64url(public.n),
            "exponent": _base64url(public.e),
            "format_version": record.format_version,
            "kek_id": record.kek_id,
            "wrapped_key": record.wrapped_key,
            "nonce": record.nonce,
            "ciphertext": record.ciphertext,
            "created_at_ms": now_ms,
        }

        actor = current_actor()

        def add(uow: UnitOfWork) -> bool:
            if not keys.hold(uow):
                return False
            uow.run(_INSERT, values)
            note(uow, actor, Action.CARD_KEY, key_id, detail=f"under {record.kek_id}")
            uow.run(_FORGET, {"until_ms": now_ms - OPENS_MS})
            return True

        if not await self._store.write(add):
            # The keys were rotated meanwhile: wrap it under the new one.
            self._ring.out_of_date(keys)
            return await self._add(now_ms)
        return _NEWEST.make_row(values.values())


def place_of(key_id: str) -> RecordPlace:
    """Where the record of a key pair belongs."""
    return RecordPlace(key_id, "", PURPOSE, 1)


def _base64url(number: int) -> str:
    octets = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
