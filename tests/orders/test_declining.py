"""Every refusal of an allowance says why, and where a limit was hit, which one and by how much."""

from __future__ import annotations

import pytest

from gateway.kernel.money import Money
from gateway.kernel.subjects import OperationId
from gateway.orders.declining import reason_of, told
from gateway.protocol.events import PaymentDeclined
from wallets.vault.port import REFUSALS, Limit, OperationKind, OperationResult, OperationStatus


def refused(code: str, limit: Limit | None = None) -> OperationResult:
    return OperationResult(
        OperationId("op_1"),
        OperationKind.AUTHORIZE,
        OperationStatus.REFUSED,
        Money(1_290, "EUR"),
        refusal=code,
        limit=limit,
    )


@pytest.mark.parametrize("code", [code for code in REFUSALS if code.startswith("allowance.")])
def test_v26_the_customer_reads_what_the_allowance_refused(code: str) -> None:
    reason = reason_of(refused(code))
    assert (reason["code"], reason["message"]) == (code, REFUSALS[code])
    assert "limit" not in reason and "retry_at" not in reason


@pytest.mark.parametrize(
    ("limit", "over_by"),
    [
        (Limit("max_amount", "EUR", 5_000, 4_000, 1_290), 290),
        (Limit("max_uses", "uses", 3, 3, 1), 1),
        (Limit("max_item", "EUR", 1_000, 0, 1_290), 290),
        (Limit("guardian_above", "EUR", 500, 0, 1_290), 790),
        (Limit("attempts", "attempts", 15, 15, 1), 1),
    ],
)
def test_v26_a_limit_is_told_with_how_much_was_too_much(limit: Limit, over_by: int) -> None:
    reason = reason_of(refused("allowance.amount_exceeded", limit))
    assert reason["limit"]["over_by"] == over_by
    assert reason["class"] == "fix_data"
    event = {"order_id": "ord_1", **told(reason), "alternatives": [], "pay_until": "2026-01-01T00:00:00Z"}
    shown = PaymentDeclined.model_validate(event).limit
    assert shown is not None and (shown.name, shown.unit) == (limit.name, limit.unit)


def test_v26_a_limit_that_time_lifts_says_from_when_on_it_would_fit() -> None:
    limit = Limit("max_per_hour", "EUR", 3_000, 2_580, 1_290, retry_at_ms=1_700_000_000_000)
    reason = reason_of(refused("allowance.hour_exceeded", limit))
    assert reason["class"] == "soft_retry_later"
    assert reason["retry_at"] == "2023-11-14T22:13:20.000Z"


def test_rules_between_the_gateway_and_the_vault_are_not_told_in_its_words() -> None:
    assert reason_of(refused("vault.provider_cannot"))["message"] == "The payment could not be made."
