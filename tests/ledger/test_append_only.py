"""Books only grow, and every transaction sums to zero: held by the databases themselves (L1)."""

from __future__ import annotations

import pytest

from gateway.kernel.store.unit import Store
from gateway.ledger import accounts
from gateway.ledger.closing import close_day
from gateway.ledger.days import day_of
from gateway.ledger.entries import move
from gateway.ledger.posting import post
from gateway.ledger.tables import APPEND_ONLY
from tests.support.databases import Database

_CHANGED = {
    "ledger_transaction": "kind = 'other'",
    "ledger_entry": "amount = amount + 1",
    "ledger_day": "hash = ''",
    "ledger_closing": "debits_posted = 0",
}


@pytest.fixture
async def filled(store: Store) -> Store:
    entries = move("EUR", 500, debit=accounts.bank("main"), credit=accounts.SUSPENSE)
    await store.write(lambda uow: post(uow, "x", "mer_1", None, entries))
    now_ms = await store.read(lambda reader: reader.now_ms)
    await close_day(store, "mer_1", day_of(now_ms))
    return store


@pytest.mark.parametrize("table", APPEND_ONLY)
async def test_l1_no_row_of_the_books_is_changed_or_deleted(
    filled: Store, database: Database, table: str
) -> None:
    before = database.rows(f"SELECT * FROM {table}")
    assert before
    for statement in (f"UPDATE {table} SET {_CHANGED[table]}", f"DELETE FROM {table}"):
        with pytest.raises(Exception, match=f"{table} is append-only"):
            database.rows(statement)
    if database.dialect == "postgresql":
        with pytest.raises(Exception, match=f"{table} is append-only"):
            database.rows(f"TRUNCATE {table}")
    assert database.rows(f"SELECT * FROM {table}") == before


_TRANSACTION = (
    "INSERT INTO ledger_transaction (ledger_transaction_id, kind, merchant_id, at_ms) "
    "VALUES ('ltx_x', 'x', 'mer_1', 1);"
)


@pytest.mark.parametrize(
    "entries",
    [
        "",
        "INSERT INTO ledger_entry VALUES ('ltx_x', 0, 'asset:suspense', 'EUR', 5)",
        "INSERT INTO ledger_entry VALUES ('ltx_x', 0, 'a', 'EUR', 5), ('ltx_x', 1, 'b', 'USD', -5)",
        "INSERT INTO ledger_entry VALUES ('ltx_x', 0, 'a', 'EUR', 5), ('ltx_x', 1, 'b', 'EUR', -4)",
    ],
)
async def test_l1_postgresql_refuses_to_commit_what_does_not_sum_to_zero(
    database: Database, entries: str
) -> None:
    if database.dialect == "sqlite":
        pytest.skip("SQLite has no deferred triggers: the sum is checked when posting and every night")
    with pytest.raises(Exception, match="ledger transaction ltx_x"):
        database.rows(_TRANSACTION + entries)
    assert database.rows("SELECT * FROM ledger_transaction") == []


async def test_l1_postgresql_refuses_an_entry_that_is_added_later(filled: Store, database: Database) -> None:
    if database.dialect == "sqlite":
        pytest.skip("SQLite has no deferred triggers: the sum is checked when posting and every night")
    ((name,),) = database.rows("SELECT ledger_transaction_id FROM ledger_transaction")
    with pytest.raises(Exception, match="do not sum to zero"):
        database.rows(f"INSERT INTO ledger_entry VALUES ('{name}', 7, 'asset:suspense', 'EUR', 5)")
