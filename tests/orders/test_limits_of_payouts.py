"""Money that does not go back the way it came: how much of it a day allows, and who may approve it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.catalog.model import PaymentPolicy
from gateway.kernel.errors import ConflictError, ForbiddenError
from gateway.kernel.money import Money
from gateway.kernel.subjects import PaymentMethodId
from gateway.orders import refunding
from gateway.payments.refunds_model import RefundWay
from tests.support.stepped_gateway import SteppedGateway, stepped_gateway
from wallets.vault.port import OperationResult, Payout

MOST = 50_000


def offer(patch: pytest.MonkeyPatch, **limits: Any) -> None:
    """Let the merchant send money elsewhere, to methods however new, within these limits of a day."""
    most = {currency: Money(MOST, currency) for currency in ("EUR", "CHF", "JPY")}
    policy = PaymentPolicy(refund_elsewhere=most, payout=most, payout_cooling_hours=0, **limits)
    patch.setattr(refunding, "payment_policy_of", lambda *_: policy)


async def delivered(shop: SteppedGateway, item: str = "MONSTERA:bundle") -> str:
    order_id: str = (await shop.place(item))["order_id"]
    await shop.deliver()
    assert shop.order(order_id)["state"] == "completed"
    return order_id


def refuse_payout(shop: SteppedGateway, patch: pytest.MonkeyPatch, number: int) -> None:
    """Let the vault refuse one payout: its method is gone."""
    payout: Callable[[Payout], Any] = shop.gateway.vault.payout
    asked = 0

    async def answer(request: Payout) -> OperationResult:
        nonlocal asked
        asked += 1
        if asked == number:
            request = replace(request, payment_method_id=PaymentMethodId("pm_gone"))
        answered: OperationResult = await payout(request)
        return answered

    patch.setattr(shop.gateway.vault, "payout", answer)


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"payouts_per_day": 1}, "payout.too_many"),
        ({"payouts_per_day": 9, "payout_per_day": {"EUR": Money(3_000, "EUR")}}, "payout.above_daily_cap"),
    ],
)
async def test_what_was_sent_of_a_request_that_failed_in_part_counts_for_the_day(
    plain_seed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: dict[str, Any], code: str
) -> None:
    offer(monkeypatch, **limits)
    async with stepped_gateway(plain_seed, tmp_path) as shop:
        target = await shop.method("mastercard")
        order_id = await delivered(shop)
        refuse_payout(shop, monkeypatch, 2)
        asked = await shop.ask_refund(order_id, 3_000, RefundWay.METHOD, method=target)
        await shop.decide_refund(asked["refund_id"], "olga")
        await shop.finish_work()
        (row,) = shop.rows("SELECT * FROM refund_request")
        assert row["state"] == "failed" and 0 < row["done_minor"] < 3_000
        rest = await shop.ask_refund(order_id, 3_000 - row["done_minor"] + 1, RefundWay.METHOD, method=target)
        with pytest.raises(ConflictError) as refused:
            await shop.decide_refund(rest["refund_id"], "olga")
        assert refused.value.code == code


async def test_what_nobody_was_sent_does_not_count_for_the_day(
    plain_seed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, payouts_per_day=1)
    async with stepped_gateway(plain_seed, tmp_path) as shop:
        target = await shop.method("mastercard")
        order_id = await delivered(shop, "HALM-CHAIR:digital")
        refuse_payout(shop, monkeypatch, 1)
        states = []
        for _ in range(2):
            asked = await shop.ask_refund(order_id, 100, RefundWay.METHOD, method=target)
            await shop.decide_refund(asked["refund_id"], "olga")
            await shop.finish_work()
            states = [
                row["state"] for row in shop.rows("SELECT state FROM refund_request ORDER BY refund_id")
            ]
        assert states == ["failed", "done"]


async def test_how_often_a_day_allows_is_counted_over_all_currencies(
    plain_seed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, payouts_per_day=2)
    async with stepped_gateway(plain_seed, tmp_path) as shop:
        target = await shop.method("visa")
        decided = []
        for currency in ("EUR", "CHF", "JPY"):
            order_id = (await shop.place("FJORD-MUG:physical", currency=currency))["order_id"]
            asked = await shop.ask_refund(order_id, 500, RefundWay.PAYOUT, method=target)
            try:
                decided.append((await shop.decide_refund(asked["refund_id"], "olga"))["state"])
            except ConflictError as refused:
                decided.append(refused.code)
        assert decided == ["approved", "approved", "payout.too_many"]


async def test_a_second_person_is_another_person_however_the_name_is_written(
    plain_seed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch)
    async with stepped_gateway(plain_seed, tmp_path) as shop:
        target = await shop.method("visa")
        order_id = (await shop.place("HALM-CHAIR:digital"))["order_id"]
        asked = await shop.ask_refund(order_id, 500, RefundWay.PAYOUT, method=target, staff="erin")
        for staff in ("erin", "Erin", "ERIN"):
            with pytest.raises(ForbiddenError) as refused:
                await shop.decide_refund(asked["refund_id"], staff)
            assert refused.value.code == "refund.same_person"
        assert (await shop.decide_refund(asked["refund_id"], "erina"))["state"] == "approved"
