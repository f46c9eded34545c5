"""Payments that do not go well at once: declines, challenges, lost answers, slow answers, refused captures."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from samples.headset.client import CommandError, Document, Headset
from tests.support.buying import buy, ended, legs, show, told, until
from tests.support.challenges import bank_page, decide
from tests.support.gateway import Customer, OpenGateway, opened
from tests.support.seed import Seed


async def pay(headset: Headset, order_id: str, method: str) -> Document:
    return await headset.command("order.pay", {"order_id": order_id, "payment_method_id": method})


@pytest.mark.parametrize(
    ("card", "decline_class"),
    [
        ("insufficient_funds", "soft_retry_later"),
        ("expired_at_issuer", "fix_data"),
        ("lost_card", "hard_never"),
        ("suspected_fraud", "fraud_hold"),
    ],
)
async def test_a_declined_order_waits_and_another_method_pays_for_it(
    shop: OpenGateway, card: str, decline_class: str
) -> None:
    customer = await shop.customer(card, "mastercard")
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "FJORD-MUG:physical", card=card)
        declined = (await headset.event("payment.declined", order_id=order_id))["body"]
        assert declined["decline_class"] == decline_class
        assert declined["alternatives"][0]["payment_method_id"] == customer.methods["mastercard"]
        assert [way["kind"] for way in declined["alternatives"]] == [
            "stored_method",
            "pay_link",
            "pay_at_delivery",
        ]
        assert (await show(headset, order_id))["state"] == "placed"
        await pay(headset, order_id, customer.methods["mastercard"])
        await ended(headset, order_id)
        types = told(headset, order_id)
        assert types[:4] == ["order.placed", "payment.declined", "payment.authorized", "order.confirmed"]
        assert types[-1] == "order.completed"
    await shop.check()
    assert shop.effects() == ["authorize", "capture"]


async def test_an_order_that_is_not_declined_cannot_be_paid_again(shop: OpenGateway) -> None:
    customer = await shop.customer("visa", "mastercard")
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "KUPPEL-LAMP:digital")
        await ended(headset, order_id)
        with pytest.raises(CommandError) as refused:
            await pay(headset, order_id, customer.methods["mastercard"])
        assert refused.value.code == "order.not_payable"
    await shop.check()
    assert shop.effects() == ["authorize", "capture"]


async def _page(headset: Headset, order_id: str) -> str:
    return str((await headset.event("payment.action_required", order_id=order_id))["body"]["url"])


async def test_a_challenge_that_is_approved_on_its_page_pays_the_order(shop: OpenGateway) -> None:
    customer = await shop.customer("challenge")
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "KUPPEL-LAMP:digital", card="challenge")
        page = await _page(headset, order_id)
        shown = await shop.http.get(page)
        assert shown.headers["content-type"].startswith("text/html")
        assert "12.90" in shown.text and "EUR" in shown.text and "default-src 'none'" in str(shown.headers)
        # The customer may close the headset while they look for their phone.
        await headset.drop()
        bank = await bank_page(shop.http, page)
        decided = await shop.http.post(f"{bank}/approve", follow_redirects=True)
        # The bank sends the browser back to the page.
        assert str(decided.url) == page
        await ended(headset, order_id)
        # The first decision counts, whatever is pressed later.
        await shop.http.post(f"{bank}/deny")
        await shop.http.post(f"{page}/deny")
        assert (await show(headset, order_id))["state"] == "completed"
        assert told(headset, order_id)[:5] == [
            "order.placed",
            "payment.action_required",
            "payment.authenticated",
            "payment.authorized",
            "order.confirmed",
        ]
    await shop.check()
    assert shop.effects() == ["authorize", "capture"]


async def test_a_challenge_that_is_denied_is_a_decline_with_alternatives(shop: OpenGateway) -> None:
    customer = await shop.customer("challenge", "visa")
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "KUPPEL-LAMP:digital", card="challenge")
        await decide(shop.http, await _page(headset, order_id), "deny")
        declined = (await headset.event("payment.declined", order_id=order_id))["body"]
        assert declined["alternatives"][0]["payment_method_id"] == customer.methods["visa"]
        assert [way["kind"] for way in declined["alternatives"]] == ["stored_method", "pay_link"]
        await pay(headset, order_id, customer.methods["visa"])
        await ended(headset, order_id)
    await shop.check()
    assert shop.effects() == ["authorize", "capture"]


async def test_canceling_during_a_challenge_closes_its_page(shop: OpenGateway) -> None:
    customer = await shop.customer("challenge")
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "FJORD-MUG:physical", card="challenge")
        page = await _page(headset, order_id)
        bank = await bank_page(shop.http, page)
        await headset.command("order.cancel", {"order_id": order_id})
        await ended(headset, order_id)
        assert "Not finished" in (await shop.http.get(page)).text

        async def closed() -> bool:
            return "Done" in (await shop.http.get(bank)).text

        await until(closed)
        await shop.http.post(f"{bank}/approve")
    await shop.check()
    assert "authorize" not in shop.effects()


async def test_an_answer_lost_after_success_is_found_by_asking_and_charged_once(shop: OpenGateway) -> None:
    customer = await shop.customer("answer_lost")
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "KUPPEL-LAMP:digital", card="answer_lost")
        await ended(headset, order_id)
        assert told(headset, order_id)[:4] == [
            "order.placed",
            "payment.unknown",
            "payment.authorized",
            "order.confirmed",
        ]
    await shop.check()
    assert shop.effects() == ["authorize", "capture"]


async def test_a_request_that_never_arrives_is_sent_anew_and_then_known_to_have_failed(
    shop: OpenGateway,
) -> None:
    customer = await shop.customer("never_arrives", "visa")
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "KUPPEL-LAMP:digital", card="never_arrives")
        declined = await headset.event("payment.declined", order_id=order_id)
        assert declined["body"]["decline_class"] == "soft_retry_later"
        assert told(headset, order_id) == ["order.placed", *3 * ["payment.unknown"], "payment.declined"]
        assert shop.effects() == []
        await pay(headset, order_id, customer.methods["visa"])
        await ended(headset, order_id)
    await shop.check()
    assert shop.effects() == ["authorize", "capture"]


async def test_a_slow_answer_within_the_deadline_is_waited_for(shop: OpenGateway) -> None:
    customer = await shop.customer("slow")
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "KUPPEL-LAMP:digital", card="slow")
        await ended(headset, order_id)
        assert "payment.unknown" not in told(headset, order_id)
    await shop.check()
    assert shop.effects() == ["authorize", "capture"]


async def test_an_approval_that_comes_after_it_was_asked_about_is_refused_by_the_acquirer(
    seed: Seed, tmp_path: Path
) -> None:
    async with opened(seed, tmp_path / "data", acquirer_deadline_ms=100, acquirer_slow_ms=1500) as shop:
        customer = await shop.customer("slow")
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, "KUPPEL-LAMP:digital", card="slow")
            await headset.event("payment.declined", order_id=order_id)
            await asyncio.sleep(0.7)  # the slow approval would arrive now
            await headset.command("order.cancel", {"order_id": order_id})
            await ended(headset, order_id)
        await shop.check()
        assert shop.effects() == []


@pytest.mark.parametrize("card", ["capture_declined", "capture_never_arrives"])
async def test_a_token_whose_capture_fails_goes_back_to_the_treasury_and_the_rest_is_voided(
    shop: OpenGateway, card: str
) -> None:
    customer = await shop.customer(card)
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "KUPPEL-LAMP:digital", card=card)
        last = await ended(headset, order_id)
        assert last["type"] == "order.canceled"
        await headset.event("payment.voided", order_id=order_id)
        types = told(headset, order_id)
        assert types.count("token.minted") == types.count("token.returned") == 1
        assert types.count("payment.capture_failed") == types.count("payment.voided") == 1
        assert legs(await show(headset, order_id))["mint"]["state"] == "returned"
    await shop.check()
    assert shop.effects() == ["authorize", "void"]
    # A decline is an answer; a request that was lost is asked for anew, but not for ever.
    tries = {"capture_declined": 1, "capture_never_arrives": 3}[card]
    assert shop.evidence.count("payment_operation", "kind = 'capture'") == tries


async def test_goods_whose_capture_is_declined_are_told_and_nothing_stays_held(shop: OpenGateway) -> None:
    customer = await shop.customer("capture_declined")
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "FJORD-MUG:physical", card="capture_declined")
        last = await ended(headset, order_id)
        assert (last["type"], last["body"]["captured"]["amount_minor"]) == ("order.completed", 0)
        await headset.event("payment.voided", order_id=order_id)
        types = told(headset, order_id)
        assert types.count("shipment.dispatched") == types.count("payment.capture_failed") == 1
        assert legs(await show(headset, order_id))["ship"]["state"] == "capture_failed"
        money = {account: amount for (account, unit), amount in (await shop.books()).items() if unit == "EUR"}
        assert money == {
            f"asset:receivable:{order_id}": 3290,
            "income:revenue:goods_standard": -2765,
            "liability:vat:DE:1900": -525,
        }
    await shop.check()
    assert shop.effects() == ["authorize", "void"]


async def test_a_capture_whose_answer_is_lost_takes_the_money_once(shop: OpenGateway) -> None:
    customer = await shop.customer("capture_answer_lost")
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "KUPPEL-LAMP:bundle", card="capture_answer_lost")
        last = await ended(headset, order_id)
        assert last["body"]["captured"]["amount_minor"] == 19600
    await shop.check()
    assert shop.effects() == ["authorize", "capture", "capture"]


async def test_a_void_whose_answer_is_lost_releases_the_money_once(seed: Seed, tmp_path: Path) -> None:
    async with opened(seed, tmp_path / "data", dispatch_after_ms=60_000) as shop:
        customer = await shop.customer("void_answer_lost")
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, "FJORD-MUG:physical", card="void_answer_lost")
            await headset.event("fulfillment.accepted", order_id=order_id)
            await headset.command("order.cancel", {"order_id": order_id})
            await ended(headset, order_id)
            await headset.event("payment.voided", order_id=order_id)
        await shop.check()
        assert shop.effects() == ["authorize", "void"]


async def test_an_approval_that_arrives_after_the_order_was_given_up_is_voided(
    seed: Seed, tmp_path: Path
) -> None:
    async with opened(seed, tmp_path / "data", acquirer_deadline_ms=5_000, acquirer_slow_ms=500) as shop:
        customer = await shop.customer("slow")
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, "FJORD-MUG:physical", card="slow")
            await headset.command("order.cancel", {"order_id": order_id})
            last = await ended(headset, order_id)
            assert last["type"] == "order.canceled"
        await shop.check()
        assert shop.effects() in ([], ["authorize", "void"])
        assert shop.available("FJORD-MUG") == 132


async def _declined(shop: OpenGateway, headset: Headset, customer: Customer) -> str:
    order_id = await buy(headset, customer, "FJORD-MUG:physical", card="insufficient_funds")
    await headset.event("payment.declined", order_id=order_id)
    assert shop.available("FJORD-MUG") == 131
    return order_id


async def test_a_reservation_nobody_pays_for_expires_and_its_stock_is_free(
    seed: Seed, tmp_path: Path
) -> None:
    async with opened(seed, tmp_path / "data", pay_within_ms=400) as shop:
        customer = await shop.customer("insufficient_funds", "visa")
        async with shop.headset(customer) as headset:
            order_id = await _declined(shop, headset, customer)
            last = await ended(headset, order_id)
            assert last["type"] == "order.canceled"
            assert shop.available("FJORD-MUG") == 132
            with pytest.raises(CommandError) as late:
                await pay(headset, order_id, customer.methods["visa"])
            assert late.value.code == "order.not_payable"
        await shop.check()
        assert shop.effects() == []


async def test_a_challenge_nobody_answers_expires_and_a_late_approval_holds_no_money(
    seed: Seed, tmp_path: Path
) -> None:
    async with opened(seed, tmp_path / "data", pay_within_ms=400) as shop:
        customer = await shop.customer("challenge")
        async with shop.headset(customer) as headset:
            order_id = await buy(headset, customer, "FJORD-MUG:physical", card="challenge")
            bank = await bank_page(shop.http, await _page(headset, order_id))
            last = await ended(headset, order_id)
            assert last["type"] == "order.canceled"
            await shop.http.post(f"{bank}/approve")
        await shop.check()
        assert shop.effects() in (["void"], ["authorize", "void"])
        assert shop.available("FJORD-MUG") == 132
