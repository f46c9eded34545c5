"""Orders that somebody pays through a link: in a chat, on a phone, on a second screen (C13)."""

from __future__ import annotations

import asyncio
import re
import uuid
from typing import Any

import pytest

from gateway.orders import background
from samples.headset.client import CommandError, Document, Headset
from tests.support.buying import buy, ended, legs, order_body, quote, show, told, until
from tests.support.gateway import Customer, OpenGateway
from wallets.vault.providers.test_cards import TEST_CARDS_BY_NAME


async def placed_with_link(headset: Headset, customer: Customer, *items: str) -> Document:
    """Place an order that is to be paid through a link; returns the reply."""
    quoted = await quote(headset, *items)
    body = order_body(quoted, "")
    del body["payment_method_id"]
    return await headset.command("order.place", {**body, "payment": {"kind": "pay_link"}})


async def pay(shop: OpenGateway, url: str, card: str = "visa") -> Any:
    """Fill in the form of the page; returns the response without following it."""
    number = TEST_CARDS_BY_NAME[card].number
    shop.secrets.add(number)
    return await shop.http.post(
        f"{url}/card-test", data={"number": number, "expiry": "12/31", "code": "739"}, follow_redirects=False
    )


async def page(shop: OpenGateway, url: str, within_s: float = 10) -> str:
    """Return the page once no payment is being checked any more."""

    async def settled() -> str | None:
        text: str = (await shop.http.get(url)).text
        return None if "being checked" in text else text

    found: str = await until(settled, within_s)
    return found


async def test_c13_an_order_placed_with_a_link_is_paid_by_somebody_else(shop: OpenGateway) -> None:
    customer = await shop.customer()
    async with shop.headset(customer) as headset:
        placed = await placed_with_link(headset, customer, "KUPPEL-LAMP:bundle", "FJORD-MUG:physical")
        link, order_id = placed["pay_link"], placed["order_id"]
        assert link["amount"] == placed["total"]
        token = link["url"].rpartition("/")[2]
        assert len(token) >= 43  # 256 bits
        shop.secrets.add(token)  # it must be in no file
        shown = await shop.http.get(link["url"])
        assert shown.status_code == 200
        assert "script-src" not in shown.headers["content-security-policy"]
        assert shown.headers["content-security-policy"].startswith("default-src 'none'")
        assert shown.headers["referrer-policy"] == "no-referrer"
        assert "<script" not in shown.text
        assert "Atelier Nord" in shown.text and "mug" in shown.text.lower()
        for personal in ("Ada Example", "Hafen", "10115", customer.customer_id, order_id):
            assert personal not in shown.text
        picture = await shop.http.get(link["qr_url"])
        assert picture.headers["content-type"] == "image/svg+xml" and "<svg" in picture.text
        assert (await show(headset, order_id))["payment"]["state"] == "requires_payment_method"
        assert (await pay(shop, link["url"])).status_code == 303
        paid = await headset.event("payment.link_paid", order_id=order_id)
        assert paid["body"]["pay_link_id"] == link["pay_link_id"]
        assert (await ended(headset, order_id))["type"] == "order.completed"
        assert "Thank you" in await page(shop, link["url"])
        # The payer's card is nobody's stored method.
        assert (await headset.command("payment.methods"))["methods"] == []
        again = await pay(shop, link["url"])
        assert again.status_code == 409
    await shop.check()
    assert shop.effects().count("authorize") == 1


async def test_c13_two_payers_at_once_pay_once(shop: OpenGateway) -> None:
    customer = await shop.customer()
    async with shop.headset(customer) as headset:
        placed = await placed_with_link(headset, customer, "FJORD-MUG:physical")
        order_id = placed["order_id"]
        other = await headset.command("order.pay_link", {"order_id": order_id})
        answers = await asyncio.gather(
            pay(shop, placed["pay_link"]["url"]),
            pay(shop, other["pay_link"]["url"], "mastercard"),
            pay(shop, placed["pay_link"]["url"], "amex"),
        )
        assert [answer.status_code for answer in answers].count(303) == 1
        await ended(headset, order_id)
        assert told(headset, order_id).count("payment.link_paid") == 1
    paid = shop.evidence.rows("SELECT state FROM pay_link ORDER BY state")
    assert [row["state"] for row in paid] == ["open", "paid"]
    assert "Nothing to pay" in await page(shop, other["pay_link"]["url"]) or "Nothing to pay" in await page(
        shop, placed["pay_link"]["url"]
    )
    await shop.check()
    assert shop.effects() == ["authorize", "capture"]


