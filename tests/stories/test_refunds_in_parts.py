"""Money that goes back in parts, and money that goes elsewhere (P17)."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from typing import Any

import pytest

from gateway.catalog.loading import payment_policy_of
from gateway.orders import background, refunding
from samples.headset.client import Document, Headset
from tests.support.buying import buy, ended, legs, show, told, until
from tests.support.gateway import Customer, OpenGateway
from wallets.vault.providers.test_cards import PAYERS_BY_NAME


async def ask(shop: OpenGateway, order_id: str, *, key: str | None = None, **body: Any) -> Any:
    """Ask for a refund as the merchant's staff; returns the response."""
    wanted = {"reason": "scratched", "staff_id": "erin", **body}
    return await shop.http.post(
        f"/v1/merchant/orders/{order_id}/refunds",
        json=wanted,
        headers={
            "Authorization": f"Bearer {shop.keys['atelier-nord']}",
            "Idempotency-Key": key or str(uuid.uuid4()),
        },
    )


async def decide(shop: OpenGateway, refund_id: str, staff: str, *, approve: bool = True) -> Any:
    return await shop.http.post(
        f"/v1/merchant/refunds/{refund_id}/decision",
        json={"approve": approve, "staff_id": staff},
        headers={"Authorization": f"Bearer {shop.keys['atelier-nord']}"},
    )


async def state_of(shop: OpenGateway, refund_id: str) -> str:
    found = await shop.merchant("GET", f"/refunds/{refund_id}")
    return str(found["state"])


async def refund_event(headset: Headset, kind: str, refund_id: str) -> Document:
    """Wait for the event about this refund."""

    async def there() -> Document | None:
        for event in headset.events:
            if event["type"] == kind and event["body"]["refund_id"] == refund_id:
                return event
        return None

    found: Document = await until(there)
    return found


async def bought(shop: OpenGateway, customer: Customer, headset: Any, *items: str, card: str = "visa") -> str:
    order_id = await buy(headset, customer, *items, card=card)
    assert (await ended(headset, order_id))["type"] == "order.completed"
    return order_id


async def test_p17_parts_go_back_exactly_and_never_more_than_was_captured(shop: OpenGateway) -> None:
    customer = await shop.customer("visa")
    async with shop.headset(customer) as headset:
        order_id = await bought(shop, customer, headset, "KUPPEL-LAMP:bundle", "FJORD-MUG:physical")
        captured = (await show(headset, order_id))["payment"]["captured_minor"]
        answers = [await ask(shop, order_id, amount_minor=amount) for amount in (1, 333, 1_000)]
        assert [answer.status_code for answer in answers] == [202, 202, 202]
        rest = captured - 1_334
        over = await ask(shop, order_id, amount_minor=rest + 1)
        assert (over.status_code, over.json()["code"]) == (409, "refund.exceeds")
        assert over.json()["data"]["refundable_minor"] == rest
        whole = await ask(shop, order_id)
        assert whole.json()["amount"]["amount_minor"] == rest
        for answer in (*answers, whole):
            await refund_event(headset, "refund.done", answer.json()["refund_id"])
        assert (await show(headset, order_id))["payment"]["refunded_minor"] == captured
        nothing = await ask(shop, order_id, amount_minor=1)
        assert nothing.json()["code"] == "order.not_refundable"
        # What was delivered stays delivered; only the money went back.
        assert (await show(headset, order_id))["state"] == "completed"
    await shop.check()


