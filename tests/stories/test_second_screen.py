"""Approving on a second screen, in a real browser, while the headset waits: bank, passkey, code, QR (P13)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from samples.headset.client import Document, Headset
from tests.support.buying import buy, ended, show, told
from tests.support.chromium import Phone, phone
from tests.support.gateway import Customer, OpenGateway
from tests.support.localhost import at_localhost
from tests.support.seed import Seed


@pytest.fixture
async def shop(seed: Seed, tmp_path: Path) -> AsyncIterator[OpenGateway]:
    async with at_localhost(seed, tmp_path, delegated_authentication=True) as found:
        yield found


@pytest.fixture
async def screen(tmp_path: Path) -> AsyncIterator[Phone]:
    async with phone(tmp_path / "profile") as found:
        await found.add_authenticator()
        yield found


async def asked(headset: Headset, order_id: str) -> Document:
    body: Document = (await headset.event("payment.action_required", order_id=order_id))["body"]
    return body


async def approved_at_the_bank(screen: Phone, page: str) -> None:
    await screen.open(page)
    await screen.click("#bank")
    await screen.click("button.go")
    await screen.until("Your payment went through")


async def with_passkey(shop: OpenGateway, screen: Phone, customer: Customer, headset: Headset) -> None:
    """Buy something, approve it at the bank, and add a passkey on the page."""
    order_id = await buy(headset, customer, "HALM-CHAIR:digital", card="challenge")
    page = (await asked(headset, order_id))["url"]
    await approved_at_the_bank(screen, page)
    await ended(headset, order_id)
    await screen.open(page)
    await screen.click("#enrol")
    await screen.until("Next time you can approve with your passkey")
    assert len(await screen.do(lambda driver: driver.get_credentials())) == 1


async def test_p13_the_socket_waits_drops_and_resumes_while_the_phone_approves_at_the_bank(
    shop: OpenGateway, screen: Phone
) -> None:
    customer = await shop.customer("challenge")
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "KUPPEL-LAMP:digital:2", card="challenge")
        invitation = await asked(headset, order_id)
        assert re.fullmatch(r"[B-Z]{4}-[B-Z]{4}", invitation["user_code"])
        await headset.drop()
        # Typed as people type it.
        await screen.open(invitation["verification_url"])
        await screen.type("#code", invitation["user_code"].replace("-", " ").lower())
        await screen.click("button.go")
        shown = await screen.until("Did you start this?")
        for words in ("Atelier Nord", "25.80", "EUR", "Kuppel", "3220"):
            assert words in shown, words
        assert not await screen.shows("#passkey"), "the customer has none"
        await screen.click("#bank")
        assert "Simulated bank" in await screen.text()
        await screen.click("button.go")
        await screen.until("Your payment went through")
        # What came while the socket was down follows; the page was only looked at meanwhile.
        await ended(headset, order_id)
        assert told(headset, order_id)[:5] == [
            "order.placed",
            "payment.action_required",
            "payment.authenticated",
            "payment.authorized",
            "order.confirmed",
        ]
        # The same action is never offered again.
        assert "Your payment went through" in await screen.open(invitation["url"])
        assert not await screen.shows("#bank")
        assert await screen.complaints() == []
    await shop.check()
    assert shop.effects() == ["authorize", "capture"]


async def test_p16_a_passkey_on_the_hosted_page_approves_a_purchase(shop: OpenGateway, screen: Phone) -> None:
    customer = await shop.customer("challenge")
    async with shop.headset(customer) as headset:
        await with_passkey(shop, screen, customer, headset)
        order_id = await buy(headset, customer, "KUPPEL-LAMP:digital", card="challenge")
        invitation = await asked(headset, order_id)
        await headset.drop()
        await screen.open(invitation["url"])
        await screen.click("#passkey")
        await screen.until("Approved")
        await ended(headset, order_id)
        authenticated = await headset.event("payment.authenticated", order_id=order_id)
        assert authenticated["body"]["method"] == "passkey"
        await screen.until("Your payment went through")
        assert await screen.complaints() == []
        order = await show(headset, order_id)
        assert order["state"] == "completed" and "action" not in order["payment"]
    await shop.check()
    (row,) = shop.evidence.rows("SELECT * FROM payment_authentication WHERE order_id = ?", order_id)
    assert (row["state"], row["method"], row["liability"]) == ("authenticated", "passkey", "issuer")
    first, second = shop.evidence.rows(
        "SELECT * FROM payment_attempt WHERE order_id = ? ORDER BY attempt_id", order_id
    )
    assert (first["state"], second["state"], second["liability"]) == ("failed", "authorized", "issuer")
    # The bank's challenge was called off; money moved once.
    assert shop.effects() == ["authorize", "authorize", "capture", "capture", "void"]


async def test_a_phone_whose_owner_is_not_recognized_approves_nothing(
    shop: OpenGateway, screen: Phone
) -> None:
    customer = await shop.customer("challenge")
    async with shop.headset(customer) as headset:
        await with_passkey(shop, screen, customer, headset)
        order_id = await buy(headset, customer, "KUPPEL-LAMP:digital", card="challenge")
        page = (await asked(headset, order_id))["url"]
        await screen.do(lambda driver: driver.set_user_verified(False))
        await screen.open(page)
        await screen.click("#passkey")
        await screen.until("Nothing was approved")
        assert (await show(headset, order_id))["payment"]["state"] == "requires_action"
        # The bank is still there.
        await screen.click("#bank")
        await screen.click("button.go")
        await ended(headset, order_id)
    await shop.check()


async def test_an_open_page_follows_what_is_decided_elsewhere(shop: OpenGateway, screen: Phone) -> None:
    customer = await shop.customer("challenge")
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "KUPPEL-LAMP:digital", card="challenge")
        await screen.open((await asked(headset, order_id))["url"])
        await headset.command("order.cancel", {"order_id": order_id})
        await screen.until("Not finished")
        assert not await screen.shows("#bank")
    await shop.check()


async def test_no_this_was_not_me_leaves_the_order_to_another_method(
    shop: OpenGateway, screen: Phone
) -> None:
    customer = await shop.customer("challenge", "visa")
    async with shop.headset(customer) as headset:
        order_id = await buy(headset, customer, "KUPPEL-LAMP:digital", card="challenge")
        await screen.open((await asked(headset, order_id))["url"])
        await screen.click("#deny")
        await screen.until("Nothing was charged")
        declined = (await headset.event("payment.declined", order_id=order_id))["body"]
        assert declined["code"] == "customer_denied"
        await headset.command(
            "order.pay", {"order_id": order_id, "payment_method_id": customer.methods["visa"]}
        )
        await ended(headset, order_id)
    await shop.check()
    assert shop.effects() == ["authorize", "capture", "void"]
