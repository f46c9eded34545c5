"""Which keys are current is data: the register of keys, and how a process keeps up with it.

The register names keys as the KMS knows them and holds no key material. A rotation by another process
changes it under a running vault. So whoever writes what a key protects checks in the same unit that the key
is still current (`Keys.hold`); if it is not, nothing is written and the register is read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from sqlalchemy import Select, bindparam, select, update

from gateway.kernel.errors import ConflictError
from gateway.kernel.store.statements import Statement, insert_into
from gateway.kernel.store.unit import Reader, Store, UnitOfWork
from wallets.vault.kms import KeyKind, KeyUseError, Kms
from wallets.vault.tables import key, method


class KeyPurpose(StrEnum):
    """What a key of the register protects."""

    RECORDS = "records"
    FINGERPRINTS = "fingerprints"
    AUDIT = "audit"


KIND_OF = {
    KeyPurpose.RECORDS: KeyKind.KEK,
    KeyPurpose.FINGERPRINTS: KeyKind.MAC,
    KeyPurpose.AUDIT: KeyKind.MAC,
}


class KeyState(StrEnum):
    CURRENT = "current"
    """Everything new is written under it."""
    RETIRING = "retiring"
    """Reads what is left under it; a rotation counts that down."""
    RETIRED = "retired"
    """Nothing is left under it; it may be destroyed."""


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A row of the register."""

    key_id: str
    purpose: KeyPurpose
    state: KeyState
    created_at_ms: int
    changed_at_ms: int


_ALL = Statement(select(key).order_by(key.c.created_at_ms, key.c.key_id))


def _in_use_for(*purposes: KeyPurpose) -> Select[Any]:
    return (
        select(key.c.key_id, key.c.purpose, key.c.state)
        .where(
            key.c.purpose.in_([purpose.value for purpose in purposes]),
            key.c.state.in_([KeyState.CURRENT.value, KeyState.RETIRING.value]),
        )
        .order_by(key.c.purpose, key.c.state)
    )


_GET_IN_USE = Statement(_in_use_for(*KeyPurpose))
# On PostgreSQL a rotation that is about to change a row waits for the units that wrote under it.
_HOLD = Statement(_in_use_for(KeyPurpose.RECORDS, KeyPurpose.FINGERPRINTS).with_for_update(read=True))
_HOLD_FOR_AUDIT = Statement(_in_use_for(KeyPurpose.AUDIT).with_for_update(read=True))
_OLDER_FINGERPRINTS = Statement(
    select(key.c.key_id, key.c.state, key.c.changed_at_ms)
    .where(key.c.purpose == KeyPurpose.FINGERPRINTS.value, key.c.state != KeyState.CURRENT.value)
    .order_by(key.c.created_at_ms, key.c.key_id)
)
_INSERT = insert_into(key)
_MOVE = Statement(
    update(key)
    .where(key.c.key_id == bindparam("key_id_"), key.c.state == bindparam("from_state"))
    .values(state=bindparam("state"), changed_at_ms=bindparam("changed_at_ms"))
)
_ANY_METHOD = Statement(select(method.c.payment_method_id).limit(1))


_CURRENT_RECORDS = (KeyPurpose.RECORDS.value, KeyState.CURRENT.value)
_CURRENT_FINGERPRINTS = (KeyPurpose.FINGERPRINTS.value, KeyState.CURRENT.value)
_RETIRING_FINGERPRINTS = (KeyPurpose.FINGERPRINTS.value, KeyState.RETIRING.value)
_CURRENT_AUDIT = (KeyPurpose.AUDIT.value, KeyState.CURRENT.value)


@dataclass(frozen=True, slots=True)
class OlderKey:
    """A key of fingerprints that is not the current one any more."""

    key_id: str
    retired_at_ms: int | None
    """None: a rotation still moves what is under it."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys in use, as they were read."""

    kek_id: str
    fingerprint_key_id: str
    audit_key_id: str
    old_fingerprint_key_id: str | None = None
    """While a rotation backfills: a card may still be known under this one."""
    older_fingerprint_keys: tuple[OlderKey, ...] = ()
    """Every one before the current, that one too: what is known of removed cards stays under them."""

    def hold(self, uow: UnitOfWork) -> bool:
        """Return whether what is written under these is written under current keys, and keep them current
        until the unit is committed."""
        # On PostgreSQL a rotation that has just been committed may show only its half: its old key has
        # moved, its new one is not seen yet. Then there is no current key, and the answer is no.
        found = _in_use(uow.rows(_HOLD))
        return (
            found.get(_CURRENT_RECORDS) == self.kek_id
            and found.get(_CURRENT_FINGERPRINTS) == self.fingerprint_key_id
            and found.get(_RETIRING_FINGERPRINTS) == self.old_fingerprint_key_id
        )

    def hold_for_audit(self, uow: UnitOfWork) -> bool:
        """Return whether the audit key is still the current one, and keep it so until the commit."""
        return _in_use(uow.rows(_HOLD_FOR_AUDIT)).get(_CURRENT_AUDIT) == self.audit_key_id


