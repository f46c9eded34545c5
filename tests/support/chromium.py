"""A real browser for hosted pages: headless Chromium with a virtual authenticator, driven by its driver."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

T = TypeVar("T")
PHONE = (390, 844)
DESKTOP = (1280, 900)
_QUIET = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)


def find_browser() -> tuple[str, str] | None:
    """Return Chromium and its driver, or None."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    return None if browser is None or driver is None else (browser, driver)


class Phone:
    """The customer's second screen. Every call runs in a thread: the driver blocks."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    async def do(self, work: Callable[[Any], T]) -> T:
        """Run something on the driver."""
        return await asyncio.to_thread(work, self._driver)

    async def open(self, address: str) -> str:
        """Go to an address and return the text that is shown."""
        await self.do(lambda driver: driver.get(address))
        return await self.text()

    async def text(self) -> str:
        """Return what can be read on the page now."""
        return str(await self.do(lambda driver: driver.find_element("css selector", "body").text))

    async def click(self, selector: str) -> None:
        """Press a button or link, as soon as it can be seen."""

        def press(driver: Any) -> None:
            from selenium.webdriver.support.expected_conditions import element_to_be_clickable
            from selenium.webdriver.support.wait import WebDriverWait

            WebDriverWait(driver, 10, 0.05).until(element_to_be_clickable(("css selector", selector))).click()

        await self.do(press)

    async def type(self, selector: str, text: str) -> None:
        """Fill a field in."""
        await self.do(lambda driver: driver.find_element("css selector", selector).send_keys(text))

    async def until(self, words: str, within_s: float = 10.0) -> str:
        """Wait until the page says this, and return all its text."""

        def wait(driver: Any) -> str:
            from selenium.common.exceptions import StaleElementReferenceException
            from selenium.webdriver.support.wait import WebDriverWait

            def says(browser: Any) -> str | bool:
                shown = str(browser.find_element("css selector", "body").text)
                return shown if words in shown else False

            ignored = [StaleElementReferenceException]
            said = WebDriverWait(driver, within_s, 0.05, ignored_exceptions=ignored).until(says, words)
            return str(said)

        return await self.do(wait)

    async def shows(self, selector: str) -> bool:
        """Whether an element is there and visible."""
        return bool(
            await self.do(
                lambda driver: any(
                    found.is_displayed() for found in driver.find_elements("css selector", selector)
                )
            )
        )

    async def add_authenticator(self) -> None:
        """Give the phone a built-in authenticator whose owner is recognized."""

        def add(driver: Any) -> None:
            from selenium.webdriver.common.virtual_authenticator import (
                Protocol,
                Transport,
                VirtualAuthenticatorOptions,
            )

            driver.add_virtual_authenticator(
                VirtualAuthenticatorOptions(
                    protocol=Protocol.CTAP2,
                    transport=Transport.INTERNAL,
                    has_resident_key=True,
                    has_user_verification=True,
                    is_user_consenting=True,
                    is_user_verified=True,
                )
            )

        await self.do(add)

    async def complaints(self) -> list[str]:
        """Return what the browser complained about: refused scripts and styles, failed requests."""
        entries = await self.do(lambda driver: driver.get_log("browser"))
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]


@asynccontextmanager
async def phone(profile: Path, size: tuple[int, int] = PHONE) -> AsyncIterator[Phone]:
    """Start a browser with a fresh profile; skips the test where there is none."""
    found = find_browser()
    if found is None:
        pytest.skip("no Chromium: install chromium and chromium-driver; the hosted pages were not tested")
    driver = await asyncio.to_thread(_start, *found, profile, size)
    try:
        yield Phone(driver)
    finally:
        await asyncio.to_thread(driver.quit)


def _start(browser: str, driver: str, profile: Path, size: tuple[int, int]) -> Any:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in (*_QUIET, f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    # A window has a least width; the page is told the size of the screen it is meant for.
    screen = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
    started.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    return started
