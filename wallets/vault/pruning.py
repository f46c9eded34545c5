"""Removing rows that nobody needs any more: a little at a time, in the background.

What is kept, and for how long:

- webhooks 90 days from their arrival: providers send an event again for days, and nobody looks for the
  operation of a parked one after 30. One that came once more after that would only be asked about again;
- the digest of a wallet's payload until its own dates have it refused: until then the digest alone keeps a
  copy of it out. Those from before that was written down: 400 days;
- a guardian's words on an order 180 days after the last of them could be used: longer than what was bought
  with one can still be raised;
- declined checks of a card for the day in which they count.

Entries of the list of cards are not here: one goes when the next one of its method comes (`card_sessions`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from sqlalchemy import Column, Table, and_, bindparam, delete, exists, or_, select
from sqlalchemy.sql.elements import ColumnElement

from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Lane, Store, UnitOfWork
from wallets.vault.card_testing import WITHIN_MS
from wallets.vault.tables import card_decline, guardian_approval, wallet_payload, webhook

log = structlog.get_logger("vitrine.vault")

DAY_MS = 86_400_000
WEBHOOKS_KEPT_MS = 90 * DAY_MS
PAYLOADS_KEPT_MS = DAY_MS
"""After their own dates have them refused: clocks of several processes may differ."""
UNDATED_PAYLOADS_KEPT_MS = 400 * DAY_MS
APPROVALS_KEPT_MS = 180 * DAY_MS
_MOST = 200
"""Rows of one unit."""
_FIRST_AFTER_S, _EVERY_S, _PAUSE_S = 60.0, 3_600.0, 0.02
_LOCK = "vault.pruning"


@dataclass(frozen=True, slots=True)
class _Kept:
    """Rows of one table that may go, with the times they are measured against, in milliseconds."""

    table: Table
    keys: tuple[Column[Any], ...]
    page: Statement
    forget: Statement
    kept_ms: dict[str, int]


def _kept(table: Table, over: ColumnElement[bool], **kept_ms: int) -> _Kept:
    keys = tuple(table.primary_key.columns)
    its_key = and_(*(column == bindparam(f"its_{column.name}") for column in keys))
    return _Kept(
        table,
        keys,
        Statement(select(*keys).where(over).order_by(*keys).limit(_MOST)),
        Statement(delete(table).where(its_key, over)),
        kept_ms,
    )


_OTHER = guardian_approval.alias("other")
_A = guardian_approval.c
_WORDS_OVER = and_(
    _A.expires_at_ms <= bindparam("before_ms"),
    _A.changed_at_ms <= bindparam("before_ms"),
    # A no counts against every yes to the same order for as long as one of them could be used.
    ~exists(
        select(_OTHER.c.approval_id).where(
            _OTHER.c.allowance_id == _A.allowance_id,
            _OTHER.c.order_id == _A.order_id,
            _OTHER.c.expires_at_ms > bindparam("before_ms"),
        )
    ),
)
_P = wallet_payload.c
TABLES = (
    _kept(webhook, webhook.c.received_at_ms <= bindparam("before_ms"), before_ms=WEBHOOKS_KEPT_MS),
    _kept(
        wallet_payload,
        or_(
            _P.good_until_ms <= bindparam("before_ms"),
            and_(_P.good_until_ms.is_(None), _P.stored_at_ms <= bindparam("undated_before_ms")),
        ),
        before_ms=PAYLOADS_KEPT_MS,
        undated_before_ms=UNDATED_PAYLOADS_KEPT_MS,
    ),
    _kept(guardian_approval, _WORDS_OVER, before_ms=APPROVALS_KEPT_MS),
    _kept(card_decline, card_decline.c.at_ms <= bindparam("before_ms"), before_ms=WITHIN_MS),
)


async def prune(store: Store) -> dict[str, int]:
    """Remove what may go, and return how many rows of which tables went."""
    removed = {}
    for kept in TABLES:
        total = 0
        while True:
            done = await store.write(partial(_prune_some, kept=kept), lane=Lane.BACKGROUND, locks=(_LOCK,))
            total += done
            if done < _MOST:
                break
            await asyncio.sleep(_PAUSE_S)
        if total:
            removed[kept.table.name] = total
    return removed


def _prune_some(uow: UnitOfWork, kept: _Kept) -> int:
    before = {name: uow.now_ms - kept_ms for name, kept_ms in kept.kept_ms.items()}
    rows = uow.rows(kept.page, before)
    for row in rows:
        keys = {f"its_{column.name}": getattr(row, column.name) for column in kept.keys}
        uow.run(kept.forget, {**keys, **before})
    return len(rows)


class Pruner:
    """Prunes every hour while it is started. Any number of processes may."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._forever(), name="vault-pruner")

    async def stop(self) -> None:
        """End between two units."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _forever(self) -> None:
        await asyncio.sleep(_FIRST_AFTER_S)
        while True:
            try:
                removed = await prune(self._store)
                if removed:
                    log.info("vault.pruned", **removed)
            except Exception as error:
                # What may go stays until the next round.
                log.warning("vault.pruning_failed", reason=type(error).__name__)
            await asyncio.sleep(_EVERY_S)
