"""The page on which a card is entered: what it loads, what it sends, and how it works in a real browser."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from gateway.kernel.clock import ManualClock
from tests.support.browser import DESK, PHONE, browser
from tests.wallets.vault.apart import ApartVault, apart
from tests.wallets.vault.sealing import sealed_card
from tests.wallets.vault.shop import CUSTOMER, card
from wallets.vault.card_sessions import VALID_MS
from wallets.vault.embedded import EmbeddedVault
from wallets.vault.http.card_pages import AssetsChangedError, CardPages, integrity, inventory
from wallets.vault.providers import test_cards

ASSETS = Path(__file__).parents[3] / "wallets/vault/http/assets"
CODE = "739"
HOLDER = "Wilhelmina Canary"


@pytest.fixture
async def remote(own_vault: EmbeddedVault, clock: ManualClock) -> AsyncIterator[ApartVault]:
    async with apart(own_vault, clock) as found:
        yield found


async def page(url: str) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.get(url)


async def test_v10_the_page_loads_what_the_inventory_lists_and_nothing_else(remote: ApartVault) -> None:
    """PCI DSS 6.4.3: every script authorized, its integrity assured, listed with the reason for it."""
    answer = await page((await remote.open_card_session(CUSTOMER, None)).url)
    loaded = set(re.findall(r'(?:src|href)="(/[^"]+)"[^>]* integrity="([^"]+)"', answer.text))
    listed = {(f"/cards/assets/{entry['file']}", entry["integrity"]) for entry in inventory()}
    assert loaded == listed
    assert all(entry["reason"] for entry in inventory())
    assert len(re.findall("<script", answer.text)) == 1, "and no inline script"
    assert not re.search(r"\son\w+=|style=|javascript:|https?://", answer.text)
    for path, hashed in loaded:
        served = await page(remote.url + path)
        assert integrity(served.content) == hashed
        assert served.content == (ASSETS / path.rsplit("/", 1)[1]).read_bytes()


def test_v10_a_changed_script_keeps_the_vault_from_starting(
    own_vault: EmbeddedVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PCI DSS 11.6.1: a change of what is sent to the customer's browser is noticed."""
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: read(self) + b"//" * (self.suffix == ".js"))
    with pytest.raises(AssetsChangedError, match=r"card\.js"):
        CardPages(own_vault.intake)


async def test_v10_the_page_may_load_and_reach_nothing_of_others(remote: ApartVault) -> None:
    answer = await page((await remote.open_card_session(CUSTOMER, None)).url)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert {policy[name] for name in ("form-action", "base-uri", "frame-ancestors")} == {"'none'"}
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    # Without its script the page can send nothing: no field has a name, the form no address.
    assert not re.search(r"<input[^>]* name=|<form[^>]* action=", answer.text)


async def test_the_pages_address_is_answered_only_with_an_encrypted_card(remote: ApartVault) -> None:
    url = (await remote.open_card_session(CUSTOMER, None)).url
    clear = {"number": test_cards.VISA, "expiry_month": 12, "expiry_year": 2031, "security_code": CODE}
    async with httpx.AsyncClient() as client:
        for body in ({"card": clear}, {"sealed": clear}, {"sealed": "x", "card": clear}, [], "text"):
            answer = await client.post(url, json=body)
            assert answer.status_code == 400
            assert test_cards.VISA not in answer.text
        assert (await client.post(url, content=b"x" * 20_000)).status_code == 413
        made = sealed_card(await remote.card_key(), card(), url.rsplit("/", 1)[1])
        answer = await client.post(url, json={"sealed": made})
        assert answer.json() == {"brand": "visa", "last4": "4242", "return_url": None}
        again = await client.post(url, json={"sealed": made})
        assert (again.status_code, again.json()["code"]) == (410, "card_session.used")


async def test_a_page_that_is_over_has_no_script_and_says_so(remote: ApartVault, clock: ManualClock) -> None:
    url = (await remote.open_card_session(CUSTOMER, None)).url
    clock.advance(VALID_MS)
    expired, unknown = await page(url), await page(url[:-1] + "~")
    assert (expired.status_code, unknown.status_code) == (410, 404)
    for answer in (expired, unknown):
        assert "no longer works" in answer.text
        assert "<script" not in answer.text
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")