async def test_p17_a_refund_under_way_keeps_its_amount_from_others(
    shop: OpenGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer = await shop.customer("visa")
    go = asyncio.Event()
    refund = shop.gateway.vault.refund

    async def held(request: Any) -> Any:
        await go.wait()
        return await refund(request)

    monkeypatch.setattr(shop.gateway.vault, "refund", held)
    async with shop.headset(customer) as headset:
        order_id = await bought(shop, customer, headset, "FJORD-MUG:physical")
        captured = (await show(headset, order_id))["payment"]["captured_minor"]
        answers = await asyncio.gather(
            *(ask(shop, order_id, amount_minor=captured // 3 + 1) for _ in range(5))
        )
        assert sorted(answer.status_code for answer in answers) == [202, 202, 409, 409, 409]
        payment = (await show(headset, order_id))["payment"]
        assert (payment["refunded_minor"], payment["refunding_minor"]) == (0, 2 * (captured // 3 + 1))
        go.set()
        await shop.at_rest()
        assert (await show(headset, order_id))["payment"]["refunding_minor"] == 0
    await shop.check()


async def test_the_same_key_refunds_once_and_another_body_is_refused(shop: OpenGateway) -> None:
    customer = await shop.customer("visa")
    async with shop.headset(customer) as headset:
        order_id = await bought(shop, customer, headset, "FJORD-MUG:physical")
        first, again = [await ask(shop, order_id, key="one", amount_minor=100) for _ in range(2)]
        assert first.json()["refund_id"] == again.json()["refund_id"] and again.json()["replayed"]
        other = await ask(shop, order_id, key="one", amount_minor=101)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency.conflict")
    await shop.check()
    assert shop.effects().count("refund") == 1


async def test_a_leg_that_was_partly_refunded_gives_only_the_rest_back_with_its_return(
    shop: OpenGateway,
) -> None:
    customer = await shop.customer("visa")
    async with shop.headset(customer) as headset:
        order_id = await bought(shop, customer, headset, "KUPPEL-LAMP:digital")
        leg = legs(await show(headset, order_id))["mint"]
        part = await ask(shop, order_id, leg_id=leg["leg_id"], amount_minor=200)
        await refund_event(headset, "refund.done", part.json()["refund_id"])
        await shop.refund(order_id)
        await headset.event("order.refunded", order_id=order_id)
        refunds = [event["body"] for event in headset.events if event["type"] == "payment.refunded"]
        assert [one["amount"]["amount_minor"] for one in refunds] == [
            200,
            leg["amount"]["amount_minor"] - 200,
        ]
    await shop.check()


async def test_a_declined_refund_fails_and_frees_its_amount(
    shop: OpenGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer = await shop.customer("refund_declined")
    async with shop.headset(customer) as headset:
        order_id = await bought(shop, customer, headset, "FJORD-MUG:physical", card="refund_declined")
        answer = await ask(shop, order_id, amount_minor=100)
        failed = await refund_event(headset, "refund.failed", answer.json()["refund_id"])
        assert failed["body"]["done"]["amount_minor"] == 0
        assert (await show(headset, order_id))["payment"]["refunding_minor"] == 0
        monkeypatch.setitem(PAYERS_BY_NAME, "refund_declined", PAYERS_BY_NAME["visa"])
        whole = await ask(shop, order_id)
        await refund_event(headset, "refund.done", whole.json()["refund_id"])
    await shop.check()


async def test_p17_elsewhere_needs_a_second_person_and_stays_within_the_cap(
    generous_shop: OpenGateway,
) -> None:
    shop = generous_shop
    customer = await shop.customer("visa", "mastercard")
    async with shop.headset(customer) as headset:
        order_id = await bought(shop, customer, headset, "FJORD-MUG:physical")
        captured = (await show(headset, order_id))["payment"]["captured_minor"]
        elsewhere = {"way": "method", "payment_method_id": customer.methods["mastercard"]}
        over = await ask(shop, order_id, **elsewhere, amount_minor=captured + 1)
        assert over.json()["code"] == "refund.exceeds"
        asked = await ask(shop, order_id, **elsewhere, amount_minor=700)
        refund_id = asked.json()["refund_id"]
        assert asked.json()["state"] == "pending"
        alone = await decide(shop, refund_id, "erin")
        assert (alone.status_code, alone.json()["code"]) == (403, "refund.same_person")
        # What waits for approval is kept from others.
        assert (await ask(shop, order_id, amount_minor=captured - 699)).json()["code"] == "refund.exceeds"
        assert (await decide(shop, refund_id, "frank")).json()["state"] == "approved"
        assert (await decide(shop, refund_id, "frank")).json()["replayed"]
        assert (await decide(shop, refund_id, "grace", approve=False)).json()["code"] == "refund.decided"
        await refund_event(headset, "payout.sent", refund_id)
        await refund_event(headset, "refund.done", refund_id)
        assert (await show(headset, order_id))["payment"]["refunded_minor"] == 700
        assert told(headset, order_id).count("payment.refunded") == 1
    await shop.check()
    assert shop.effects() == ["authorize", "capture", "payout"]


async def test_p17_payouts_have_caps_a_daily_limit_and_a_cooling_period(
    generous_shop: OpenGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = generous_shop
    customer = await shop.customer("visa")
    async with shop.headset(customer) as headset:
        order_id = await bought(shop, customer, headset, "FJORD-MUG:physical")
        goodwill = {"way": "payout", "payment_method_id": customer.methods["visa"]}
        above = await ask(shop, order_id, **goodwill, amount_minor=5_001)
        assert above.json()["code"] == "refund.above_cap"
        ids = [
            (await ask(shop, order_id, **goodwill, amount_minor=4_500)).json()["refund_id"] for _ in range(2)
        ]
        assert (await decide(shop, ids[0], "frank")).json()["state"] == "approved"
        capped = await decide(shop, ids[1], "frank")
        assert (capped.status_code, capped.json()["code"]) == (409, "payout.above_daily_cap")
        await refund_event(headset, "refund.done", ids[0])
        assert (await decide(shop, ids[1], "frank", approve=False)).json()["state"] == "rejected"
        await refund_event(headset, "refund.rejected", ids[1])
        # Nothing that was paid went back.
        assert (await show(headset, order_id))["payment"]["refunded_minor"] == 0

        def cooling(reader: Any, merchant_id: str) -> Any:
            return replace(payment_policy_of(reader, merchant_id), payout_cooling_hours=24)

        monkeypatch.setattr(refunding, "payment_policy_of", cooling)
        fresh = await ask(shop, order_id, **goodwill, amount_minor=100)
        assert fresh.json()["code"] == "refund.target_too_new"
    await shop.check()


async def test_a_request_that_nobody_approves_expires_and_frees_its_amount(
    generous_shop: OpenGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = generous_shop
    monkeypatch.setattr(refunding, "_HOUR_MS", 1)
    monkeypatch.setattr(background, "_TIDY_S", 0.05)
    customer = await shop.customer("visa", "mastercard")
    async with shop.headset(customer) as headset:
        order_id = await bought(shop, customer, headset, "FJORD-MUG:physical")
        asked = await ask(
            shop, order_id, way="method", payment_method_id=customer.methods["mastercard"], amount_minor=700
        )
        refund_id = asked.json()["refund_id"]

        async def expired() -> bool:
            return await state_of(shop, refund_id) == "expired"

        await until(expired)
        assert (await decide(shop, refund_id, "frank")).json()["code"] == "refund.decided"
        assert (await show(headset, order_id))["payment"]["refunding_minor"] == 0
    await shop.check()


async def test_another_merchants_refunds_and_orders_are_not_found(shop: OpenGateway) -> None:
    customer = await shop.customer("visa")
    async with shop.headset(customer) as headset:
        order_id = await bought(shop, customer, headset, "FJORD-MUG:physical")
        refund_id = (await ask(shop, order_id, amount_minor=1)).json()["refund_id"]
    foreign = {"Authorization": f"Bearer {shop.keys['harbour-and-thread']}", "Idempotency-Key": "x"}
    looked = await shop.http.get(f"/v1/merchant/refunds/{refund_id}", headers=foreign)
    assert (looked.status_code, looked.json()["code"]) == (404, "refund.not_found")
    asked = await shop.http.post(
        f"/v1/merchant/orders/{order_id}/refunds",
        headers=foreign,
        json={"reason": "x", "staff_id": "mallory"},
    )
    assert (asked.status_code, asked.json()["code"]) == (404, "order.not_found")
    await shop.check()
