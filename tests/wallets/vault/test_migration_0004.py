"""A vault of the version before keeps its lists, credentials and blocks when it is brought up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from gateway.kernel.migrate import upgrade
from tests.support.upgrading import database_at

_MIGRATIONS = Path("wallets/vault/migrations")
_METHOD = (
    "INSERT INTO vault_method (payment_method_id, customer_id, kind, brand, last4, expiry_month, expiry_year,"
    " record_version, format_version, created_at_ms, fingerprint_key_id, fingerprint, removed_at_ms)"
    " VALUES (:id, 'cus_1', 'card', 'visa', '4242', 12, 2031, 1, 1, 0, :key_id, :fingerprint, :removed)"
)
_ATTEMPT = (
    "INSERT INTO vault_attempt (operation_id, fingerprint, network, at_ms, counts, merchant_id, order_id,"
    " initiation) VALUES (:id, :fingerprint, 'visa', 0, 1, 'mer_1', 'ord_1', 'customer')"
)


@pytest.fixture(params=["sqlite", "postgresql"])
def before(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connection]:
    """A connection to a database at revision 0003."""
    with database_at("0003", _MIGRATIONS, request.param, tmp_path) as connection:
        yield connection


def put(connection: Connection, sql: str, **values: object) -> None:
    connection.execute(text(sql), values)


def test_what_was_listed_by_time_is_numbered_in_that_order(before: Connection) -> None:
    for number, at_ms in enumerate((5_000, 1_000, 1_000), start=1):
        put(
            before,
            "INSERT INTO vault_operation (operation_id, state, request_digest, captured_minor, voided_minor,"
            " refunded_minor, sent_at_ms, changed_at_ms) VALUES (:id, 'sent', '', 0, 0, 0, 0, :at_ms)",
            id=f"op_{number}",
            at_ms=at_ms,
        )
    put(before, _METHOD, id="pm_1", key_id="fp-1", fingerprint=b"a", removed=None)
    put(before, _METHOD, id="pm_2", key_id=None, fingerprint=None, removed=5)
    for number, (method, at_ms) in enumerate((("pm_1", 10), ("pm_1", 20), ("pm_2", 30)), start=1):
        put(
            before,
            "INSERT INTO vault_card_entry VALUES (:id, :method, :at_ms)",
            id=f"ent_{number}",
            method=method,
            at_ms=at_ms,
        )
    upgrade(before, _MIGRATIONS)
    listed = before.execute(
        text("SELECT operation_id, feed_no FROM vault_operation ORDER BY feed_no, operation_id")
    )
    assert [tuple(row) for row in listed] == [
        ("op_2", 1_024_000),
        ("op_3", 1_024_000),
        ("op_1", 5_120_000),
    ]
    kept = before.execute(text("SELECT entry_id, feed_no FROM vault_card_entry"))
    assert [tuple(row) for row in kept] == [("ent_2", 20_480)]
    counters = before.execute(text("SELECT name, last_no FROM vault_feed ORDER BY name"))
    assert [tuple(row) for row in counters] == [("card_entry", 30_720), ("operation", 5_120_000)]


def test_two_credentials_of_one_name_are_told_apart_and_both_stay_in_use(before: Connection) -> None:
    for number, (name, revoked) in enumerate(
        (("till", None), ("till", None), ("till", 7), ("desk", None)), start=1
    ):
        put(
            before,
            "INSERT INTO vault_credential VALUES (:id, :digest, 'gateway', :name, 0, :revoked)",
            id=f"vcr_{number:028x}",
            digest=bytes([number]),
            name=name,
            revoked=revoked,
        )
    upgrade(before, _MIGRATIONS)
    found = before.execute(text("SELECT name, revoked_at_ms FROM vault_credential ORDER BY credential_id"))
    first, second, third, fourth = [tuple(row) for row in found]
    assert (first, third, fourth) == (("till", None), ("till", 7), ("desk", None))
    assert second[0].startswith("till-") and second[1] is None


@pytest.mark.parametrize("keys", [1, 2])
def test_an_attempt_gets_the_key_of_its_fingerprint_where_that_can_be_told(
    before: Connection, keys: int
) -> None:
    for number in range(1, keys + 1):
        put(
            before,
            "INSERT INTO vault_key VALUES (:id, 'fingerprints', :state, 0, 0)",
            id=f"fp-{number}",
            state="current" if number == keys else "retired",
        )
    put(before, _METHOD, id="pm_1", key_id="fp-1", fingerprint=b"known", removed=None)
    put(before, _ATTEMPT, id="op_1", fingerprint=b"known")
    put(before, _ATTEMPT, id="op_2", fingerprint=b"removed")
    put(before, _ATTEMPT, id="op_3", fingerprint=None)
    upgrade(before, _MIGRATIONS)
    found = before.execute(
        text("SELECT operation_id, fingerprint_key_id FROM vault_attempt ORDER BY operation_id")
    )
    of_removed = "fp-1" if keys == 1 else None
    assert [tuple(row) for row in found] == [("op_1", "fp-1"), ("op_2", of_removed), ("op_3", None)]