async def test_a_declined_payer_tries_another_card_and_so_may_the_customer(shop: OpenGateway) -> None:
    customer = await shop.customer("visa")
    async with shop.headset(customer) as headset:
        placed = await placed_with_link(headset, customer, "FJORD-MUG:physical")
        url, order_id = placed["pay_link"]["url"], placed["order_id"]
        await pay(shop, url, "insufficient_funds")
        await headset.event("payment.declined", order_id=order_id)
        assert "declined" in await page(shop, url)
        wrong = await shop.http.post(f"{url}/card-test", data={"number": "4242", "expiry": "x", "code": "1"})
        assert wrong.status_code == 400 and "Check the card number" in wrong.text
        await headset.command(
            "order.pay", {"order_id": order_id, "payment_method_id": customer.methods["visa"]}
        )
        await ended(headset, order_id)
        assert "Nothing to pay" in await page(shop, url)
    await shop.check()


async def test_a_payer_whose_bank_asks_confirms_on_the_page_of_the_link(shop: OpenGateway) -> None:
    customer = await shop.customer()
    async with shop.headset(customer) as headset:
        placed = await placed_with_link(headset, customer, "FJORD-MUG:physical")
        url, order_id = placed["pay_link"]["url"], placed["order_id"]
        await pay(shop, url, "challenge")
        text = await page(shop, url)
        (action,) = re.findall(r'class="button go"[^>]*href="([^"]+)"', text)
        # It is not the customer who is asked.
        assert "payment.action_required" not in told(headset, order_id)
        bank = action if action.startswith("http") else f"{shop.base_url}{action}"
        assert (await shop.http.get(bank)).status_code == 200
        (approve,) = re.findall(r'formaction="([^"]*approve)"', (await shop.http.get(bank)).text) or [""]
        target = bank.rpartition("/")[0] + "/" + approve if approve else f"{bank}/approve"
        await shop.http.post(target)
        await headset.event("payment.link_paid", order_id=order_id)
        await ended(headset, order_id)
    await shop.check()


async def test_a_link_that_was_revoked_or_has_expired_takes_no_payment(
    shop: OpenGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "_TIDY_S", 0.05)
    customer = await shop.customer()
    async with shop.headset(customer) as headset:
        placed = await placed_with_link(headset, customer, "FJORD-MUG:physical")
        link, order_id = placed["pay_link"], placed["order_id"]
        made = await shop.merchant(
            "POST",
            f"/orders/{order_id}/pay-links",
            key=str(uuid.uuid4()),
            json={"staff_id": "chat-7", "hours": 1},
        )
        revoked = await shop.merchant("POST", f"/pay-links/{link['pay_link_id']}/revoke")
        assert revoked["state"] == "revoked"
        assert "has ended" in await page(shop, link["url"])
        assert (await pay(shop, link["url"])).status_code == 409
        listed = (await shop.merchant("GET", f"/orders/{order_id}/pay-links"))["pay_links"]
        assert [one["state"] for one in listed] == ["revoked", "open"]
        assert "url" not in listed[0]
        assert (await pay(shop, made["pay_link"]["url"])).status_code == 303
        await ended(headset, order_id)
    unknown = await shop.http.get(f"{shop.base_url}/pay/links/{'x' * 43}")
    assert unknown.status_code == 404 and "not valid" in unknown.text
    await shop.check()


async def test_a_repeated_request_for_a_link_tells_no_address_again(shop: OpenGateway) -> None:
    customer = await shop.customer("insufficient_funds")
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "FJORD-MUG:physical", card="insufficient_funds")
        declined = (await headset.event("payment.declined", order_id=order_id))["body"]
        assert {
            "kind": "pay_link",
            "amount": legs(await show(headset, order_id))["ship"]["amount"],
        }.items() <= (declined["alternatives"][0].items())
        body = {"order_id": order_id, "payment": {"kind": "pay_link"}}
        first = await headset.command("order.pay", body, key="one")
        again = await headset.command("order.pay", body, key="one")
        assert "pay_link" in first and "pay_link" not in again and again["replayed"]
        await pay(shop, first["pay_link"]["url"])
        await ended(headset, order_id)
    await shop.check()


async def test_nobody_elses_order_gets_a_link(shop: OpenGateway) -> None:
    customer, other = await shop.customer("insufficient_funds"), await shop.customer()
    async with shop.headset(customer) as headset, shop.headset(other) as stranger:
        order_id = await buy(headset, customer, "FJORD-MUG:physical", card="insufficient_funds")
        await headset.event("payment.declined", order_id=order_id)
        with pytest.raises(CommandError) as refused:
            await stranger.command("order.pay_link", {"order_id": order_id})
        assert refused.value.code == "order.not_found"
    await shop.check()


async def test_one_link_takes_only_so_many_cards(shop: OpenGateway) -> None:
    customer = await shop.customer()
    async with shop.headset(customer) as headset:
        placed = await placed_with_link(headset, customer, "FJORD-MUG:physical")
        url = placed["pay_link"]["url"]
        for _ in range(10):
            assert (await pay(shop, url, "insufficient_funds")).status_code == 303
            await page(shop, url)
        tired = await pay(shop, url)
        assert tired.status_code == 409 and "tried too often" in tired.text
        await headset.command("order.cancel", {"order_id": placed["order_id"]})
    await shop.check()
