"""A capture that nobody answers for days is waited for without alarm, and is right when the answer comes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.catalog.model import PaymentPolicy
from gateway.commands import payments
from gateway.kernel.money import Money
from gateway.orders import placing
from gateway.orders.collecting import Collection
from tests.support.invariants import violations
from tests.support.stepped_gateway import DAY, HOUR, stepped_gateway


async def test_a_promise_is_still_right_after_ten_days(
    plain_seed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = PaymentPolicy(pay_at_delivery={"EUR": Money(50_000, "EUR")})
    monkeypatch.setattr(placing, "payment_policy_of", lambda *_: policy)
    async with stepped_gateway(plain_seed, tmp_path) as shop:
        placed = await shop.place("FJORD-MUG:physical", payment={"kind": "pay_at_delivery"})
        order_id = placed["order_id"]
        vault, calls = shop.gateway.vault, 0
        ask = vault.operation

        async def counted(operation_id: Any) -> Any:
            nonlocal calls
            calls += 1
            return await ask(operation_id)

        monkeypatch.setattr(vault, "operation", counted)
        for _ in range(10 * DAY // HOUR):
            await shop.ship()
            await shop.work()
            await shop.wait(HOUR)
        told = set(shop.events())
        assert "shipment.dispatched" in told
        assert not told & {"payment.unknown", "payment.stuck", "payment.capture_failed", "order.held"}
        # Less and less often: every six hours in the end.
        assert 10 <= calls <= 60
        (waiting,) = shop.rows("SELECT * FROM task")
        assert waiting["kind"] == "payment.resolve" and waiting["attempts"] == 0
        order = shop.order(order_id)
        assert order["state"] == "confirmed"
        told_by_staff = Collection(
            shop.merchant.merchant_id, order_id, "courier-9", "van-3", order["total_minor"], False
        )
        answer = await payments.collect(shop.context, told_by_staff)
        assert answer["collected"]
        await shop.work()
        assert shop.order(order_id)["state"] == "completed"
    assert not violations(tmp_path / "data", at_rest=True)
