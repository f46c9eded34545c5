"""A pay link's address may be forwarded: it shows nobody's card to others, and keeps goods for no longer."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from gateway.commands import pay_links
from gateway.http.api import create_api
from gateway.payments.pay_links import MOST_ATTEMPTS, payer_of
from tests.support.stepped_gateway import DAY, HOUR, SteppedGateway, stepped_gateway
from wallets.vault.port import CardEntry
from wallets.vault.providers.test_cards import TEST_CARDS_BY_NAME

MUG = "FJORD-MUG:physical"
LINK = {"kind": "pay_link"}


@pytest.fixture
async def stepped(plain_seed: Path, tmp_path: Path) -> AsyncIterator[SteppedGateway]:
    async with stepped_gateway(plain_seed, tmp_path) as found:
        yield found


@asynccontextmanager
async def browser_of(stepped: SteppedGateway) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody's browser, at a gateway whose vault is apart: cards are entered on the vault's own page."""
    app = create_api(replace(stepped.context, cards_here=False))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1:8080"
    ) as browser:
        yield browser


async def enters_a_card(stepped: SteppedGateway, browser: httpx.AsyncClient, link: Any, card: str) -> None:
    """Leave for the vault's page, enter a card there and come back."""
    left = await browser.post(f"{path_of(link)}/card")
    assert left.status_code == 200 and "httponly" in left.headers["set-cookie"].lower()
    (secret,) = [cookie.value for cookie in browser.cookies.jar if cookie.name == "vitrine_payer"]
    payer = payer_of(link["pay_link_id"], secret or "")
    await stepped.gateway.vault.tokenize(
        payer, CardEntry.typed(TEST_CARDS_BY_NAME[card].number, 12, 2031, "739")
    )


def path_of(link: Any) -> str:
    return urlsplit(link["url"]).path


def offered_in(page: str) -> list[str]:
    """The methods that a page offers to pay with."""
    return re.findall(r'name="method" value="([^"]+)"', page)


async def test_c13_a_card_is_shown_to_and_charged_by_the_browser_that_entered_it(
    stepped: SteppedGateway,
) -> None:
    placed = await stepped.place(MUG, payment=LINK)
    link, order_id = placed["pay_link"], placed["order_id"]
    async with browser_of(stepped) as anna, browser_of(stepped) as ben:
        await enters_a_card(stepped, anna, link, "visa")
        assert offered_in((await ben.get(path_of(link))).text) == []
        (method,) = offered_in((await anna.get(path_of(link))).text)
        assert (await ben.post(f"{path_of(link)}/pay", data={"method": method})).status_code == 404
        await enters_a_card(stepped, ben, link, "mastercard")
        assert method not in offered_in((await ben.get(path_of(link))).text)
        assert (await ben.post(f"{path_of(link)}/pay", data={"method": method})).status_code == 404
        assert stepped.operations(order_id, "authorize") == []
        assert (await anna.post(f"{path_of(link)}/pay", data={"method": method})).status_code == 303
        await stepped.finish_work()
    assert stepped.order(order_id)["state"] == "confirmed"


async def test_c13_a_payer_whose_bank_asks_is_asked_with_the_payers_own_card(
    stepped: SteppedGateway,
) -> None:
    placed = await stepped.place(MUG, payment=LINK)
    async with browser_of(stepped) as browser:
        await enters_a_card(stepped, browser, placed["pay_link"], "needs_sca")
        path = path_of(placed["pay_link"])
        (method,) = offered_in((await browser.get(path)).text)
        await browser.post(f"{path}/pay", data={"method": method})
        await stepped.finish_work()
    first, second = stepped.operations(placed["order_id"], "authorize")
    assert (first["state"], second["state"]) == ("declined", "requires_action")


async def test_one_link_opens_only_so_many_pages_to_enter_a_card(stepped: SteppedGateway) -> None:
    placed = await stepped.place(MUG, payment=LINK)
    path = path_of(placed["pay_link"])
    async with browser_of(stepped) as browser:
        answers = [(await browser.post(f"{path}/card")).status_code for _ in range(MOST_ATTEMPTS + 5)]
    assert answers == [200] * MOST_ATTEMPTS + [409] * 5


async def test_cards_that_the_vault_does_not_take_count_too(stepped: SteppedGateway) -> None:
    placed = await stepped.place(MUG, payment=LINK)
    card = {
        "number": TEST_CARDS_BY_NAME["wrong_security_code"].number,
        **{"expiry": "12/31", "code": "739"},
    }
    path = path_of(placed["pay_link"])
    answers = [(await stepped.http.post(f"{path}/card-test", data=card)) for _ in range(MOST_ATTEMPTS + 5)]
    assert all("tried too often" in answer.text for answer in answers[MOST_ATTEMPTS:])


async def test_goods_are_not_kept_for_ever_by_links_of_the_customer(stepped: SteppedGateway) -> None:
    placed = await stepped.place(MUG, payment=LINK)
    order_id = placed["order_id"]
    await stepped.wait(20 * HOUR)
    await stepped.pay_link(order_id)
    assert stepped.order(order_id)["pay_until_ms"] == stepped.order(order_id)["created_at_ms"] + DAY
    await stepped.wait(5 * HOUR)
    assert stepped.order(order_id)["state"] == "canceled"
    assert stepped.rows("SELECT * FROM inventory_pool WHERE held > 0 OR reserved > 0") == []


async def test_the_merchant_may_keep_goods_with_another_link(stepped: SteppedGateway) -> None:
    placed = await stepped.place(MUG, payment=LINK)
    order_id = placed["order_id"]
    await stepped.wait(20 * HOUR)
    made = await pay_links.merchants_new_link(
        stepped.context, stepped.merchant, order_id, "key", staff_id="chat-7", hours=None
    )
    await stepped.wait(20 * HOUR)
    # The customer's own lasts no longer than the order is kept anyway.
    own = await stepped.pay_link(order_id)
    assert own["pay_link"]["expires_at"] == made["pay_link"]["expires_at"]
    assert stepped.order(order_id)["state"] == "placed"


async def test_a_form_with_more_fields_than_ours_is_refused(stepped: SteppedGateway) -> None:
    placed = await stepped.place(MUG, payment=LINK)
    many = "&".join(f"a{number}=1" for number in range(30))
    for action in ("pay", "card-test"):
        answer = await stepped.http.post(f"{path_of(placed['pay_link'])}/{action}", content=many)
        assert answer.status_code == 400 and "Check the card number" in answer.text
