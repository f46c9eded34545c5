"""Lists of changes, read from a cursor on: a change gets its number after it was committed.

The order of a list cannot be the time of a change: a unit that was stamped early may be committed late, and
whoever has read past its time would never see it. So a change only leaves its row without a number, and who
reads the list numbers such rows first. Numbers are given by one unit at a time and are never given again; a
row that changes once more loses its number and gets a later one. A list that is read from a number on has no
gaps, however long a unit ran, on any clock.

A vault that was restored from a copy gives numbers once more. Who comes with a number that was not given yet
begins anew: readers take a change twice as they take it once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Table, and_, bindparam, or_, select, update
from sqlalchemy.sql.elements import ColumnElement

from gateway.kernel.errors import InvalidError
from gateway.kernel.store.statements import Statement, upsert
from gateway.kernel.store.unit import Lane, Reader, Store, UnitOfWork
from wallets.vault.tables import card_entry, feed, operation

_CURSOR = re.compile(r"f([0-9]{1,18})\.(.+)", re.ASCII)
_CURSOR_OF_TIME = re.compile(r"([0-9]{1,15})\.(.+)", re.ASCII)
"""What a cursor was before there were numbers: a time in milliseconds and an id."""
_PER_MS = 1_024
"""Rows of that time got their time, multiplied by this, as their number."""
_AGAIN_MS = 10_000
"""A reader of that time reads so much again: what was committed late was not in its list."""
_AT_ONCE = 50
"""Rows one unit numbers; others' units wait meanwhile."""

_TAKE = upsert(feed, ["name"], lambda new: {"last_no": feed.c.last_no + new.last_no}, returning=["last_no"])
_LAST = Statement(select(feed.c.last_no).where(feed.c.name == bindparam("name")))


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last row that a reader has."""

    number: int
    key: str

    def params(self) -> dict[str, Any]:
        """The values that `Feed.after` needs."""
        return {"after_no": self.number, "after_key": self.key}


_START = Cursor(-1, "")


class Feed:
    """The list of changes of one table."""

    def __init__(self, name: str, table: Table, key: Column[str], at: Column[int]) -> None:
        """``at`` orders what is numbered together; nothing rests on it."""
        number = table.c.feed_no
        self._name = name
        self._lock = f"vault.feed.{name}"
        self._any = Statement(select(key.label("key")).where(number.is_(None)).limit(1))
        its_key: ColumnElement[Any] = key.label("key")
        self._unnumbered = Statement(
            select(its_key, at.label("at_ms"))
            .where(number.is_(None))
            .limit(bindparam("most"))
            # A row that somebody is changing is numbered when that is committed.
            .with_for_update(skip_locked=True)
        )
        self._number = Statement(
            update(table).where(key == bindparam("its_key")).values(feed_no=bindparam("its_no"))
        )
        self.after: ColumnElement[bool] = or_(
            number > bindparam("after_no"),
            and_(number == bindparam("after_no"), key > bindparam("after_key")),
        )
        """What a reader has not seen."""
        self.order = (number, key)

    def page(self, reader: Reader, page: Statement, cursor: Cursor, most: int) -> list[Any]:
        """Return the rows of a page; ``page`` selects by `after` in `order`, at most ``most``."""
        row = reader.row(_LAST, {"name": self._name})
        if row is None or cursor.number > row.last_no:
            cursor = _START
        return reader.rows(page, {**cursor.params(), "most": most})

    def cursor(self, text: str) -> Cursor:
        """Read a cursor; empty is the beginning. Raises InvalidError ``vault.cursor_malformed``."""
        if not text:
            return _START
        if found := _CURSOR.fullmatch(text):
            return Cursor(int(found[1]), found[2])
        if found := _CURSOR_OF_TIME.fullmatch(text):
            return Cursor((int(found[1]) - _AGAIN_MS) * _PER_MS, "")
        raise InvalidError("vault.cursor_malformed", "Not a cursor of this vault.")

    @staticmethod
    def cursor_at(number: int, key: str) -> str:
        """Return the cursor of a row."""
        return f"f{number}.{key}"

    async def catch_up(self, store: Store, most: int) -> None:
        """Number up to ``most`` rows, or a few more, that have changed since somebody did so last."""
        numbered = 0
        while numbered < most and await store.read(lambda reader: reader.row(self._any)) is not None:
            done = await store.write(self._number_some, lane=Lane.BACKGROUND, locks=(self._lock,))
            numbered += done
            if done < _AT_ONCE:
                return

    def _number_some(self, uow: UnitOfWork) -> int:
        rows = uow.rows(self._unnumbered, {"most": _AT_ONCE})
        if not rows:
            return 0
        taken = uow.row(_TAKE, {"name": self._name, "last_no": len(rows)})
        assert taken is not None
        first = taken.last_no - len(rows) + 1
        ordered = sorted(rows, key=lambda row: (row.at_ms, row.key))
        uow.run_many(
            self._number,
            [{"its_key": row.key, "its_no": number} for number, row in enumerate(ordered, start=first)],
        )
        return len(rows)


OPERATIONS = Feed("operation", operation, operation.c.operation_id, operation.c.changed_at_ms)
CARD_ENTRIES = Feed("card_entry", card_entry, card_entry.c.entry_id, card_entry.c.entered_at_ms)
