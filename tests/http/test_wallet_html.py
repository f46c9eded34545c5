"""The wallet's pages show whatever merchants write as text, and nothing of it as a page."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from gateway.http import wallet_html

HOSTILE = """"'><script src=//evil.example></script><img src=x onerror=alert(1)>{0}{title}&lt;%s"""
ITEM: dict[str, Any] = {
    "leg_id": HOSTILE,
    "title": HOSTILE,
    "description": HOSTILE,
    "license": HOSTILE,
    "merchant_name": HOSTILE,
    "model_url": HOSTILE,
    "picture_url": HOSTILE,
    "metadata_url": HOSTILE,
    "contract": HOSTILE,
    "chain_id": HOSTILE,
    "transaction_hash": HOSTILE,
    "token_id": "1",
    "serial": None,
    "copies": None,
    "quantity": 2,
    "state": "undelivered",
    "acquired_at": "2026-01-02T03:04:05Z",
    "wallet": {"kind": "linked", "wallet_id": "wal_1", "address": HOSTILE},
}


class Elements(HTMLParser):
    """Collects what a browser would make of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: str) -> Elements:
    found = Elements()
    found.feed(page)
    return found


def test_what_a_merchant_writes_is_text() -> None:
    for page in (
        wallet_html.item_page(ITEM),
        wallet_html.item_page({**ITEM, "picture_url": None, "model_url": None}),
        wallet_html.wallet_page({"items": [ITEM], "next": HOSTILE}, is_first=False),
        wallet_html.opening_page(HOSTILE),
    ):
        seen = read(page)
        for tag, attributes in seen.found:
            assert tag != "script" or attributes == {"type": "module", "src": "/wallet/assets/viewer.js"}
            assert not any(name.startswith("on") for name in attributes)
            assert tag != "img" or attributes["src"] == HOSTILE
    assert HOSTILE in read(wallet_html.item_page(ITEM)).text


def test_what_is_in_a_wallet_that_was_unlinked_is_not_called_the_customers() -> None:
    outside = {**ITEM, "state": "owned", "wallet": {"kind": "outside", "wallet_id": None, "address": "0xA"}}
    text = read(wallet_html.item_page(outside)).text
    assert "In a wallet you have unlinked" in text and "Yours" not in text
    linked = {**outside, "wallet": {"kind": "linked", "wallet_id": "wal_1", "address": "0xA"}}
    assert "Yours" in read(wallet_html.item_page(linked)).text


def test_a_date_says_whether_it_is_that_of_the_order() -> None:
    assert "Ordered on2 January 2026" in read(wallet_html.item_page(ITEM)).text
    assert "Received on2 January 2026" in read(wallet_html.item_page({**ITEM, "state": "owned"})).text
