"""Authorizations that run out, or are used up, before everything has shipped (P5, P6)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fulfillment.model import HoldLimits
from gateway.orders import background
from gateway.orders.reauthorizing import RenewalRules
from gateway.settings import Settings
from tests.support.buying import buy, ended, legs, order_body, quote, show, told
from tests.support.gateway import OpenGateway, opened
from tests.support.seed import HARBOUR, Seed
from tests.support.standing import buy_within, eur, grant
from tests.support.stopping import parcels
from wallets.vault.port import Initiation
from wallets.vault.providers import simulated, simulated_rules
from wallets.vault.providers.port import AuthorizeOrder
from wallets.vault.providers.test_cards import SimulatedCard

SOON = RenewalRules(margin_ms=1_200, look_after_ms=50, retry_ms=300, hold_ms=60_000)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Authorizations last a second and a half; what runs out soon is looked for all the time."""
    monkeypatch.setattr(simulated_rules, "_ONLINE_MS", 1_500)
    monkeypatch.setattr(background, "_TIDY_S", 0.05)
    monkeypatch.setattr(Settings, "renewal", property(lambda _: SOON))
    return monkeypatch


@pytest.fixture
async def slow_shop(seed: Seed, tmp_path: Path, brief: Any) -> AsyncIterator[OpenGateway]:
    """Goods leave when the test says so."""
    async with opened(seed, tmp_path / "data", dispatch_after_ms=600_000) as found:
        yield found


async def dispatched(shop: OpenGateway, order_id: str) -> None:
    """Send every parcel of the order on its way."""
    for parcel in await parcels(shop, order_id):
        await shop.gateway.backend.dispatch(parcel)


async def no_renewals(*_: Any) -> None:
    """Nobody looks in time."""


async def test_p5_an_authorization_is_renewed_before_it_runs_out(slow_shop: OpenGateway) -> None:
    shop = slow_shop
    customer = await shop.customer("visa")
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "KUPPEL-LAMP:bundle")
        again = await headset.event("payment.reauthorized", order_id=order_id)
        order = await show(headset, order_id)
        rest = legs(order)["ship"]["amount"]
        # The token was paid for already: only the parcel is authorized anew.
        assert again["body"]["amount"] == rest
        await asyncio.sleep(1.6)  # the first authorization is gone now
        await dispatched(shop, order_id)
        assert (await ended(headset, order_id))["type"] == "order.completed"
        assert legs(await show(headset, order_id))["ship"]["state"] == "captured"
    (first, second) = shop.evidence.rows(
        "SELECT * FROM payment_operation WHERE kind = 'authorize' ORDER BY operation_id"
    )
    assert second["target_operation_id"] == first["operation_id"]
    assert first["network_transaction_id"] and first["capture_before_ms"]
    await shop.check()
    assert shop.effects() == ["authorize", "authorize", "capture", "capture", "void"]


async def test_p6_a_capture_that_comes_too_late_is_authorized_anew(
    slow_shop: OpenGateway, brief: pytest.MonkeyPatch
) -> None:
    shop = slow_shop
    brief.setattr(background, "plan_renewals", no_renewals)
    customer = await shop.customer("visa")
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "FJORD-MUG:physical")
        await headset.event("fulfillment.accepted", order_id=order_id)
        await asyncio.sleep(1.6)
        await dispatched(shop, order_id)
        await headset.event("payment.reauthorized", order_id=order_id)
        assert (await ended(headset, order_id))["type"] == "order.completed"
        assert "payment.capture_failed" not in told(headset, order_id)
    await shop.check()
    assert shop.effects() == ["authorize", "authorize", "capture", "void"]


def cannot_be_renewed(brief: pytest.MonkeyPatch) -> None:
    """The issuer declines what the merchant asks for without the customer."""
    decide = simulated_rules.authorization_row

    def declined(order: AuthorizeOrder, card: SimulatedCard, now_ms: int) -> dict[str, Any]:
        row = decide(order, card, now_ms)
        if order.initiation is Initiation.MERCHANT:
            row["outcome"], row["network_code"] = "declined", "51"
        return row

    brief.setattr(simulated, "authorization_row", declined)


