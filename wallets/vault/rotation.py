"""Rotating keys under a running vault: begin, work through in chunks, retire, destroy if asked to.

A rotation can be killed anywhere and resumed: what is done is in the rows themselves, and the register says
that a rotation is open. Records are rewrapped without being opened; fingerprints need the number, so their
rotation opens each record, and each opening is on the audit trail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select

from gateway.kernel.errors import ConflictError
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader, Store, UnitOfWork
from wallets.vault import attempts
from wallets.vault.audit import Action, Actor, note
from wallets.vault.keys import (
    KIND_OF,
    KeyEntry,
    KeyMaker,
    KeyPurpose,
    KeyState,
    begin_rotation,
    check_unknown,
    key_entries,
    move,
)
from wallets.vault.kms import KeyUseError, Kms
from wallets.vault.rotation_work import WORK, Turn
from wallets.vault.tables import idempotency

CHUNK = 100
_MOST_TOLD = 10

_ANSWER_UNDER = Statement(
    select(idempotency.c.idempotency_key).where(idempotency.c.mac_key_id == bindparam("key_id")).limit(1)
)

Progress = Callable[[int], None]
"""Told how many rows are left under the old key."""


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a call did."""

    old_key_id: str
    new_key_id: str
    changed: int
    """Rows that this call moved to the new key."""
    left: tuple[str, ...]
    """Rows that can not be moved (at most 10 are named): their records do not open. The old key stays until
    they are dealt with."""

    @property
    def is_finished(self) -> bool:
        return not self.left


async def rotate(
    store: Store,
    kms: Kms,
    actor: Actor,
    purpose: KeyPurpose,
    new_key_id: str,
    *,
    maker: KeyMaker | None = None,
    chunk: int = CHUNK,
    progress: Progress | None = None,
) -> Rotated:
    """Begin or resume the rotation to ``new_key_id``, and work until nothing is left under the old key.

    With ``maker`` the new key is made first. Raises ConflictError ``vault.rotation_open`` if the rotation to
    another key is not finished, ``vault.key_known`` for a key that was used before, KeyUseError for a key
    that is missing, KeysUnavailableError when the key service is away: run it again.
    """
    entries = await store.read(key_entries)
    old_key_id = open_rotation(entries, purpose)
    if old_key_id is None:
        old_key_id = await _begin(store, kms, actor, purpose, new_key_id, entries, maker)
    elif current_key(entries, purpose) != new_key_id:
        raise ConflictError("vault.rotation_open", "A rotation of this key is not finished; resume it.")
    turn = Turn(store, kms, actor, old_key_id, new_key_id)
    changed = 0
    left: list[str] = []
    for work in WORK[purpose]:
        after_id = ""
        while rows := await _next_rows(store, work.page, old_key_id, after_id, chunk):
            after_id = rows[-1].row_id
            moved = await work.step(turn, rows)
            changed += moved.changed
            left += moved.left
            if progress is not None:
                progress(await store.read(lambda reader: rows_under(reader, purpose, old_key_id)))
    if not left:
        await _retire(store, actor, purpose, old_key_id)
    return Rotated(old_key_id, new_key_id, changed, tuple(left[:_MOST_TOLD]))


async def resume(
    store: Store, kms: Kms, actor: Actor, purpose: KeyPurpose, *, progress: Progress | None = None
) -> Rotated | None:
    """Finish a rotation that was begun; None if none is open. Raises as `rotate`."""
    entries = await store.read(key_entries)
    if open_rotation(entries, purpose) is None:
        return None
    return await rotate(store, kms, actor, purpose, current_key(entries, purpose), progress=progress)


