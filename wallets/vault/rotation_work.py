"""What a rotation does to rows: which ones a key holds, and how some of them are moved to the next key.

Every write is a compare-and-set on what was read, so a customer who renews or removes a card meanwhile wins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Table, bindparam, func, select, update

from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Lane, Store, UnitOfWork
from wallets.vault import card_keys, methods
from wallets.vault.attempts import REFINGERPRINT
from wallets.vault.audit import Action, Actor, note
from wallets.vault.crypto import RecordPlace, RecordUnreadableError, open_record
from wallets.vault.keys import KeyPurpose
from wallets.vault.kms import KeysUnavailableError, KeyUseError, Kms
from wallets.vault.tables import card_key, method

_AT_ONCE = 16
"""Calls to the key service under way together."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One rotation, as its steps need it."""

    store: Store
    kms: Kms
    actor: Actor
    old_key_id: str
    new_key_id: str


@dataclass(frozen=True, slots=True)
class Moved:
    """What a step did with its rows."""

    changed: int
    left: tuple[str, ...] = ()
    """Rows that can not be moved: they do not open."""


@dataclass(frozen=True, slots=True)
class Work:
    """Rows of one table that are under a key."""

    page: Statement
    """The next rows under ``key_id`` after ``after_id``, at most ``most``; each has a ``row_id``."""
    count: Statement
    """How many are under ``key_id``, as ``rows``."""
    step: Callable[[Turn, Sequence[Any]], Awaitable[Moved]]


def _page(table: Table, row_id: Column[Any], key_id: Column[Any]) -> Statement:
    return Statement(
        select(*table.c, row_id.label("row_id"))
        .where(key_id == bindparam("key_id"), row_id > bindparam("after_id"))
        .order_by(row_id)
        .limit(bindparam("most"))
    )


def _count(key_id: Column[Any]) -> Statement:
    return Statement(select(func.count().label("rows")).where(key_id == bindparam("key_id")))


def _rewrapping(table: Table, row_id: Column[Any], place_of: Callable[[Any], RecordPlace]) -> Work:
    """Wrap the data keys of a table's records anew; the records themselves stay as they are."""
    write = Statement(
        update(table)
        .where(
            row_id == bindparam("row_id_"),
            table.c.kek_id == bindparam("old_key_id"),
            table.c.wrapped_key == bindparam("old_wrapped_key"),
        )
        .values(kek_id=bindparam("new_key_id"), wrapped_key=bindparam("new_wrapped_key"))
    )

    async def step(turn: Turn, rows: Sequence[Any]) -> Moved:
        def rewrapped(row: Any) -> Awaitable[bytes]:
            context = place_of(row).associated_data()
            return turn.kms.rewrap(turn.old_key_id, row.wrapped_key, context, turn.new_key_id)

        results = await _each(rewrapped, rows)

        def move(uow: UnitOfWork) -> int:
            changed = sum(
                uow.run(
                    write,
                    {
                        "row_id_": row.row_id,
                        "old_key_id": turn.old_key_id,
                        "old_wrapped_key": row.wrapped_key,
                        "new_key_id": turn.new_key_id,
                        "new_wrapped_key": result,
                    },
                )
                for row, result in zip(rows, results, strict=True)
                if result is not None
            )
            detail = f"{changed} of {table.name} to {turn.new_key_id}"
            note(uow, turn.actor, Action.ROTATION_STEP, turn.old_key_id, detail=detail)
            return changed

        changed = await turn.store.write(move, lane=Lane.BACKGROUND)
        return Moved(changed, _unmoved(rows, results))

    return Work(_page(table, row_id, table.c.kek_id), _count(table.c.kek_id), step)


_REFINGERPRINT = Statement(
    update(method)
    .where(
        method.c.payment_method_id == bindparam("payment_method_id_"),
        method.c.fingerprint_key_id == bindparam("old_key_id"),
    )
    .values(fingerprint_key_id=bindparam("new_key_id"), fingerprint=bindparam("new_fingerprint"))
)


async def _refingerprint(turn: Turn, rows: Sequence[Any]) -> Moved:
    """Compute the fingerprints of some cards anew. That needs their numbers: each access is recorded."""

    def announce(uow: UnitOfWork) -> None:
        for row in rows:
            note(uow, turn.actor, Action.METHOD_READ, row.row_id, detail="fingerprint rotation")

    await turn.store.write(announce, lane=Lane.BACKGROUND)

    async def computed(row: Any) -> bytes:
        plain = await open_record(turn.kms, methods.place_of(row), methods.record_of(row))
        return await methods.fingerprint_of(turn.kms, turn.new_key_id, methods.instrument(row.kind, plain))

    results = await _each(computed, rows)
    left = _unmoved(rows, results)

    def move(uow: UnitOfWork) -> int:
        for row_id in left:
            note(uow, turn.actor, Action.METHOD_READ, row_id, outcome="vault.record_unreadable")
        changed = 0
        for row, result in zip(rows, results, strict=True):
            if result is None:
                continue
            changed += uow.run(
                _REFINGERPRINT,
                {
                    "payment_method_id_": row.row_id,
                    "old_key_id": turn.old_key_id,
                    "new_key_id": turn.new_key_id,
                    "new_fingerprint": result,
                },
            )
            uow.run(
                REFINGERPRINT,
                {
                    "old_fingerprint": row.fingerprint,
                    "new_fingerprint": result,
                    "new_key_id": turn.new_key_id,
                },
            )
        return changed

    return Moved(await turn.store.write(move, lane=Lane.BACKGROUND), left)


WORK: dict[KeyPurpose, tuple[Work, ...]] = {
    KeyPurpose.RECORDS: (
        _rewrapping(method, method.c.payment_method_id, methods.place_of),
        _rewrapping(card_key, card_key.c.key_id, lambda row: card_keys.place_of(row.key_id)),
    ),
    KeyPurpose.FINGERPRINTS: (
        Work(
            _page(method, method.c.payment_method_id, method.c.fingerprint_key_id),
            _count(method.c.fingerprint_key_id),
            _refingerprint,
        ),
    ),
    # What an audit key sealed stays sealed under it; new seals use the new key.
    KeyPurpose.AUDIT: (),
}


async def _each(call: Callable[[Any], Awaitable[bytes]], rows: Sequence[Any]) -> list[bytes | None]:
    """Call for each row, a few at a time. None: its record does not open. Raises KeysUnavailableError."""
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(row: Any) -> bytes | None:
        async with turns:
            try:
                return await call(row)
            except KeysUnavailableError:
                raise
            except (KeyUseError, RecordUnreadableError):
                return None

    results = await asyncio.gather(*map(one, rows), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


def _unmoved(rows: Sequence[Any], results: Sequence[bytes | None]) -> tuple[str, ...]:
    return tuple(row.row_id for row, result in zip(rows, results, strict=True) if result is None)