async def test_p6_a_declined_reauthorization_holds_that_shipment_only_until_another_method_pays(
    slow_shop: OpenGateway, brief: pytest.MonkeyPatch
) -> None:
    shop = slow_shop
    cannot_be_renewed(brief)
    customer = await shop.customer("visa", "mastercard")
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "KUPPEL-LAMP:bundle")
        await headset.event("payment.reauthorization_declined", order_id=order_id)
        held = (await headset.event("order.held", order_id=order_id))["body"]
        order = await show(headset, order_id)
        # What was paid for stays paid for; what is held is the parcel.
        assert legs(order)["mint"]["state"] == "captured"
        assert held["amount"] == legs(order)["ship"]["amount"]
        (other, link) = held["alternatives"]
        assert other["payment_method_id"] == customer.methods["mastercard"]
        assert link["kind"] == "pay_link"
        await dispatched(shop, order_id)
        await headset.event("shipment.dispatched", order_id=order_id)
        await headset.command(
            "order.pay", {"order_id": order_id, "payment_method_id": customer.methods["mastercard"]}
        )
        await headset.event("order.released", order_id=order_id)
        assert (await ended(headset, order_id))["type"] == "order.completed"
    await shop.check()
    assert shop.effects() == ["authorize", "authorize", "capture", "capture", "void"]


async def test_a_held_order_goes_on_with_an_allowance_once_its_guardian_agrees(
    slow_shop: OpenGateway, brief: pytest.MonkeyPatch
) -> None:
    shop = slow_shop
    cannot_be_renewed(brief)
    customer, guardian = await shop.customer("visa", "mastercard"), await shop.customer()
    allowance_id = await grant(
        shop,
        shop.gateway.vault,
        customer,
        card="mastercard",
        max_amount=eur(50_000),
        guardian_id=guardian.customer_id,
    )
    async with shop.headset(customer) as headset, shop.headset(guardian) as phone:
        order_id = await buy(headset, customer, "KUPPEL-LAMP:bundle")
        held = (await headset.event("order.held", order_id=order_id))["body"]
        await dispatched(shop, order_id)
        payment = {"kind": "allowance", "allowance_id": allowance_id}
        await headset.command("order.pay", {"order_id": order_id, "payment": payment})
        asked = (await phone.event("payment.guardian_required", order_id=order_id))["body"]
        # Only the parcel has to be paid for.
        assert asked["amount"] == held["amount"]
        assert "guardian" in (await show(headset, order_id))["payment"]
        await phone.command("guardian.approve", {"approval_id": asked["approval_id"]})
        await headset.event("order.released", order_id=order_id)
        assert (await ended(headset, order_id))["type"] == "order.completed"
        assert "payment.declined" not in told(headset, order_id)
    await shop.check()


async def test_p5_an_order_under_a_standing_allowance_is_renewed_within_its_one_use(
    slow_shop: OpenGateway,
) -> None:
    shop = slow_shop
    customer = await shop.customer("visa")
    allowance_id = await grant(shop, shop.gateway.vault, customer, max_uses=1)
    async with shop.headset(customer) as headset:
        order_id = await buy_within(headset, allowance_id, "FJORD-MUG:physical")
        await headset.event("payment.reauthorized", order_id=order_id)
        await dispatched(shop, order_id)
        assert (await ended(headset, order_id))["type"] == "order.completed"
    await shop.check()
    assert shop.effects() == ["authorize", "authorize", "capture", "void"]


