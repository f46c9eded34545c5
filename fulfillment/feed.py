"""Reading a backend's feed of updates: a page behind the stored cursor, then the cursor with its facts.

The page is read outside of any unit. The purchase process records its updates and moves the cursor in one
unit, so an update is recorded once whatever dies in between.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, select, update

from fulfillment.backends.port import BackendUpdate, OrderBackend
from fulfillment.tables import backend_cursor
from gateway.kernel.store.statements import Statement, insert_new
from gateway.kernel.store.unit import Reader, Store, UnitOfWork

_C = backend_cursor.c
_GET = Statement(select(_C.cursor).where(_C.backend == bindparam("name")))
_FIRST = insert_new(backend_cursor)
_ADVANCE = Statement(
    update(backend_cursor)
    .where(_C.backend == bindparam("name"), _C.cursor == bindparam("expected"))
    .values(cursor=bindparam("cursor_"), at_ms=bindparam("now"))
)


@dataclass(frozen=True, slots=True)
class UpdatePage:
    """Updates of a backend behind the cursor ``after``; ``cursor`` is the place behind the last one."""

    backend: str
    after: str
    updates: tuple[BackendUpdate, ...]

    @property
    def cursor(self) -> str:
        return self.updates[-1].cursor if self.updates else self.after


def stored_cursor(reader: Reader, backend: str) -> str:
    """Return how far a backend's feed was recorded; empty before the first update."""
    row = reader.row(_GET, {"name": backend})
    return "" if row is None else str(row.cursor)


async def read_updates(store: Store, backend: OrderBackend, *, limit: int = 256) -> UpdatePage:
    """Return the next page. A full page means there may be more. Raises BackendUnavailableError."""
    after = await store.read(lambda reader: stored_cursor(reader, backend.name))
    return UpdatePage(backend.name, after, tuple(await backend.updates(after, limit)))


def advance_cursor(uow: UnitOfWork, backend: str, *, expected: str, new: str) -> bool:
    """Move the stored cursor by compare-and-set: call it first in the unit that records the page.

    False, with nothing written, means another worker recorded this page: leave the unit and read again.
    """
    if uow.run(_ADVANCE, {"name": backend, "expected": expected, "cursor_": new, "now": uow.now_ms}):
        return True
    if expected:
        return False
    return uow.run(_FIRST, {"backend": backend, "cursor": new, "at_ms": uow.now_ms}) == 1
