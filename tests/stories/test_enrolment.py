"""Who may add a passkey: the customer who was authenticated a moment ago, on the device or browser that was."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from samples.headset.client import CommandError
from tests.support.authenticating import action_of, answer, challenged, with_passkey
from tests.support.authenticator import SoftAuthenticator
from tests.support.buying import ended
from tests.support.challenges import bank_page, decide
from tests.support.gateway import OpenGateway
from tests.support.localhost import at_localhost
from tests.support.seed import Seed


@pytest.fixture
async def shop(seed: Seed, tmp_path: Path) -> AsyncIterator[OpenGateway]:
    async with at_localhost(seed, tmp_path, delegated_authentication=True) as found:
        yield found


async def test_a_passkey_is_added_only_after_the_customer_was_authenticated(shop: OpenGateway) -> None:
    customer = await shop.customer("challenge")
    async with shop.headset(customer) as headset:
        asked = await challenged(headset, customer)
        body = {"action_id": asked["action_id"]}
        with pytest.raises(CommandError) as error:
            await headset.command("passkey.options", body)
        assert error.value.code == "passkey.sca_required"
        await decide(shop.http, asked["url"])
        await ended(headset, asked["order_id"])
        options = (await headset.command("passkey.options", body))["options"]
        created = SoftAuthenticator(shop.base_url).create(options)
        await headset.command("passkey.add", {**body, "credential": created})
        # Its challenge is used up.
        with pytest.raises(CommandError) as error:
            await headset.command("passkey.add", {**body, "credential": created})
        assert error.value.code == "passkey.sca_required"
    await shop.check()


async def enrolled_on_the_page(shop: OpenGateway, browser: httpx.AsyncClient, page: str) -> int:
    """Try to add a passkey on an action's page; returns the status of the answer."""
    options = await browser.post(f"{page}/enrol/options")
    if options.status_code != 200:
        assert options.json()["code"] == "passkey.sca_required"
        return options.status_code
    created = SoftAuthenticator(shop.base_url).create(options.json())
    return (await browser.post(f"{page}/enrol", json=created)).status_code


async def test_the_browser_that_came_back_from_the_bank_adds_a_passkey_and_the_customer_is_told(
    shop: OpenGateway,
) -> None:
    customer = await shop.customer("challenge")
    async with shop.headset(customer) as headset, httpx.AsyncClient() as phone:
        asked = await challenged(headset, customer)
        # Looking twice is no second browser.
        await bank_page(phone, asked["url"])
        await decide(phone, asked["url"])
        await ended(headset, asked["order_id"])
        (cookie,) = phone.cookies.jar
        assert cookie.path == f"/pay/challenges/{asked['action_id']}"
        assert cookie.has_nonstandard_attr("HttpOnly")
        assert cookie.get_nonstandard_attr("SameSite") == "lax"
        assert 'id="enrol"' in (await phone.get(asked["url"])).text
        assert await enrolled_on_the_page(shop, phone, asked["url"]) == 200
        (listed,) = (await headset.command("passkey.list", {}))["passkeys"]
        added = await headset.event("passkey.added")
        assert added["body"] == {"passkey_id": listed["passkey_id"], "name": "Added on the payment page"}
        shop.secrets.add(str(cookie.value))
    await shop.check()


async def test_who_saw_the_address_or_the_code_of_an_action_cannot_add_a_passkey(shop: OpenGateway) -> None:
    customer = await shop.customer("challenge")
    async with shop.headset(customer) as headset, httpx.AsyncClient(base_url=shop.base_url) as stranger:
        asked = await challenged(headset, customer)
        found = await stranger.post("/pay", data={"code": asked["user_code"]})
        page = found.headers["location"]
        await decide(shop.http, asked["url"])
        await ended(headset, asked["order_id"])
        assert 'id="enrol"' not in (await stranger.get(page)).text
        assert await enrolled_on_the_page(shop, stranger, page) == 403
        # It is too late to be sent to the bank.
        assert (await stranger.get(f"{page}/bank")).headers["location"] == page
        assert await enrolled_on_the_page(shop, stranger, page) == 403
        assert (await headset.command("passkey.list", {}))["passkeys"] == []
    await shop.check()


async def test_of_two_browsers_that_went_to_the_bank_none_adds_a_passkey(shop: OpenGateway) -> None:
    customer = await shop.customer("challenge")
    async with shop.headset(customer) as headset, httpx.AsyncClient() as stranger:
        asked = await challenged(headset, customer)
        await bank_page(stranger, asked["url"])
        await decide(shop.http, asked["url"])
        await ended(headset, asked["order_id"])
        for browser in (stranger, shop.http):
            assert await enrolled_on_the_page(shop, browser, asked["url"]) == 403
        # The customer's own device still can.
        options = await headset.command("passkey.options", {"action_id": asked["action_id"]})
        assert options["options"]
    await shop.check()


async def test_a_browser_that_did_not_come_back_from_the_bank_adds_no_passkey(shop: OpenGateway) -> None:
    customer = await shop.customer("challenge")
    async with shop.headset(customer) as headset, httpx.AsyncClient() as stranger:
        asked = await challenged(headset, customer)
        # An onlooker follows the QR and is the only one sent; the customer approves in the bank's application.
        bank = await bank_page(stranger, asked["url"])
        assert shop.gateway.embedded_vault is not None
        await shop.gateway.embedded_vault.acquirer.complete_challenge(bank.rpartition("/")[2], True)
        # Pressing the button after the decision brings nothing, and neither does a guess.
        late = await stranger.post(f"{bank}/approve")
        assert bank.endswith(late.headers["location"])
        for query in ("", "?proof=x", "?proof=" + "0" * 64):
            assert (await stranger.get(f"{asked['url']}/back{query}")).status_code == 303
        await ended(headset, asked["order_id"])
        assert 'id="enrol"' not in (await stranger.get(asked["url"])).text
        assert await enrolled_on_the_page(shop, stranger, asked["url"]) == 403
        # The customer's own device can.
        options = await headset.command("passkey.options", {"action_id": asked["action_id"]})
        assert options["options"]
    await shop.check()


async def test_the_banks_proof_counts_only_in_the_browser_that_was_sent(shop: OpenGateway) -> None:
    customer = await shop.customer("challenge")
    async with shop.headset(customer) as headset, httpx.AsyncClient() as stranger:
        asked = await challenged(headset, customer)
        bank = await bank_page(stranger, asked["url"])
        # The customer has the bank's page from elsewhere.
        back = await shop.http.post(f"{bank}/approve", follow_redirects=True)
        assert str(back.url) == asked["url"]
        await ended(headset, asked["order_id"])
        for browser in (stranger, shop.http):
            assert await enrolled_on_the_page(shop, browser, asked["url"]) == 403
    await shop.check()


async def test_an_approval_by_a_passkey_lets_no_browser_add_another(shop: OpenGateway) -> None:
    customer = await shop.customer("challenge")
    async with shop.headset(customer) as headset, httpx.AsyncClient() as stranger:
        device = await with_passkey(shop, headset, customer)
        asked = await challenged(headset, customer)
        await bank_page(stranger, asked["url"])
        await answer(headset, asked, device.get((await action_of(headset, asked))["passkey"]))
        await ended(headset, asked["order_id"])
        assert await enrolled_on_the_page(shop, stranger, asked["url"]) == 403
    await shop.check()
