"""Sealing: the one process that links audit rows into the chain, a little after they were committed.

Any number of processes may run a sealer on one database: a seal's number is a primary key, so of two that
work at the same time one wins and the other finds nothing left to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import structlog
from sqlalchemy import bindparam, select, text

from gateway.kernel.store.statements import Statement, insert_new
from gateway.kernel.store.unit import Lane, Reader, Store, UnitOfWork
from wallets.vault.audit import SIGNAL, Action, Actor, note
from wallets.vault.audit_anchor import Anchor
from wallets.vault.audit_chain import BEGINNING, Head, Seal, seal_rows
from wallets.vault.keys import KeyRing, Keys
from wallets.vault.kms import Kms
from wallets.vault.tables import audit, audit_seal

_log = structlog.get_logger("vitrine.vault")
_MOST_ROWS = 500
_ANCHOR_EVERY_S = 5.0
_RETRY_S = 1.0

_LAST = Statement(select(audit_seal).order_by(audit_seal.c.seal_no.desc()).limit(1))
_ROWS = Statement(
    select(audit)
    .where(audit.c.audit_id > bindparam("after_id"), audit.c.audit_id <= bindparam("up_to_id"))
    .order_by(audit.c.audit_id)
    .limit(bindparam("most"))
)
_INSERT = insert_new(audit_seal)

_SEQUENCE = text("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM vault_audit_audit_id_seq")
_SNAPSHOT_END = text("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
_SNAPSHOT_BEGIN = text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")


class AuditSealer:
    """Seals in the background while it is started. ``interval_ms`` is how long rows may wait."""

    def __init__(
        self,
        store: Store,
        kms: Kms,
        ring: KeyRing,
        anchor: Anchor | None,
        actor: Actor,
        *,
        interval_ms: int = 1_000,
    ) -> None:
        self._store = store
        self._kms = kms
        self._ring = ring
        self.anchor = anchor
        self.actor = actor
        self._interval_s = interval_ms / 1000
        self._something_new = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._head: Head | None = None
        self._anchored_at = 0.0
        self._anchored: Head | None = None
        store.signals.on(SIGNAL, self._something_new.set)

    async def start(self) -> None:
        """Record that the trail is being written from now on, and seal from then on."""
        actor = self.actor
        await self._store.write(lambda uow: note(uow, actor, Action.AUDIT_START, actor.actor_id))
        self._task = asyncio.create_task(self._run(), name="vault-audit-sealer")

    async def stop(self) -> None:
        """Record the stop, seal what is left and anchor it. Raises KeyUseError if the key can not be used."""
        if self._task is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None
        actor = self.actor
        await self._store.write(lambda uow: note(uow, actor, Action.AUDIT_STOP, actor.actor_id))
        await self.finish()

    async def finish(self) -> None:
        """Seal what is left and anchor the end of the chain."""
        await self.seal()
        await self._keep_anchor()

    async def seal(self) -> None:
        """Seal every row that was committed before this call."""
        up_to_id = await _settled_up_to(self._store)
        while True:
            head = await seal_next(self._store, self._kms, self._ring, up_to_id)
            if head is None:
                return
            self._head = head

    async def _run(self) -> None:
        while True:
            try:
                # With something to anchor it is waited for no longer than until that is due.
                due_s = None if self._is_anchored else self._anchored_at + _ANCHOR_EVERY_S - time.monotonic()
                async with asyncio.timeout(None if due_s is None else max(0.0, due_s)):
                    await self._something_new.wait()
                    await asyncio.sleep(self._interval_s)
            except TimeoutError:
                pass
            is_new = self._something_new.is_set()
            self._something_new.clear()
            try:
                if is_new:
                    await self.seal()
                if time.monotonic() >= self._anchored_at + _ANCHOR_EVERY_S:
                    await self._keep_anchor()
            except Exception as error:
                # Whatever one try met, the next may succeed: the rows are safe and wait, and how long the
                # oldest has waited is what the verifier reports.
                _log.error("vault.audit_not_sealed", reason=type(error).__name__)
                self._something_new.set()
                await asyncio.sleep(_RETRY_S)

    async def _keep_anchor(self) -> None:
        if self.anchor is not None and self._head is not None:
            await self.anchor.keep(self._head)
            self._anchored_at = time.monotonic()
            self._anchored = self._head

    @property
    def _is_anchored(self) -> bool:
        return self.anchor is None or self._anchored == self._head


async def seal_next(store: Store, kms: Kms, ring: KeyRing, up_to_id: int) -> Head | None:
    """Seal the next rows and return the new end of the chain; None if there was nothing to seal.

    Hashing runs on the reader's thread. Raises KeyUseError.
    """
    while True:
        keys = await ring.keys()
        head, was_current = await _seal_under(store, kms, keys, up_to_id)
        if was_current:
            return head
        # The audit key was rotated meanwhile: the old one seals nothing more.
        ring.out_of_date(keys)


async def _seal_under(store: Store, kms: Kms, keys: Keys, up_to_id: int) -> tuple[Head | None, bool]:
    """Seal the next rows; the second value is False, and nothing is written, if the key is not current."""

    def prepare(reader: Reader) -> tuple[Head, Seal] | None:
        before = head_of(reader.row(_LAST))
        rows = reader.rows(_ROWS, {"after_id": before.last_id, "up_to_id": up_to_id, "most": _MOST_ROWS})
        return (before, seal_rows(before, rows)) if rows else None

    prepared = await store.read(prepare)
    if prepared is None:
        return None, True
    before, seal = prepared
    mac = await kms.mac(keys.audit_key_id, seal.covered(before))

    def insert(uow: UnitOfWork) -> tuple[Head | None, bool]:
        if not keys.hold_for_audit(uow):
            return None, False
        uow.run(
            _INSERT,
            {
                "seal_no": seal.seal_no,
                "row_count": seal.row_count,
                "last_id": seal.last_id,
                "links": seal.links,
                "head": seal.head,
                "mac_key_id": keys.audit_key_id,
                "mac": mac,
                "sealed_at_ms": uow.now_ms,
            },
        )
        # Where another process was faster its seal is as good as ours.
        return head_of(uow.row(_LAST)), True

    return await store.write(insert, lane=Lane.BACKGROUND)


def head_of(row: Any) -> Head:
    """Return the end of the chain that the last seal (or None) makes."""
    return BEGINNING if row is None else Head(row.seal_no, row.last_id, row.head, row.mac)


async def _settled_up_to(store: Store) -> int:
    """Return an id up to which every row is committed or never will be.

    SQLite has one writer, so what is seen is in order. On PostgreSQL ids are handed out before the commit:
    a batch that took a smaller id may still be under way. Every batch has its transaction id before it takes
    row ids (the store writes first thing), so once the oldest transaction under way is younger than all
    that ran when the last id was read, none of them is.
    """
    if store.dialect == "sqlite":
        return 2**63 - 1
    # Separate reads on purpose: the snapshot must be taken after the id was read.
    up_to_id = await _number(store, _SEQUENCE)
    end = await _number(store, _SNAPSHOT_END)
    while await _number(store, _SNAPSHOT_BEGIN) < end:  # noqa: ASYNC110  # nobody here could signal it
        await asyncio.sleep(0.01)
    return up_to_id


async def _number(store: Store, question: Any) -> int:
    return int(await store.read(lambda reader: reader.core(question).scalar_one()))
