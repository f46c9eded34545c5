"""An order that is held can be paid with a card whose issuer wants to see the customer, whatever they answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.invariants import violations
from tests.support.stepped_gateway import (
    HOUR,
    MINUTE,
    SECOND,
    SteppedGateway,
    stepped_gateway,
)
from wallets.vault.port import Initiation
from wallets.vault.providers import simulated
from wallets.vault.providers.port import AuthorizeOrder
from wallets.vault.providers.simulated_rules import authorization_row
from wallets.vault.providers.test_cards import SimulatedCard


@pytest.fixture
async def shop(
    plain_seed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SteppedGateway]:
    """A gateway where the issuer of one card declines what is asked for without the customer."""
    monkeypatch.setattr(simulated, "authorization_row", _strictly)
    async with stepped_gateway(plain_seed, tmp_path) as found:
        yield found
        assert not violations(tmp_path / "data", at_rest=False)


def _strictly(order: AuthorizeOrder, card: SimulatedCard, now_ms: int) -> dict[str, Any]:
    row = authorization_row(order, card, now_ms)
    if order.initiation is Initiation.MERCHANT and card.name == "mastercard":
        row["outcome"], row["network_code"] = "declined", "51"
    return row


async def held_order(shop: SteppedGateway) -> str:
    """Buy a bundle whose parcel waits until its authorization has run out and cannot be renewed."""
    order_id: str = (await shop.place("MONSTERA:bundle", card="mastercard"))["order_id"]
    await shop.finish_work()
    assert shop.legs(order_id)["entitle"]["state"] == "captured"
    for _ in range(60):
        await shop.wait(6 * HOUR)
        await shop.work()
        if is_held(shop, order_id):
            return order_id
    raise AssertionError("the order is not held")


def is_held(shop: SteppedGateway, order_id: str) -> bool:
    order = shop.order(order_id)
    return bool(order["state"] == "confirmed" and order["pay_until_ms"] is not None)


async def challenged(shop: SteppedGateway, order_id: str) -> dict[str, Any]:
    """Pay for the rest with a card that is challenged; returns the authentication's row."""
    await shop.pay(order_id, "challenge")
    await shop.finish_work(2)
    assert shop.events()[-1] == "payment.action_required"
    row: dict[str, Any] = shop.rows("SELECT * FROM payment_authentication ORDER BY authentication_id")[-1]
    return row


async def some_time(shop: SteppedGateway) -> None:
    for _ in range(4):
        await shop.wait(6 * SECOND)
        await shop.finish_work(3)


async def test_a_passed_challenge_releases_the_order(shop: SteppedGateway) -> None:
    order_id = await held_order(shop)
    row = await challenged(shop, order_id)
    assert row["amount_minor"] == 4270, "what is still needed, not the order's total of 46.90"
    await shop.answer_challenge(order_id)
    await some_time(shop)
    assert not is_held(shop, order_id)
    assert shop.operations(order_id, "authorize")[-1]["state"] == "succeeded"
    (decided,) = shop.rows("SELECT state FROM payment_authentication")
    assert decided["state"] == "authenticated"


async def test_the_challenge_of_a_held_order_is_open_when_it_is_asked_for(shop: SteppedGateway) -> None:
    row = await challenged(shop, await held_order(shop))
    assert row["expires_at_ms"] == shop.clock.now_ms() + 10 * MINUTE
    assert "Did you start this?" in (await shop.http.get(f"/pay/challenges/{row['action_id']}")).text


async def test_after_a_denied_challenge_another_card_pays(shop: SteppedGateway) -> None:
    order_id = await held_order(shop)
    row = await challenged(shop, order_id)
    denied = await shop.http.post(f"/pay/challenges/{row['action_id']}/deny")
    assert denied.status_code == 303
    await some_time(shop)
    assert is_held(shop, order_id) and shop.intent(order_id)["reauthorization_id"] is None
    await shop.pay(order_id, "visa")
    await shop.finish_work(3)
    assert not is_held(shop, order_id)


async def test_after_a_failed_challenge_another_card_pays(shop: SteppedGateway) -> None:
    order_id = await held_order(shop)
    await challenged(shop, order_id)
    await shop.answer_challenge(order_id, approves=False)
    await some_time(shop)
    await shop.pay(order_id, "visa")
    await shop.finish_work(3)
    assert not is_held(shop, order_id)


async def test_after_a_challenge_that_nobody_answers_another_card_pays(shop: SteppedGateway) -> None:
    order_id = await held_order(shop)
    row = await challenged(shop, order_id)
    await shop.wait(10 * MINUTE)
    await some_time(shop)
    assert shop.intent(order_id)["reauthorization_id"] is None
    await shop.pay(order_id, "visa")
    await shop.finish_work(3)
    assert not is_held(shop, order_id)
    # What was asked for first holds nothing.
    (first,) = [
        each for each in shop.operations(order_id, "authorize") if each["operation_id"] == row["operation_id"]
    ]
    assert first["state"] == "failed"


async def test_a_hold_does_not_end_while_the_customer_is_asked(shop: SteppedGateway) -> None:
    order_id = await held_order(shop)
    left_ms = shop.order(order_id)["pay_until_ms"] - shop.clock.now_ms()
    await shop.wait(left_ms - MINUTE)
    await challenged(shop, order_id)
    await shop.wait(5 * MINUTE)
    await shop.answer_challenge(order_id)
    await some_time(shop)
    assert not is_held(shop, order_id) and shop.order(order_id)["state"] == "confirmed"


async def test_attempts_do_not_keep_a_held_order_for_ever(shop: SteppedGateway) -> None:
    order_id = await held_order(shop)
    for _ in range(20):
        left_ms = shop.order(order_id)["pay_until_ms"] - shop.clock.now_ms()
        await shop.wait(left_ms - SECOND)
        await shop.pay(order_id, "insufficient_funds")
        await shop.finish_work(3)
        await shop.wait(2 * SECOND)
        if not is_held(shop, order_id):
            break
    assert not is_held(shop, order_id)
