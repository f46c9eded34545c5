"""How the demo writes what the gateway says: amounts, cards, long ids."""

from __future__ import annotations

from typing import Any

from gateway.kernel.money import Money


def money(document: dict[str, Any]) -> str:
    """``12.90 EUR``; as many decimals as the currency has."""
    return str(Money(document["amount_minor"], document["currency"]))


def number(document: dict[str, Any]) -> str:
    """``12.90``, beside an amount that names the currency."""
    return Money(document["amount_minor"], document["currency"]).decimal


def card(document: dict[str, Any]) -> str:
    """``visa ·· 4242``: all that is ever shown of a card."""
    return f"{document['brand']} ·· {document['last4']}"


def short(text: str, head: int = 6, tail: int = 4) -> str:
    """The two ends of an address, a hash or an id, enough to recognize it."""
    return text if len(text) <= head + tail + 1 else f"{text[:head]}…{text[-tail:]}"


def percent(basis_points: int) -> str:
    """``19 %`` for 1900."""
    return f"{basis_points / 100:g} %"
