from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from gateway.kernel.money import Money
from gateway.kernel.subjects import OperationId, PaymentMethodId
from wallets.vault import port
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
    Increment,
    Initiation,
    Limit,
    MerchantReason,
    OperationStatus,
    Payout,
    Refund,
    SpentItem,
    Void,
)

S = OperationState
AMOUNTS = {"max_item", "max_per_hour", "guardian_above"}
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


def refusal(request: Authorize, now_ms: int) -> tuple[str, Limit | None] | None:
    found = refusal_by_terms(request, now_ms)
    return None if found is None else (found.code, found.limit)


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
        ({"amount": Money(0, "EUR")}, "vault.amount_invalid"),
        ({"amount": Money(-1, "EUR")}, "vault.amount_invalid"),
        ({"initiation": Initiation.MERCHANT}, "vault.initiation_invalid"),
        ({"merchant_reason": MerchantReason.NO_SHOW}, "vault.initiation_invalid"),
    ],
)
def test_v26_each_mismatch_with_the_terms_has_its_code(change: dict[str, Any], code: str | None) -> None:
    assert refusal(replace(REQUEST, **change), 4_999) == (code and (code, None))
    assert code is None or code in REFUSALS


SCOPED = replace(
    TERMS,
    not_before_ms=1_000,
    session_id="ses_1",
    world_id="wld_1",
    device_key="thumbprint",
    category="hats",
    max_item=Money(400, "EUR"),
    max_per_hour=Money(900, "EUR"),
)
IN_SCOPE = replace(
    REQUEST,
    allowance=SCOPED,
    amount=Money(900, "EUR"),
    session_id="ses_1",
    world_id="wld_1",
    device_key="thumbprint",
    items=(SpentItem("hats", Money(400, "EUR")), SpentItem("hats", Money(1, "EUR"))),
)


@pytest.mark.parametrize(
    ("change", "code", "limit"),
    [
        ({}, None, None),
        ({"session_id": "ses_2"}, "allowance.session_mismatch", None),
        ({"world_id": None}, "allowance.world_mismatch", None),
        ({"device_key": "another"}, "allowance.device_key_mismatch", None),
        ({"items": ()}, "allowance.items_missing", None),
        ({"items": (SpentItem("shoes", Money(1, "EUR")),)}, "allowance.category_mismatch", None),
        ({"items": (SpentItem("hats", Money(1, "GBP")),)}, "allowance.currency_mismatch", None),
        (
            {"items": (SpentItem("hats", Money(400, "EUR")), SpentItem("hats", Money(401, "EUR")))},
            "allowance.item_exceeded",
            Limit("max_item", "EUR", 400, 0, 401),
        ),
        (
            {"amount": Money(901, "EUR")},
            "allowance.hour_exceeded",
            Limit("max_per_hour", "EUR", 900, 0, 901),
        ),
    ],
)
def test_v26_each_immersive_scope_has_its_code_and_its_limit(
    change: dict[str, Any], code: str | None, limit: Limit | None
) -> None:
    assert refusal(replace(IN_SCOPE, **change), 4_999) == (code and (code, limit))
    assert code is None or code in REFUSALS


def test_a_refusal_says_by_how_much() -> None:
    found = refusal_by_terms(replace(REQUEST, amount=Money(1001, "EUR")), 0)
    assert found is not None and found.limit is not None
    assert (found.code, found.limit) == (
        "allowance.amount_exceeded",
        Limit("max_amount", "EUR", 1000, 0, 1001),
    )
    assert found.limit.over_by == 1


def test_v26_expiry_is_inclusive_and_so_is_the_beginning() -> None:
    assert refusal(REQUEST, 4_999) is None
    assert refusal(REQUEST, 5_000) == ("allowance.expired", None)
    assert refusal(IN_SCOPE, 999) == ("allowance.not_yet_valid", None)
    assert refusal(IN_SCOPE, 1_000) is None


def test_an_allowance_without_uses_refuses() -> None:
    unused = replace(REQUEST, allowance=replace(TERMS, max_uses=0))
    assert refusal(unused, 0) == ("allowance.uses_exceeded", Limit("max_uses", "uses", 0, 0, 1))


def test_terms_without_order_place_or_device_fit_any() -> None:
    anywhere = replace(TERMS, order_id=None, place_id=None, device_id=None)
    assert refusal(replace(REQUEST, allowance=anywhere), 0) is None


def test_v26_a_set_of_channels_fits_each_of_them_and_no_other() -> None:
    several = replace(REQUEST, allowance=replace(TERMS, channel=frozenset({"ar", "web"})))
    assert refusal(several, 0) is None
    assert refusal(replace(several, channel="web"), 0) is None
    assert refusal(replace(several, channel="pos"), 0) == ("allowance.channel_mismatch", None)
    assert refusal(replace(several, channel="a"), 0) == ("allowance.channel_mismatch", None)


def test_the_digest_of_a_set_of_channels_does_not_depend_on_its_order() -> None:
    names = ["web", "ar", "pos", "watch", "chat"]
    digests = {
        request_digest(replace(REQUEST, allowance=replace(TERMS, channel=frozenset(order))))
        for order in (names, names[::-1], sorted(names))
    }
    assert len(digests) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"max_item": Money(1, "GBP")},
        {"max_per_hour": Money(1, "GBP")},
        {"max_per_hour": Money(-1, "EUR")},
        {"guardian_above": Money(1, "EUR")},
        {"guardian_id": "gua_1", "guardian_above": Money(1, "GBP")},
        {"not_before_ms": 5_000},
    ],
)
def test_terms_that_contradict_each_other_are_refused(change: dict[str, Any]) -> None:
    wrong = replace(REQUEST, allowance=replace(TERMS, **change))
    assert refusal(wrong, 0) == ("allowance.terms_invalid", None)


def test_a_request_without_new_scopes_keeps_the_digest_it_had_in_the_first_release() -> None:
    """A repeat that arrives after an upgrade is still a repeat."""
    assert request_digest(REQUEST) == "9e5b8032b1841810f9afbafde1f40bea"


def test_the_digest_tells_every_field_of_a_request_apart() -> None:
    seen = {request_digest(REQUEST)}
    for field in fields(TERMS):
        value = getattr(TERMS, field.name)
        other: Any = Money(7, "EUR") if isinstance(value, Money) or field.name in AMOUNTS else "other"
        seen.add(request_digest(replace(REQUEST, allowance=replace(TERMS, **{field.name: other}))))
    for field in fields(REQUEST):
        if field.name not in ("operation_id", "allowance"):
            other = Money(7, "EUR") if field.name == "amount" else "other"
            if field.name == "items":
                other = (SpentItem("hats", Money(7, "EUR")),)
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
    follow_ups.append(Increment(one, two, amount))
    follow_ups.append(Payout(one, PaymentMethodId("pm_1"), "cus_1", "mer_1", "ord_1", amount))
    assert len({request_digest(each) for each in follow_ups}) == 7


def test_every_code_that_the_vault_refuses_with_has_its_message() -> None:
    """The documents list `REFUSALS`, so nothing may be refused with another code."""
    folder = Path(port.__file__).parent
    found = {
        code
        for path in folder.glob("*.py")
        for code in re.findall(r'Refusal\(\s*"([a-z_.]+)"', path.read_text(encoding="utf-8"))
    }
    assert len(found) > 20
    assert found <= set(REFUSALS)