async def destroy_key(store: Store, maker: KeyMaker, actor: Actor, key_id: str) -> None:
    """Destroy a retired key for good. Raises ConflictError ``vault.key_in_use``.

    Copies of the database from before its rotation can not be read any more: that is the purpose. An audit
    key is needed for as long as the rows it sealed are kept.
    """

    def announce(uow: UnitOfWork) -> KeyEntry:
        entry = next((entry for entry in key_entries(uow) if entry.key_id == key_id), None)
        if entry is None or entry.state is not KeyState.RETIRED or entry.purpose is KeyPurpose.AUDIT:
            raise ConflictError(
                "vault.key_in_use", "Only a retired key of records or fingerprints can be destroyed."
            )
        if rows_under(uow, entry.purpose, key_id):
            raise ConflictError("vault.key_in_use", "Rows are still under this key.")
        if uow.row(_ANSWER_UNDER, {"key_id": key_id}) is not None:
            raise ConflictError(
                "vault.key_in_use",
                "Answers to agents are still recognised with this key; they are kept for thirty days.",
            )
        if attempts.need_key(uow, key_id):
            raise ConflictError(
                "vault.key_in_use",
                "Cards that were removed are still recognised with this key where a network forbids or counts"
                " attempts with them.",
            )
        # On the record before it is done: no key goes without a trace.
        note(uow, actor, Action.KEY_DESTROY, key_id, detail=entry.purpose)
        return entry

    entry = await store.write(announce, locks=["vault.keys"])
    await maker.destroy(KIND_OF[entry.purpose], key_id)


def rows_under(reader: Reader, purpose: KeyPurpose, key_id: str) -> int:
    """Return how many rows need the key."""
    found = (reader.row(work.count, {"key_id": key_id}) for work in WORK[purpose])
    return sum(row.rows for row in found if row is not None)


def open_rotation(entries: Sequence[KeyEntry], purpose: KeyPurpose) -> str | None:
    """Return the key that is retiring, or None where no rotation is open."""
    return _find(entries, purpose, KeyState.RETIRING)


def current_key(entries: Sequence[KeyEntry], purpose: KeyPurpose) -> str:
    """Return the current key. Raises KeyUseError before one is registered."""
    found = _find(entries, purpose, KeyState.CURRENT)
    if found is None:
        raise KeyUseError(f"no current key is registered for {purpose}")
    return found


def next_key_id(entries: Sequence[KeyEntry], purpose: KeyPurpose) -> str:
    """Return the next name in the series of keys that we make ourselves: ``card-2`` after ``card-1``."""
    stem, _, number = current_key(entries, purpose).rpartition("-")
    return f"{stem}-{int(number) + 1}"


async def _begin(
    store: Store,
    kms: Kms,
    actor: Actor,
    purpose: KeyPurpose,
    new_key_id: str,
    entries: Sequence[KeyEntry],
    maker: KeyMaker | None,
) -> str:
    """Make the new key current and return the one that retires."""
    check_unknown(entries, new_key_id)
    if maker is not None:
        await maker.create(KIND_OF[purpose], new_key_id)
    # A key that cannot be used must not become the current one.
    await kms.check(KIND_OF[purpose], new_key_id)

    def begin(uow: UnitOfWork) -> str:
        old_key_id = begin_rotation(uow, purpose, new_key_id)
        note(uow, actor, Action.KEY_REGISTER, new_key_id, detail=f"{purpose} after {old_key_id}")
        return old_key_id

    return await store.write(begin, locks=["vault.keys"])


async def _retire(store: Store, actor: Actor, purpose: KeyPurpose, old_key_id: str) -> None:
    """Retire a key that nothing is left under.

    Nothing can have come under it meanwhile: who writes under a key holds its row of the register, and it
    has not been current since the rotation began.
    """

    def retire(uow: UnitOfWork) -> None:
        if rows_under(uow, purpose, old_key_id):
            raise ConflictError("vault.key_in_use", "Rows are still under this key; resume the rotation.")
        if move(uow, old_key_id, KeyState.RETIRING, KeyState.RETIRED):
            note(uow, actor, Action.KEY_RETIRE, old_key_id, detail=purpose)

    await store.write(retire, locks=["vault.keys"])


async def _next_rows(store: Store, page: Statement, key_id: str, after_id: str, most: int) -> list[Any]:
    values = {"key_id": key_id, "after_id": after_id, "most": most}
    return await store.read(lambda reader: reader.rows(page, values))


def _find(entries: Sequence[KeyEntry], purpose: KeyPurpose, state: KeyState) -> str | None:
    return next(
        (entry.key_id for entry in entries if entry.purpose is purpose and entry.state is state), None
    )
