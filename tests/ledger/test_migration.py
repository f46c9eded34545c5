"""Books that were kept before amounts could be pending: what was memo becomes pending, limits are counted."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from gateway.app import MIGRATIONS
from gateway.kernel.clock import SystemClock
from gateway.kernel.ids import TimeSortedIds
from gateway.kernel.migrate import upgrade
from gateway.kernel.store.sqlite import SqliteStore
from gateway.ledger.balances import account_balances
from gateway.ledger.pending import post_pending, reservation
from gateway.ledger.verifying import verify
from tests.support.postgres import require_server

_OLD = """
INSERT INTO ledger_transaction (ledger_transaction_id, kind, merchant_id, order_id, at_ms) VALUES
    ('ltx_1', 'stock.opened', 'mer_1', NULL, 1), ('ltx_2', 'order.placed', 'mer_1', 'ord_1', 2),
    ('ltx_3', 'payment.authorized', 'mer_1', 'ord_1', 3);
INSERT INTO ledger_entry (ledger_transaction_id, position, account, unit, amount) VALUES
    ('ltx_1', 0, 'stock:available:BERLIN', 'sku:LAMP', 7), ('ltx_1', 1, 'equity:stock_opening', 'sku:LAMP', -7),
    ('ltx_2', 0, 'memo:orders_due', 'EUR', 5000), ('ltx_2', 1, 'memo:orders_due_contra', 'EUR', -5000),
    ('ltx_3', 0, 'memo:authorized', 'EUR', 5000), ('ltx_3', 1, 'memo:authorized_contra', 'EUR', -5000);
INSERT INTO payment_intent (intent_id, order_id, merchant_id, customer_id, state, currency, amount_minor,
    authorized_minor, captured_minor, voided_minor, refunded_minor, authorization_id, created_at_ms) VALUES
    ('int_1', 'ord_1', 'mer_1', 'cus_1', 'requires_capture', 'EUR', 5000, 5000, 0, 0, 0, 'op_1', 3);
"""


async def test_old_books_go_on_as_new_ones(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    upgrade(f"sqlite:///{path}", MIGRATIONS, "0002")
    connection = sqlite3.connect(path)
    connection.executescript(_OLD)
    connection.close()
    upgrade(f"sqlite:///{path}", MIGRATIONS)
    clock = SystemClock()
    store = SqliteStore(path, clock, TimeSortedIds(clock))
    try:
        found = await store.read(lambda reader: account_balances(reader, "mer_1"))
        assert {one.account: (one.amount, one.pending) for one in found if one.amount or one.pending} == {
            "asset:clearing:simulated": (0, 5000),
            "liability:deferred_revenue": (0, -5000),
            "equity:stock_opening": (-7, 0),
            "stock:available:BERLIN": (7, 0),
        }
        assert await store.read(lambda reader: reservation(reader, "op_1")) is not None
        await store.write(lambda uow: post_pending(uow, "payment.captured", "op_1", 2000, keep_rest=True))
        assert await verify(store) == []
    finally:
        await store.close()


def test_old_books_go_on_as_new_ones_on_postgresql() -> None:
    server = require_server()
    name = server.create_database()
    try:
        upgrade(server.url(name), MIGRATIONS, "0002")
        engine = create_engine(server.url(name), poolclass=NullPool)
        with engine.begin() as connection:
            for statement in _OLD.strip().split(";\n"):
                connection.exec_driver_sql(statement)
        upgrade(server.url(name), MIGRATIONS)
        with engine.connect() as connection:
            pending = "SELECT pending_id, pending_left FROM ledger_transaction WHERE phase = 'pending'"
            assert connection.execute(text(pending)).all() == [("op_1", 5000)]
            assert connection.execute(text("SELECT amount FROM ledger_balance")).scalars().all() == [7]
        engine.dispose()
    finally:
        server.drop_database(name)
