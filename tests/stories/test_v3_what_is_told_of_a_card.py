"""V3: of a card's number, whatever leaves the gateway holds the last four digits at most.

Every reading route of the document, asked by everybody who may ask and by who may not; every reply and event of
a session, hosted pages, refusals that quote what was sent, the log, every row of the database, and every report
and export that the command line writes. The cards are bought with in every way that ends differently.
"""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from gateway.cli import app
from samples.headset.client import CommandError, Document, Headset
from tests.support.buying import buy, ended, order_body, quote, show
from tests.support.gateway import Customer, ServerProcess, served
from tests.support.seed import ATELIER, Seed
from wallets.vault.providers.test_cards import TEST_CARDS_BY_NAME

CARDS = ("amex", "visa", "mastercard", "lost_card", "challenge")
NUMBERS = {name: TEST_CARDS_BY_NAME[name].number for name in CARDS}
LAST4 = {number[-4:] for number in NUMBERS.values()}
UNKNOWN = "4929420573595709"
"""Well formed, and nobody's: it is refused, and not repeated."""
_RUN = re.compile(r"(?<![0-9A-Za-z_])[0-9]{5,19}(?![0-9A-Za-z_])")
_BETWEEN = re.compile(r"(?<=[0-9])[ \-\u2013\u00a0.](?=[0-9])")


def too_much(text: str, number: str) -> Iterator[str]:
    """Yield each run of five digits or more that is part of the number, written in one or in groups.

    Fewer than three different digits prove nothing below seven: 00000 and 42424 are also other things.
    """
    for form in (text, _BETWEEN.sub("", text)):
        for found in _RUN.finditer(form):
            run = found.group()
            if run in number and (len(run) >= 7 or len(set(run)) >= 3):
                yield form[max(0, found.start() - 40) : found.end() + 40]


class Told:
    """Everything that was said, by where it was said."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def add(self, where: str, text: str) -> None:
        self.texts[where] = f"{self.texts.get(where, '')}\n{text}"

    async def hear(self, answer: httpx.Response) -> None:
        await answer.aread()
        self.add(f"{answer.request.method} {answer.request.url.path}", f"{answer.headers}\n{answer.text}")

    def check(self) -> None:
        found = [
            f"{where}: {around!r}"
            for where, text in self.texts.items()
            for number in (*NUMBERS.values(), UNKNOWN)
            for around in too_much(text, number)
        ]
        assert not found, "\n".join(found)


async def ask(told: Told, headset: Headset, type: str, body: Document | None = None) -> Document:
    try:
        answer = await headset.command(type, body or {})
    except CommandError as error:
        answer = error.body
    told.add(type, json.dumps(answer))
    return answer


async def shopping(shop: ServerProcess, told: Told, customer: Customer) -> dict[str, str]:
    """Buy in every way; returns what the parameters of routes are filled with."""
    names: dict[str, str] = {"customer_id": customer.customer_id}
    world = ("worlds", "add", "aurora", "--data-dir", str(shop.data_dir))
    names["world_key"] = (await asyncio.to_thread(CliRunner().invoke, app, world)).output.strip()
    async with shop.headset(customer) as headset:
        allowed = await ask(told, headset, "world.allow", {"world_id": "aurora", "scopes": ["items"]})
        names["player_id"] = allowed["player_id"]
        names["order_id"] = await buy(headset, customer, "KUPPEL-LAMP:bundle", card="amex")
        await ended(headset, names["order_id"])
        refused = await buy(headset, customer, "FJORD-MUG:physical", card="lost_card")
        await headset.event("payment.declined", order_id=refused)
        challenged = await buy(headset, customer, "HALM-CHAIR:digital", card="challenge")
        action = (await headset.event("payment.action_required", order_id=challenged))["body"]
        names["action_id"] = action["action_id"]
        body = order_body(await quote(headset, "FJORD-MUG:physical"), "")
        del body["payment_method_id"]
        linked = await ask(told, headset, "order.place", {**body, "payment": {"kind": "pay_link"}})
        names["token"] = linked["pay_link"]["url"].rpartition("/")[2]
        card = {"number": NUMBERS["mastercard"], "expiry": "12/31", "code": "739"}
        await shop.http.post(f"{linked['pay_link']['url']}/card-test", data=card)
        await ended(headset, linked["order_id"])
        again = await ask(told, headset, "order.place", {**body, "payment_method_id": NUMBERS["visa"]})
        assert "code" in again, "a number is no payment method"
        asked = await shop.merchant(
            "POST",
            f"/orders/{names['order_id']}/refunds",
            key=str(uuid.uuid4()),
            json={"amount_minor": 100, "reason": "scratched", "staff_id": "erin"},
        )
        names["refund_id"] = asked["refund_id"]
        await headset.event("refund.done")
        for order_id in (names["order_id"], refused, challenged, linked["order_id"]):
            told.add("order.get", json.dumps(await show(headset, order_id)))
        for type in ("payment.methods", "order.list", "wallet.list", "payment.add_card"):
            await ask(told, headset, type)
        wallet = await ask(told, headset, "wallet.page")
        assert (await shop.http.post(wallet["url"])).status_code == 303
        page = await shop.http.get("/wallet")
        (item, *_) = re.findall(r'href="(/wallet/items/[^"]+)"', page.text)
        assert (await shop.http.get(item)).status_code == 200
        told.add("events", json.dumps(headset.events))
    return names


async def refusals(shop: ServerProcess) -> None:
    """Numbers where none belongs: what refuses them must not repeat them."""
    merchant = {"Authorization": f"Bearer {shop.keys[ATELIER]}"}
    card: Document = {"expiry_month": 12, "expiry_year": 2031, "security_code": "739", "holder": "A"}
    customer = await shop.customer()
    path = f"/v1/merchant/customers/{customer.customer_id}/payment-methods"
    for number in (UNKNOWN, UNKNOWN[:-1] + "0", f"{UNKNOWN}{UNKNOWN}", int(UNKNOWN)):
        answer = await shop.http.post(path, headers=merchant, json={**card, "number": number})
        assert answer.status_code in (400, 422), answer.text
    for url in (f"/v1/merchant/orders/{UNKNOWN}", f"/v1/merchant/refunds/{UNKNOWN}", f"/pay/links/{UNKNOWN}"):
        assert (await shop.http.get(url, headers=merchant)).status_code in (400, 404)


async def every_reading_route(shop: ServerProcess, customer: Customer, names: dict[str, str]) -> None:
    """Ask each route of the document as the customer, a merchant, a world and as nobody; one of them may."""
    document = (await shop.http.get("/v1/openapi.json")).json()
    (product, *_) = (await shop.merchant("GET", "/products"))["products"]
    names = {**names, "handle": product["handle"], "product_id": product["product_id"]}
    world_key = names.pop("world_key")
    callers: list[Document] = [
        {"Authorization": f"Bearer {token}"} for token in (customer.token, shop.keys[ATELIER], world_key)
    ]
    paths = [path for path, methods in document["paths"].items() if "get" in methods]
    assert len(paths) > 20
    pages = ["/pay", "/pay/challenges/{action_id}", "/pay/challenges/{action_id}/state", "/pay/links/{token}"]
    for path in {*paths, *pages}:
        if "{name}" in path or "{sha256}" in path:
            continue  # files and public documents: the same for everybody
        filled = re.sub(r"\{(\w+)\}", lambda found: names[found.group(1)], path)
        answers = [await shop.http.get(filled, headers=headers) for headers in (*callers, {})]
        assert any(answer.status_code < 400 for answer in answers), f"{filled}: {answers[0].text}"


def rows_of(database: Path) -> Iterator[tuple[str, str]]:
    """Every row of every table as text. Ciphertexts and digests are bytes, and no text."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            rows = connection.execute(f"SELECT * FROM {table}").fetchall()
            yield f"{database.name}.{table}", "\n".join(map(repr, rows))