class Entry:
    """A person with a keyboard before the page."""

    def __init__(self, chrome: Any) -> None:
        self.chrome = chrome

    def part(self, name: str) -> Any:
        return self.chrome.find_element(By.ID, name)

    def type(self, *texts: str) -> None:
        """Type into the focused field, go on with Tab."""
        for text in texts:
            self.chrome.switch_to.active_element.send_keys(text, Keys.TAB)

    def error(self, name: str) -> str:
        return str(self.part(f"{name}-error").text)

    def until(self, name: str) -> None:
        WebDriverWait(self.chrome, 15).until(lambda _: self.part(name).is_displayed())

    def silent(self) -> None:
        """Nothing was blocked or failed."""
        assert self.chrome.get_log("browser") == []


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
async def test_a_card_is_entered_with_the_keyboard_alone(
    remote: ApartVault, tmp_path: Path, clock: ManualClock, size: tuple[int, int]
) -> None:
    session = await remote.open_card_session(CUSTOMER, "https://shop.example/back")

    def enter() -> None:
        with browser(tmp_path / "profile", size) as chrome:
            chrome.get(session.url)
            form = Entry(chrome)
            assert chrome.switch_to.active_element == form.part("number")
            form.type(test_cards.AMEX, "1231", "7391", HOLDER)
            assert form.part("number").get_attribute("value") == "3782 822463 10005"
            assert form.part("expiry").get_attribute("value") == "12 / 31"
            assert form.part("brand").text == "American Express"
            assert form.part("security_code-hint").text == "4 digits on the front"
            width = chrome.execute_script("return document.documentElement.scrollWidth")
            assert width <= size[0], "nothing is cut off"
            assert chrome.switch_to.active_element == form.part("save")
            chrome.switch_to.active_element.send_keys(Keys.ENTER)
            form.until("done")
            assert form.part("saved-digits").text == "•••• 0005"
            assert form.part("back").get_attribute("href") == "https://shop.example/back"
            assert form.part("back").text == "Continue"
            assert "Nothing has been paid yet." in form.part("done").text
            assert "headset" not in form.part("done").text
            assert form.part("number").get_attribute("value") == ""
            form.silent()
            chrome.refresh()
            assert "Card saved" in form.part("page").text
            assert "Nothing has been paid yet." in form.part("page").text
            assert "headset" not in form.part("page").text
            assert "0005" not in form.part("page").text, "the address alone tells nothing of the card"
            form.silent()

    await asyncio.to_thread(enter)
    (method,) = await remote.methods(CUSTOMER)
    assert (method.brand, method.last4, method.expiry_month, method.expiry_year) == ("amex", "0005", 12, 2031)


async def test_every_mistake_is_told_at_its_field(remote: ApartVault, tmp_path: Path) -> None:
    session = await remote.open_card_session(CUSTOMER, None)

    def enter() -> None:
        with browser(tmp_path / "profile", PHONE) as chrome:
            chrome.get(session.url)
            form = Entry(chrome)
            form.part("save").click()
            assert form.error("number") == "Enter the card number."
            assert form.error("expiry") == "Enter the date."
            assert form.error("security_code") == "Enter the 3 digits."
            assert chrome.switch_to.active_element == form.part("number")
            assert form.part("number").get_attribute("aria-invalid") == "true"
            form.type("4242424242424241", "1320", "12")
            form.part("save").click()
            assert "digit" in form.error("number")
            assert form.error("expiry") == "Write it as MM / YY."
            for name in ("number", "expiry", "security_code"):
                form.part(name).clear()
            form.part("number").click()
            form.type(test_cards.WRONG_SECURITY_CODE, "1231", CODE)
            form.part("save").click()
            form.until("trouble")
            assert "use another card" in form.part("trouble").text
            # A real number: this vault takes test cards, and says so where the number is.
            form.part("number").clear()
            form.part("number").send_keys("4929420573595709")
            form.part("save").click()
            WebDriverWait(chrome, 15).until(lambda _: form.error("number"))
            assert form.error("number") == "Only test cards are accepted here."
            form.part("number").clear()
            form.part("number").send_keys(test_cards.VISA)
            form.part("save").click()
            form.until("done")

    await asyncio.to_thread(enter)
    assert [method.last4 for method in await remote.methods(CUSTOMER)] == ["4242"]
