"""A capture that nobody answers for days is waited for without alarm, and is right when the answer comes."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from gateway.app import Gateway
from gateway.catalog.model import PaymentPolicy
from gateway.commands import customer as customers
from gateway.commands import payments
from gateway.kernel.clock import ManualClock
from gateway.kernel.money import Money
from gateway.orders import placing
from gateway.orders.collecting import Collection
from gateway.protocol.messages import OrderPlace, QuoteCreate
from gateway.settings import Settings
from tests.orders.test_random_payments import DAY, HOUR, World, _command, plain_seed
from tests.support.evidence import Evidence
from tests.support.gateway import address
from tests.support.invariants import violations

__all__ = ["plain_seed"]


async def test_a_promise_is_still_right_after_ten_days(
    plain_seed: Path,  # the fixture, not the import
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = PaymentPolicy(pay_at_delivery={"EUR": Money(50_000, "EUR")})
    monkeypatch.setattr(placing, "payment_policy_of", lambda *_: policy)
    data_dir = tmp_path / "data"
    shutil.copytree(plain_seed, data_dir)
    clock = ManualClock(1_790_000_100_000)
    settings = Settings(data_dir=data_dir, mint=False, workers=False)
    gateway = await Gateway.open(settings, clock=clock, checked=True)
    try:
        world = World(gateway, clock, random.Random(1))
        await world.begin()
        order_id = await _promise(world)
        calls = 0
        ask = gateway.vault.operation

        async def counted(operation_id: Any) -> Any:
            nonlocal calls
            calls += 1
            return await ask(operation_id)

        monkeypatch.setattr(gateway.vault, "operation", counted)
        for _ in range(10 * DAY // HOUR):
            await world.ship()
            await world.work(50, "none")
            await world.wait(HOUR, 0)
        told = {row["type"] for row in Evidence(data_dir).rows("SELECT type FROM event")}
        assert "shipment.dispatched" in told
        assert not told & {"payment.unknown", "payment.stuck", "payment.capture_failed", "order.held"}
        # Less and less often: every six hours in the end.
        assert 10 <= calls <= 60
        (waiting,) = Evidence(data_dir).rows("SELECT * FROM task")
        assert waiting["kind"] == "payment.resolve" and waiting["attempts"] == 0
        (order,) = Evidence(data_dir).rows("SELECT * FROM customer_order")
        assert order["state"] == "confirmed"
        told_by_staff = Collection(
            world.merchant.merchant_id, order_id, "courier-9", "van-3", order["total_minor"], False
        )
        answer = await payments.collect(gateway.context, told_by_staff)
        assert answer["collected"]
        await world.work(50, "none")
        (order,) = Evidence(data_dir).rows("SELECT * FROM customer_order")
        assert order["state"] == "completed"
    finally:
        await gateway.close()
    assert not violations(data_dir, at_rest=True)


async def _promise(world: World) -> str:
    context = world.gateway.context
    items = [{"sku": "FJORD-MUG", "format": "physical"}]
    wanted = {"merchant": "atelier-nord", "items": items, "currency": "EUR", "country": "DE"}
    quoted = await customers.perform(context, world.who, _command(QuoteCreate, "quote.create", wanted))
    body = {"quote_id": quoted["quote_id"], "payment": {"kind": "pay_at_delivery"}, "ship_to": address()}
    placed = await customers.perform(context, world.who, _command(OrderPlace, "order.place", body))
    return str(placed["order_id"])
