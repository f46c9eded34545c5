"""Editions and transactions of the version before own contracts go on after the upgrade."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from gateway.app import MIGRATIONS
from gateway.kernel.migrate import upgrade
from tests.support.upgrading import database_at

_TX = (
    "INSERT INTO chain_tx (tx_id, chain_id, lane, nonce, kind, contract, calldata, gas, state, created_at_ms)"
    " VALUES ('ctx_1', 1, '1:minter/0', 4, 'mint', '0x1', :data, 9, 'signed', 1)"
)
_ITEM = (
    "INSERT INTO token_item (item_number, sku, cap, numbered, uri, state, tx_id, created_at_ms)"
    " VALUES (7, 'LAMP', '5', 1, '', 'defined', 'ctx_1', 1)"
)
_MINT = (
    "INSERT INTO mint (leg_id, order_id, merchant_id, recipient, receiver, item_number, amount, token_id,"
    " state, tx_id, attempts, return_state, return_attempts, queued_at_ms)"
    " VALUES ('leg_1', 'ord_1', 'mer_1', '0x2', 'plain', 7, 1, '7', 'sent', 'ctx_1', 0, 'none', 0, 1)"
)


@pytest.fixture(params=["sqlite", "postgresql"])
def before(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connection]:
    """A connection to a database at revision 0008."""
    with database_at("0008", MIGRATIONS, request.param, tmp_path) as connection:
        yield connection


def test_open_mints_and_editions_are_kept_and_are_ours(before: Connection) -> None:
    before.execute(text(_TX), {"data": b"\x01"})
    before.execute(text(_ITEM))
    before.execute(text(_MINT))
    upgrade(before, MIGRATIONS)
    (tx,) = before.execute(text("SELECT state, gas_shares, gas_used FROM chain_tx")).all()
    (item,) = before.execute(text("SELECT sku, cap, own_contract_id, first_token_id FROM token_item")).all()
    (mint,) = before.execute(text("SELECT leg_id, state, tx_id FROM mint")).all()
    assert tuple(tx) == ("signed", None, None)
    assert tuple(item) == ("LAMP", "5", None, None)
    assert tuple(mint) == ("leg_1", "sent", "ctx_1")