def exports(data_dir: Path, out: Path) -> Iterator[tuple[str, str]]:
    """What reports and exports of the command line write."""
    runner = CliRunner()
    at = ("--data-dir", str(data_dir))
    span = ("--from", "2026-01-01", "--to", "2027-12-31", "--merchant", "atelier-nord", "--out", str(out))
    commands = [
        *(("books", "export", *span, "--format", kind) for kind in ("csv", "beancount")),
        ("books", "balances", "--merchant", "atelier-nord"),
        ("books", "verify"),
        ("vault", "audit", "export"),
        ("vault", "keys"),
    ]
    for command in commands:
        done = runner.invoke(app, [*command, *at])
        assert done.exit_code == 0, (command, done.output)
        yield " ".join(command[:3]), done.output
    for file in sorted(out.iterdir()):
        yield file.name, file.read_text(encoding="utf-8")


def test_the_search_finds_more_than_four_digits() -> None:
    number = NUMBERS["amex"]
    for text in (number, "378282", '"10005"', "3782 822463 10005", "x=46310005;", "3782-8224"):
        assert list(too_much(f"told: {text}.", number)), text
    for text in ("0005", "1790378282246", "ord_378282", "amount_minor: 22463100051", "2026-10-05"):
        assert not list(too_much(f"told: {text}.", number)), text


@pytest.mark.timeout(120)
async def test_v3_no_api_report_log_or_event_tells_more_than_the_last_four(
    seed: Seed, tmp_path: Path
) -> None:
    told = Told()
    async with served(seed, tmp_path) as shop:
        shop.http.event_hooks["response"].append(told.hear)
        customer = await shop.customer(*CARDS)
        names = await shopping(shop, told, customer)
        await every_reading_route(shop, customer, names)
        await refusals(shop)
        await asyncio.to_thread(shop.terminate)
    told.add("server.log", shop.log.read_text())
    databases: list[Any] = sorted(shop.data_dir.glob("*.db"))
    # Numbers that the acquirer knows are its own; what the vault has is in ciphertext.
    for database in databases:
        if database.name in ("gateway.db", "vault.db", "backend.db"):
            for where, text in rows_of(database):
                told.add(where, text)
    for where, text in await asyncio.to_thread(lambda: list(exports(shop.data_dir, tmp_path / "out"))):
        told.add(where, text)
    told.check()
    everything = "".join(told.texts.values())
    assert all(last4 in everything for last4 in LAST4), "the last four are told"
