"""The database itself keeps refunds within what was captured, also one that was made before they were counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from gateway.app import MIGRATIONS
from gateway.kernel.migrate import upgrade
from tests.support.postgres import require_server

_OLD = """
INSERT INTO payment_intent (intent_id, order_id, merchant_id, customer_id, state, currency, amount_minor,
    authorized_minor, captured_minor, voided_minor, refunded_minor, authorization_id, created_at_ms) VALUES
    ('int_1', 'ord_1', 'mer_1', 'cus_1', 'succeeded', 'EUR', 5000, 5000, 5000, 0, 1000, 'op_1', 3)
"""
_UNDER_WAY = """
INSERT INTO payment_operation (operation_id, order_id, kind, state, currency, amount_minor, created_at_ms,
    updated_at_ms) VALUES ('op_2', 'ord_1', 'refund', 'unknown', 'EUR', 1500, 4, 4),
    ('op_3', 'ord_1', 'refund', 'succeeded', 'EUR', 1000, 4, 4)
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/old.db"
        return
    server = require_server()
    name = server.create_database()
    yield server.url(name)
    server.drop_database(name)


def _change(url: str, *statements: str) -> list[tuple[int, ...]]:
    engine = create_engine(url, poolclass=NullPool)

    def run(connection: Connection) -> list[tuple[int, ...]]:
        for statement in statements[:-1]:
            connection.execute(text(statement))
        result = connection.execute(text(statements[-1]))
        return [tuple(row) for row in result] if result.returns_rows else []

    with engine.begin() as connection:
        return run(connection)


def test_p3_refunds_and_those_under_way_stay_within_what_was_captured(url: str) -> None:
    upgrade(url, MIGRATIONS, "0003")
    _change(url, _OLD, _UNDER_WAY)
    upgrade(url, MIGRATIONS)
    assert _change(url, "SELECT refunded_minor, refunding_minor FROM payment_intent") == [(1000, 1500)]
    _change(url, "UPDATE payment_intent SET refunding_minor = 4000")
    for broken in (
        "refunding_minor = 4001",
        "refunding_minor = -1",
        "refunded_minor = 1001, refunding_minor = 4000",
    ):
        with pytest.raises(DBAPIError):
            _change(url, f"UPDATE payment_intent SET {broken}")
    assert _change(url, "SELECT refunded_minor, refunding_minor FROM payment_intent") == [(1000, 4000)]
