"""Pages of operations for the reconciler that compares the vault with the books."""

from __future__ import annotations

from sqlalchemy import bindparam, select

from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader, Store
from wallets.vault.feeds import OPERATIONS
from wallets.vault.operation_rows import result_of
from wallets.vault.port import OperationPage
from wallets.vault.tables import operation

MOST_PER_PAGE = 1_000

_PAGE = Statement(
    select(operation).where(OPERATIONS.after).order_by(*OPERATIONS.order).limit(bindparam("most"))
)


async def operations_since(store: Store, cursor: str, limit: int) -> OperationPage:
    """Return the next page. Raises InvalidError ``vault.cursor_malformed``."""
    since = OPERATIONS.cursor(cursor)
    most = max(1, min(limit, MOST_PER_PAGE))
    await OPERATIONS.catch_up(store, most)

    def query(reader: Reader) -> OperationPage:
        rows = OPERATIONS.page(reader, _PAGE, since, most)
        end = OPERATIONS.cursor_at(rows[-1].feed_no, rows[-1].operation_id) if rows else cursor
        return OperationPage(tuple(map(result_of, rows)), end)

    return await store.read(query)
