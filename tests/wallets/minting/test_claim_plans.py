"""The queries of the hot path go along the partial indexes: mints at rest cost them nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from gateway.kernel.store.sqlite import connect
from gateway.kernel.store.statements import Statement
from tests.support.postgres import require_server
from tests.wallets.minting.lane_world import create_tables
from wallets.minting import budget, claims, own_claims, waiting

QUERIES: dict[str, tuple[Statement, str]] = {
    "claim": (claims._QUEUE, "ix_mint_queue"),
    "claim on merchants' contracts": (own_claims._QUEUE, "ix_mint_queue"),
    "what waits": (waiting._PLAIN, "ix_mint_queue"),
    "what waits on merchants' contracts": (waiting._OWN, "ix_mint_queue"),
    "what is held": (waiting._HELD, "ix_mint_held"),
    "the next merchant with held mints": (budget._NEXT_HELD, "ix_mint_held"),
    "its first held mint": (budget._FIRST_HELD, "ix_mint_held"),
    "letting held mints go": (budget._RELEASE, "ix_mint_held"),
}
VALUES = {
    "receiver": "plain",
    "limit": 200,
    "chain_id": 1,
    "ours": "0x",
    "after": "",
    "merchant": "mer_1",
    "count": 5,
}


@pytest.mark.parametrize("name", QUERIES)
def test_sqlite_goes_along_the_partial_index(name: str, tmp_path: Path) -> None:
    raw, core = connect(tmp_path / "gateway.db")
    create_tables(core)
    statement, index = QUERIES[name]
    sql = statement.sql("sqlite")
    plan = [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {sql}", _values(sql, r":(\w+)"))]
    core.close()
    raw.close()
    assert any(index in step for step in plan), plan
    assert not any(step.startswith("SCAN mint") and index not in step for step in plan), plan
    if name.startswith("claim"):
        assert not any("TEMP B-TREE" in step for step in plan), plan


def test_postgresql_goes_along_the_partial_index() -> None:
    server = require_server()
    database = server.create_database()
    engine = create_engine(server.url(database), poolclass=NullPool)
    try:
        with engine.begin() as connection:
            create_tables(connection)
            _fill(connection)
            for name, (statement, index) in QUERIES.items():
                sql = statement.sql("postgresql")
                plan = connection.exec_driver_sql(f"EXPLAIN {sql}", _values(sql, r"%\((\w+)\)s"))
                steps = "\n".join(row[0] for row in plan)
                assert index in steps, f"{name}:\n{steps}"
    finally:
        engine.dispose()
        server.drop_database(database)


def _values(sql: str, parameter: str) -> dict[str, object]:
    return {name: VALUES[name] for name in re.findall(parameter, sql)}


def _fill(connection: Connection) -> None:
    """Many mints at rest, a few that wait."""
    connection.execute(
        text(
            "INSERT INTO own_contract SELECT 'oct_1', 'mer_1', 'a', 1, '0xa', 'erc1155', 'm()', '[]', "
            "''::bytea, NULL, 0"
        )
    )
    connection.execute(
        text(
            "INSERT INTO token_item SELECT i, 'sku', NULL, 0, '', 'defined', NULL, 0, "
            "CASE WHEN i = 1 THEN 'oct_1' END, NULL FROM generate_series(1, 20) i"
        )
    )
    connection.execute(
        text(
            "INSERT INTO mint (leg_id, order_id, merchant_id, recipient, receiver, item_number, amount, "
            "token_id, state, attempts, return_state, return_attempts, queued_at_ms) "
            "SELECT 'leg_' || i, 'ord', 'mer_' || i % 3, '0x', "
            "CASE WHEN i % 2 = 0 THEN 'plain' ELSE 'own' END, i % 20 + 1, 1, '1', "
            "CASE WHEN i % 100 = 0 THEN 'queued' WHEN i % 101 = 0 THEN 'held' "
            "WHEN i % 1009 = 0 THEN 'parked' ELSE 'final' END, 0, 'none', 0, i "
            "FROM generate_series(1, 30000) i"
        )
    )
    connection.execute(text("ANALYZE"))