class KeyRing:
    """The keys in use, remembered until somebody finds them out of date."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keys: Keys | None = None

    async def keys(self) -> Keys:
        """Return the keys in use. Raises KeyUseError for a database whose keys were never registered."""
        if self._keys is None:
            self._keys = await self._store.read(read_keys)
        return self._keys

    def out_of_date(self, keys: Keys) -> None:
        """Have the register read again, unless that has happened since ``keys`` were read."""
        if self._keys is keys:
            self._keys = None


class KeyMaker(Protocol):
    """A `Kms` whose keys this program may make and destroy: not so with a key service's, whose custodians
    do that with its own tools."""

    async def create(self, kind: KeyKind, key_id: str) -> None: ...

    async def destroy(self, kind: KeyKind, key_id: str) -> None: ...


def read_keys(reader: Reader) -> Keys:
    """Return the keys in use. Raises KeyUseError unless every purpose has a current one."""
    return _keys_of(reader.rows(_GET_IN_USE), reader.rows(_OLDER_FINGERPRINTS))


def key_entries(reader: Reader) -> list[KeyEntry]:
    """Return the whole register, oldest first; it has a row for each key there ever was."""
    return [
        KeyEntry(
            row.key_id, KeyPurpose(row.purpose), KeyState(row.state), row.created_at_ms, row.changed_at_ms
        )
        for row in reader.rows(_ALL)
    ]


def register(uow: UnitOfWork, purpose: KeyPurpose, key_id: str) -> None:
    """Enter a new current key. The caller has moved the one before it."""
    uow.run(
        _INSERT,
        {
            "key_id": key_id,
            "purpose": purpose.value,
            "state": KeyState.CURRENT.value,
            "created_at_ms": uow.now_ms,
            "changed_at_ms": uow.now_ms,
        },
    )


def move(uow: UnitOfWork, key_id: str, source: KeyState, target: KeyState) -> bool:
    """Move a key on; False if it was not in ``source``."""
    return bool(
        uow.run(
            _MOVE,
            {
                "key_id_": key_id,
                "from_state": source.value,
                "state": target.value,
                "changed_at_ms": uow.now_ms,
            },
        )
    )


async def establish_keys(
    store: Store, kms: Kms, given: dict[KeyPurpose, str], maker: KeyMaker | None = None
) -> Keys:
    """Register ``given`` for every purpose that has no current key yet, and check those in use.

    With ``maker`` a key that is registered for the first time is made, unless records are already there
    that only it can read. Raises KeyUseError for a key that is missing or not fit for its use: better at
    the start than at a sale.
    """
    entries, has_methods = await store.read(
        lambda reader: (key_entries(reader), reader.row(_ANY_METHOD) is not None)
    )
    current = {entry.purpose for entry in entries if entry.state is KeyState.CURRENT}
    missing = {purpose: key_id for purpose, key_id in given.items() if purpose not in current}
    for purpose, key_id in missing.items():
        if maker is not None and (purpose is KeyPurpose.AUDIT or not has_methods):
            await maker.create(KIND_OF[purpose], key_id)
        await kms.check(KIND_OF[purpose], key_id)

    def enter(uow: UnitOfWork) -> None:
        present = {entry.purpose for entry in key_entries(uow) if entry.state is KeyState.CURRENT}
        for purpose, key_id in missing.items():
            if purpose not in present:
                register(uow, purpose, key_id)

    if missing:
        await store.write(enter, locks=["vault.keys"])
    for entry in entries:
        if entry.state is not KeyState.RETIRED:
            await kms.check(KIND_OF[entry.purpose], entry.key_id)
    return await store.read(read_keys)


def check_unknown(entries: Sequence[KeyEntry], key_id: str) -> None:
    """Raise ConflictError ``vault.key_known`` for a key that has been in the register: a key has one life."""
    if any(entry.key_id == key_id for entry in entries):
        raise ConflictError("vault.key_known", "This key is or was in use; a rotation needs a new one.")


def begin_rotation(uow: UnitOfWork, purpose: KeyPurpose, new_key_id: str) -> str:
    """Make ``new_key_id`` current and return the key that is retiring now.

    Raises ConflictError ``vault.rotation_open`` while an earlier rotation is not finished, and
    ``vault.key_known``.
    """
    entries = key_entries(uow)
    if any(entry.purpose is purpose and entry.state is KeyState.RETIRING for entry in entries):
        raise ConflictError("vault.rotation_open", "A rotation of this key is not finished; resume it.")
    check_unknown(entries, new_key_id)
    old = next(entry for entry in entries if entry.purpose is purpose and entry.state is KeyState.CURRENT)
    moved = move(uow, old.key_id, KeyState.CURRENT, KeyState.RETIRING)
    assert moved
    register(uow, purpose, new_key_id)
    return old.key_id


def _in_use(rows: list[tuple[str, str, str]]) -> dict[tuple[str, str], str]:
    return {(purpose, state): key_id for key_id, purpose, state in rows}


def _keys_of(rows: list[tuple[str, str, str]], older: list[tuple[str, str, int]]) -> Keys:
    found = _in_use(rows)
    try:
        return Keys(
            kek_id=found[_CURRENT_RECORDS],
            fingerprint_key_id=found[_CURRENT_FINGERPRINTS],
            audit_key_id=found[_CURRENT_AUDIT],
            old_fingerprint_key_id=found.get(_RETIRING_FINGERPRINTS),
            older_fingerprint_keys=tuple(
                OlderKey(key_id, at_ms if state == KeyState.RETIRED else None)
                for key_id, state, at_ms in older
            ),
        )
    except KeyError as error:
        raise KeyUseError(f"no current key is registered for {error.args[0][0]}") from None
