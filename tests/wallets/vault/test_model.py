from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from gateway.kernel.money import Money
from gateway.kernel.subjects import OperationId, PaymentMethodId
from wallets.vault.model import (
    ALLOWED_MOVES,
    OperationState,
    is_terminal,
    refusal_by_terms,
    request_digest,
    sources,
    status_of,
)
from wallets.vault.port import (
    REFUSALS,
    AllowanceId,
    AllowanceReason,
    AllowanceTerms,
    Authorize,
    Capture,
    OperationStatus,
    Refund,
    Void,
)

S = OperationState
TERMS = AllowanceTerms(
    AllowanceId("alw_1"),
    PaymentMethodId("pm_1"),
    "cus_1",
    "mer_1",
    "ord_1",
    "ar",
    "plc_1",
    "dev_1",
    AllowanceReason.ONE_TIME,
    Money(1000, "EUR"),
    1,
    5_000,
)
REQUEST = Authorize(
    OperationId("op_1"), TERMS, Money(1000, "EUR"), "cus_1", "mer_1", "ord_1", "ar", "plc_1", "dev_1"
)


def test_every_state_has_its_moves_and_a_status() -> None:
    assert set(ALLOWED_MOVES) == set(S)
    for state in S:
        assert status_of(state).is_final == is_terminal(state)
        assert set(sources(state)) == {source for source in S if state in ALLOWED_MOVES[source]}


def test_no_move_leaves_a_terminal_state_and_none_returns_to_sent() -> None:
    for state in (S.SUCCEEDED, S.DECLINED, S.FAILED, S.REFUSED, S.ABANDONED):
        assert ALLOWED_MOVES[state] == frozenset()
    assert sources(S.SENT) == ()
    assert sources(S.REQUIRES_ACTION) == (S.SENT,)
    assert sources(S.SUCCEEDED) == (S.SENT, S.REQUIRES_ACTION)


def test_a_refused_and_an_abandoned_record_are_refusals_to_the_caller() -> None:
    assert {status_of(S.REFUSED), status_of(S.ABANDONED)} == {OperationStatus.REFUSED}
    assert status_of(S.SENT) is OperationStatus.UNKNOWN


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, None),
        ({"merchant_id": "mer_2"}, "allowance.merchant_mismatch"),
        ({"customer_id": "cus_2"}, "allowance.customer_mismatch"),
        ({"order_id": "ord_2"}, "allowance.order_mismatch"),
        ({"channel": "web"}, "allowance.channel_mismatch"),
        ({"place_id": None}, "allowance.place_mismatch"),
        ({"device_id": "dev_2"}, "allowance.device_mismatch"),
        ({"amount": Money(10, "GBP")}, "allowance.currency_mismatch"),
        ({"amount": Money(1001, "EUR")}, "allowance.amount_exceeded"),
        ({"amount": Money(0, "EUR")}, "vault.amount_invalid"),
        ({"amount": Money(-1, "EUR")}, "vault.amount_invalid"),
    ],
)
def test_each_mismatch_with_the_terms_has_its_code(change: dict[str, Any], code: str | None) -> None:
    assert refusal_by_terms(replace(REQUEST, **change), 4_999) == code
    assert code is None or code in REFUSALS


def test_expiry_is_inclusive() -> None:
    assert refusal_by_terms(REQUEST, 4_999) is None
    assert refusal_by_terms(REQUEST, 5_000) == "allowance.expired"


def test_an_allowance_without_uses_refuses() -> None:
    assert (
        refusal_by_terms(replace(REQUEST, allowance=replace(TERMS, max_uses=0)), 0)
        == "allowance.uses_exceeded"
    )


def test_terms_without_order_place_or_device_fit_any() -> None:
    anywhere = replace(TERMS, order_id=None, place_id=None, device_id=None)
    assert refusal_by_terms(replace(REQUEST, allowance=anywhere), 0) is None


def test_the_digest_tells_every_field_of_a_request_apart() -> None:
    seen = {request_digest(REQUEST)}
    for field in fields(TERMS):
        value = getattr(TERMS, field.name)
        other: Any = Money(7, "EUR") if isinstance(value, Money) else 7
        seen.add(request_digest(replace(REQUEST, allowance=replace(TERMS, **{field.name: other}))))
    for field in fields(REQUEST):
        if field.name not in ("operation_id", "allowance"):
            other = Money(7, "EUR") if field.name == "amount" else "other"
            seen.add(request_digest(replace(REQUEST, **{field.name: other})))
    assert len(seen) == 1 + len(fields(TERMS)) + len(fields(REQUEST)) - 2
    one, two = OperationId("op_2"), OperationId("op_3")
    amount = Money(5, "EUR")
    follow_ups: list[Any] = [
        Capture(one, two, amount),
        Void(one, two, amount),
        Void(one, two),
        Refund(one, two, amount),
    ]
    follow_ups.append(Capture(one, two, Money(5, "GBP")))
    assert len({request_digest(each) for each in follow_ups}) == 5
