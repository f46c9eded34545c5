"""Pages of operations for the reconciler that compares the vault with the books."""

from __future__ import annotations

from sqlalchemy import and_, bindparam, or_, select

from gateway.kernel.errors import InvalidError
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader, Store
from wallets.vault.operation_rows import result_of
from wallets.vault.port import OperationPage
from wallets.vault.tables import operation

MOST_PER_PAGE = 1_000
SETTLED_AFTER_MS = 1_000
"""How old a change must be to be listed. Longer than a unit runs, so no earlier change turns up later."""

_PAGE = Statement(
    select(operation)
    .where(
        or_(
            operation.c.changed_at_ms > bindparam("at_ms"),
            and_(
                operation.c.changed_at_ms == bindparam("at_ms"),
                operation.c.operation_id > bindparam("operation_id"),
            ),
        ),
        operation.c.changed_at_ms <= bindparam("until_ms"),
    )
    .order_by(operation.c.changed_at_ms, operation.c.operation_id)
    .limit(bindparam("most"))
)


async def operations_since(store: Store, cursor: str, limit: int, settled_after_ms: int) -> OperationPage:
    """Return the next page. Raises InvalidError ``vault.cursor_malformed``."""
    at_text, _, operation_id = cursor.partition(".")
    if cursor and not (at_text.isascii() and at_text.isdigit() and len(at_text) <= 18 and operation_id):
        raise InvalidError("vault.cursor_malformed", "Not a cursor of this vault.")

    def query(reader: Reader) -> OperationPage:
        rows = reader.rows(
            _PAGE,
            {
                "at_ms": int(at_text or -1),
                "operation_id": operation_id,
                "until_ms": reader.now_ms - settled_after_ms,
                "most": max(1, min(limit, MOST_PER_PAGE)),
            },
        )
        end = f"{rows[-1].changed_at_ms}.{rows[-1].operation_id}" if rows else cursor
        return OperationPage(tuple(map(result_of, rows)), end)

    return await store.read(query)