async def test_a_held_order_that_nobody_pays_for_is_given_up(
    seed: Seed, tmp_path: Path, brief: pytest.MonkeyPatch
) -> None:
    rules = RenewalRules(margin_ms=1_200, look_after_ms=50, retry_ms=300, hold_ms=400)
    brief.setattr(Settings, "renewal", property(lambda _: rules))
    async with opened(seed, tmp_path / "data", dispatch_after_ms=600_000) as shop:
        cannot_be_renewed(brief)
        customer = await shop.customer("visa")
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, "FJORD-MUG:physical")
            await headset.event("order.held", order_id=order_id)
            assert (await ended(headset, order_id))["type"] == "order.canceled"
            assert legs(await show(headset, order_id))["ship"]["state"] == "canceled"
        await shop.check()
        assert shop.available("FJORD-MUG") == 132


async def test_a_reauthorization_that_nobody_needs_any_more_is_released(
    slow_shop: OpenGateway, brief: pytest.MonkeyPatch
) -> None:
    shop = slow_shop
    vault = shop.gateway.vault
    reached, go = asyncio.Event(), asyncio.Event()
    real = vault.reauthorize

    async def late(request: Any) -> Any:
        answer = await real(request)
        reached.set()
        await go.wait()
        return answer

    brief.setattr(vault, "reauthorize", late)
    customer = await shop.customer("visa")
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "FJORD-MUG:physical")
        await asyncio.wait_for(reached.wait(), 10)
        await headset.command("order.cancel", {"order_id": order_id})
        await headset.event("order.canceled", order_id=order_id)
        go.set()
    await shop.check()
    effects = shop.effects()
    assert effects.count("capture") == 0 and effects.count("authorize") == 2


@pytest.mark.parametrize(("most", "merchant_initiated"), [(1, True), (1, False), (2, True)])
async def test_p4_fewer_captures_than_legs_are_combined_or_authorized_anew(
    seed: Seed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, merchant_initiated: bool
) -> None:
    able = replace(
        simulated.CAPABILITIES,
        most_captures=most,
        merchant_initiated=merchant_initiated,
    )
    monkeypatch.setattr(simulated, "CAPABILITIES", able)
    async with opened(seed, tmp_path / "data") as shop:
        customer = await shop.customer("visa")
        async with shop.headset(customer) as headset:
            # Of the second chair the item is first, and paid first; where one capture is for all, its parcel is.
            items = ("KUPPEL-LAMP:bundle", "HALM-CHAIR:digital", "HALM-CHAIR:bundle")
            order_id = await buy(headset, customer, *items)
            assert (await ended(headset, order_id))["type"] == "order.completed"
            order = await show(headset, order_id)
            assert order["payment"]["captured_minor"] == order["total"]["amount_minor"]
        captures = shop.evidence.rows(
            "SELECT target_operation_id, count(*) AS n FROM payment_operation WHERE kind = 'capture' "
            "AND state = 'succeeded' GROUP BY 1"
        )
        assert all(row["n"] <= most for row in captures)
        if not merchant_initiated:
            # The one capture waited for all legs.
            assert [row["n"] for row in captures] == [1]
        await shop.check()


async def test_150_captures_of_one_authorization_sum_exactly(seed: Seed, tmp_path: Path) -> None:
    many = HoldLimits(None, None, None, None)
    async with opened(seed, tmp_path / "data", holds=many) as shop:
        customer = await shop.customer("visa", merchant=HARBOUR)
        async with shop.headset(customer) as headset:
            copies = ("ESTUARY-SCARF:digital:100", "ESTUARY-SCARF:digital:57")
            quoted = await quote(headset, *copies, merchant=HARBOUR, currency="EUR")
            order_id = (await headset.command("order.place", order_body(quoted, customer.methods["visa"])))[
                "order_id"
            ]
            assert (await ended(headset, order_id, within_s=60))["type"] == "order.completed"
        (intent,) = shop.evidence.rows("SELECT * FROM payment_intent")
        assert intent["captured_minor"] == intent["authorized_minor"] == quoted["total"]["amount_minor"]
        assert intent["state"] == "succeeded"
        await shop.check()
    assert shop.effects() == ["authorize"] + ["capture"] * 157
