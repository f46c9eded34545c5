"""Payments that were under way at the version before go on after the upgrade."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from gateway.app import MIGRATIONS
from gateway.kernel.migrate import upgrade
from gateway.payments.provider_terms import terms_of
from tests.support.upgrading import database_at

_TERMS = (
    '{{"provider":"{name}","most_captures":1000,"partial_capture":true,"partial_refund":true,'
    '"void_after_capture":true,"merchant_initiated":true,"async_capture_result":true,"authorizes":false}}'
)
_INTENT = (
    "INSERT INTO payment_intent (intent_id, order_id, merchant_id, customer_id, state, currency, amount_minor,"
    " authorized_minor, captured_minor, voided_minor, refunded_minor, created_at_ms, provider_terms)"
    " VALUES (:id, :id, 'mer_1', 'cus_1', 'requires_capture', 'EUR', 5, 5, 0, 0, 0, 1, :terms)"
)
_ATTEMPT = (
    "INSERT INTO payment_attempt (attempt_id, intent_id, order_id, payment_method_id, operation_id, state,"
    " created_at_ms) VALUES (:id, 'int_1', 'ord_1', 'pm_1', :id, 'authorizing', 1)"
)
_OPERATION = (
    "INSERT INTO payment_operation (operation_id, order_id, attempt_id, kind, state, currency, amount_minor,"
    " created_at_ms, updated_at_ms, pay_link_id)"
    " VALUES (:id, 'ord_1', :id, 'authorize', 'unknown', 'EUR', 5, 1, 1, :link)"
)


@pytest.fixture(params=["sqlite", "postgresql"])
def before(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connection]:
    """A connection to a database at revision 0005."""
    with database_at("0005", MIGRATIONS, request.param, tmp_path) as connection:
        yield connection


def test_promises_in_cash_are_by_hand_and_no_others_are(before: Connection) -> None:
    for name in ("cash", "simulated_debit"):
        before.execute(text(_INTENT), {"id": name, "terms": _TERMS.format(name=name)})
    before.execute(text(_INTENT), {"id": "plain", "terms": None})
    upgrade(before, MIGRATIONS)
    found = {row.order_id: terms_of(row) for row in before.execute(text("SELECT * FROM payment_intent"))}
    cash, debit = found["cash"], found["simulated_debit"]
    assert cash is not None and cash.by_hand and cash.provider == "cash" and not cash.authorizes
    assert debit is not None and not debit.by_hand
    assert found["plain"] is None


def test_attempts_through_a_link_keep_their_payer(before: Connection) -> None:
    for number, link in (("op_1", "plk_1"), ("op_2", None)):
        before.execute(text(_ATTEMPT), {"id": number})
        before.execute(text(_OPERATION), {"id": number, "link": link})
    upgrade(before, MIGRATIONS)
    rows = before.execute(text("SELECT attempt_id, payer FROM payment_attempt ORDER BY attempt_id")).all()
    assert [tuple(row) for row in rows] == [("op_1", "payer_plk_1"), ("op_2", None)]
