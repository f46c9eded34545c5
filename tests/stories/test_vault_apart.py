"""The vault as a process of its own: cards, purchases and challenges over it, and kill -9 of either side."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from gateway.app import open_store
from gateway.kernel.clock import SystemClock
from gateway.kernel.events.log import EventLog
from gateway.kernel.ids import TimeSortedIds
from gateway.payments.reconciler import compare_all
from samples.headset.client import CommandError
from tests.stories.shoppers import ODD_CARDS, Shopper, errands
from tests.support.buying import order_body, quote, show, until
from tests.support.challenges import decide
from tests.support.chance import seeds
from tests.support.gateway import HOLDER, Customer, OpenGateway
from tests.support.invariants import violations
from tests.support.secrets_in_files import secrets_in_files
from tests.support.seed import ATELIER, Seed
from tests.support.vault_apart import ApartShop, entered, served_apart
from wallets.vault.port import CardEntry
from wallets.vault.providers.test_cards import CHALLENGE, MASTERCARD, VISA
from wallets.vault.remote import RemoteVault

LAMP = "KUPPEL-LAMP:bundle"
SHOPPERS, PURCHASES_EACH = 8, 5
MOST_KILLS = 10


@pytest.fixture
async def apart(seed: Seed, tmp_path: Path) -> AsyncIterator[ApartShop]:
    async with served_apart(seed, tmp_path) as shop:
        yield shop


async def checked(shop: ApartShop) -> None:
    """Wait for rest, compare both sides' operations, end both processes, check every promise."""
    await shop.at_rest(within_s=40)
    shop.terminate()
    settings = shop.settings
    clock = SystemClock()
    store = await asyncio.to_thread(open_store, settings, clock, TimeSortedIds(clock), EventLog())
    vault = RemoteVault(settings.vault_url, settings.vault_credential)
    await asyncio.sleep(1.1)  # the vault holds the last moment back
    try:
        assert await compare_all(store, vault) == []
    finally:
        await vault.close()
        await store.close()
    shop.vault.terminate()
    shop.gather_evidence()
    found = await asyncio.to_thread(violations, shop.data_dir, secrets=shop.secrets)
    folder = shop.data_dir.parent
    found += await asyncio.to_thread(lambda: list(secrets_in_files(folder, shop.secrets)))
    assert not found, "\n".join(map(str, found))


async def bought(shop: ApartShop, customer: Customer, method_id: str, key: str, item: str = LAMP) -> str:
    async with shop.headset(customer) as headset:
        quoted = await quote(headset, item, merchant=ATELIER, key=f"{key}-quote")
        placed = await headset.command("order.place", order_body(quoted, method_id), key=f"{key}-place")
        return str(placed["order_id"])


async def ended(shop: ApartShop, customer: Customer, order_id: str, *states: str) -> None:
    async with shop.headset(customer) as headset:

        async def done() -> bool | None:
            return True if (await show(headset, order_id))["state"] in states else None

        await until(done, within_s=20)


async def test_a_card_is_entered_while_the_session_waits_and_then_pays(apart: ApartShop) -> None:
    """The headset asks for a page, a phone fills it in, the session hears of the method, and buys with it."""
    customer = await apart.customer()
    apart.secrets.add(VISA)
    async with apart.headset(customer) as headset:
        page = await headset.command("payment.add_card", {"return_url": "https://shop.example/"})
        assert page["url"].startswith(apart.vault.settings.base_url)
        entry = CardEntry.typed(VISA, 12, 2031, "739", HOLDER)
        answer = await entered(apart.http, page["url"], entry)
        assert answer.json() == {"brand": "visa", "last4": "4242", "return_url": "https://shop.example/"}
        event = await headset.event("payment_method.added")
        assert event["body"]["last4"] == "4242"
        method_id = event["body"]["payment_method_id"]
        # The same card with a new expiry is told as a change.
        page = await headset.command("payment.add_card", {})
        await entered(apart.http, page["url"], CardEntry.typed(VISA, 11, 2032, "739", HOLDER))
        event = await headset.event("payment_method.updated")
        assert (event["body"]["expiry_year"], event["body"]["payment_method_id"]) == (2032, method_id)
        with pytest.raises(CommandError) as caught:
            await headset.command("payment.add_card", {"return_url": "javascript:alert(1)"})
        assert caught.value.code == "card_session.return_url"
    order_id = await bought(apart, customer, method_id, "one")
    await ended(apart, customer, order_id, "completed")
    await checked(apart)


async def test_the_same_page_works_with_the_vault_inside_the_gateway(shop: OpenGateway) -> None:
    """For whoever builds a client: the way of a card is the same before there is a second process."""
    customer = await shop.customer()
    async with shop.headset(customer) as headset:
        page = await headset.command("payment.add_card", {})
        assert page["url"].startswith(shop.base_url)
        answer = await entered(shop.http, page["url"], CardEntry.typed(VISA, 12, 2031, "739", HOLDER))
        assert answer.json()["last4"] == "4242"
        added = (await headset.event("payment_method.added"))["body"]
        assert (added["brand"], added["last4"]) == ("visa", "4242")
    await shop.check()


async def test_a_device_encrypts_a_card_itself(apart: ApartShop) -> None:
    from tests.wallets.vault.sealing import sealed_card
    from wallets.vault.port import CardKey

    customer = await apart.customer()
    headers = {"Authorization": f"Bearer {customer.token}"}
    told = (await apart.http.get("/v1/card-key", headers=headers)).json()
    assert told["sub"] == customer.customer_id
    key = CardKey(told["key"]["kid"], told["key"]["n"], told["key"]["e"], told["iat"])
    made = sealed_card(key, CardEntry.typed(MASTERCARD, 12, 2031, "739", HOLDER), told["sub"])
    stored = await apart.http.post("/v1/payment-methods", headers=headers, json={"sealed": made})
    assert (stored.status_code, stored.json()["brand"]) == (201, "mastercard")
    again = await apart.http.post("/v1/payment-methods", headers=headers, json={"sealed": made})
    assert (again.status_code, again.json()["code"]) == (409, "card.sealed_replayed")


async def test_no_route_of_the_gateway_takes_a_card_number(apart: ApartShop) -> None:
    customer = await apart.customer()
    headers = {"Authorization": f"Bearer {apart.keys[ATELIER]}"}
    card = {"number": VISA, "expiry_month": 12, "expiry_year": 2031, "security_code": "739"}
    answer = await apart.http.post(
        f"/v1/merchant/customers/{customer.customer_id}/payment-methods", headers=headers, json=card
    )
    assert (answer.status_code, answer.json()["code"]) == (409, "card_entry.hosted")
    assert answer.json()["data"]["url"].startswith(apart.vault.settings.base_url)
    document = (await apart.http.get("/v1/openapi.json")).text
    assert '"CardInput"' not in document and "expiry_month" not in document


async def test_a_challenge_is_passed_on_the_vaults_page(apart: ApartShop) -> None:
    customer = await apart.customer("challenge")
    assert CHALLENGE in apart.secrets
    order_id = await bought(apart, customer, customer.methods["challenge"], "one")
    async with apart.headset(customer) as headset:

        async def page() -> str | None:
            rows = apart.evidence.rows(
                "SELECT body FROM event WHERE stream = ? AND type = 'payment.action_required'",
                customer.customer_id,
            )
            import json

            return json.loads(rows[0]["body"])["url"] if rows else None

        url = await until(page)
        assert headset is not None
    await decide(apart.http, url)
    await ended(apart, customer, order_id, "completed")
    await checked(apart)


async def test_a_vault_that_is_away_is_waited_for(apart: ApartShop) -> None:
    customer = await apart.customer("visa")
    await asyncio.to_thread(apart.vault.kill)
    order_id = await bought(apart, customer, customer.methods["visa"], "one")
    headers = {"Authorization": f"Bearer {customer.token}"}
    refused = await apart.http.post("/v1/card-sessions", headers=headers, json={})
    assert (refused.status_code, refused.json()["code"]) == (503, "vault.unavailable")
    apart.vault.start()
    await ended(apart, customer, order_id, "completed")
    await checked(apart)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("chosen", seeds())
async def test_purchases_survive_kills_of_gateway_and_vault(
    chosen: int, apart: ApartShop, tmp_path: Path
) -> None:
    """kill -9 of either process at random moments; at the end both sides agree on every operation."""
    print(f"VITRINE_TEST_SEED={chosen}")
    chance = random.Random(chosen)
    shoppers = []
    for number in range(SHOPPERS):
        odd = ODD_CARDS[number % len(ODD_CARDS)]
        customer = await apart.customer("visa", odd)
        wanted = errands(chance, PURCHASES_EACH, odd)
        shoppers.append(Shopper(number, apart, customer, wanted, tmp_path))
    running = [asyncio.create_task(shopper.run()) for shopper in shoppers]
    kills = {"gateway": 0, "vault": 0}
    began = time.monotonic()
    try:
        while not all(task.done() for task in running):
            for task in running:
                if task.done():
                    task.result()
            await asyncio.sleep(chance.uniform(0.3, 1.2))
            if sum(kills.values()) >= MOST_KILLS or time.monotonic() - began > 25:
                continue
            which = chance.choice(("gateway", "vault"))
            side = apart if which == "gateway" else apart.vault
            await asyncio.to_thread(side.kill)
            kills[which] += 1
            await asyncio.sleep(chance.choice((0.0, 0.0, 0.3)))
            side.start()
            await side.until_ready()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    for task in running:
        task.result()
    print(kills)
    assert min(kills.values()) >= 1 and sum(kills.values()) >= 4, kills
    await checked(apart)


async def test_without_its_vault_a_gateway_opens_and_says_so_to_who_pays(seed: Seed, tmp_path: Path) -> None:
    """A wrong credential is an operator's matter: orders wait, nothing is lost, the log names it."""
    async with served_apart(seed, tmp_path, vault_credential="vvc_wrong") as shop:
        customer = await shop.customer()
        headers = {"Authorization": f"Bearer {customer.token}"}
        refused: httpx.Response = await shop.http.post("/v1/card-sessions", headers=headers, json={})
        assert (refused.status_code, refused.json()["code"]) == (503, "vault.unavailable")
        assert "vault.access_refused" in shop.log.read_text()
        assert "vvc_wrong" not in shop.log.read_text()
