"""What the vault is told about an order: every line once per category, and the session."""

from __future__ import annotations

from dataclasses import replace

from gateway.kernel.money import Money
from gateway.orders.plan import Plan, PlannedLeg, PlannedLine
from gateway.orders.standing import items_of, spent_on
from gateway.payments.spending import Spending
from tests.payments.test_spending import terms
from wallets.vault.port import SpentItem


def leg(line: int, category: str) -> PlannedLeg:
    return PlannedLeg(line, "entitle", "SKU", 1, 100, "DE", category, 1_900, "law")


def plan(*lines: tuple[int, tuple[str, ...]]) -> Plan:
    return Plan(
        merchant_id="mer_1",
        merchant_slug="shop",
        channel="ar",
        place=None,
        country="DE",
        currency="EUR",
        lines=[PlannedLine("SKU", "Thing", "bundle", 2, price, 2 * price, "either") for price, _ in lines],
        legs=[leg(line, category) for line, (_, categories) in enumerate(lines) for category in categories],
        total_minor=0,
        tax_minor=0,
        shipping_minor=0,
        taxes=[],
        delivery=None,
        consents_required=[],
    )


def test_a_bundle_is_of_the_category_of_each_of_its_parts() -> None:
    found = items_of(plan((500, ("ebooks", "books")), (900, ("books",))))
    assert found == (
        SpentItem("ebooks", Money(500, "EUR")),
        SpentItem("books", Money(500, "EUR")),
        SpentItem("books", Money(900, "EUR")),
    )


def test_numbered_copies_of_one_line_are_named_once() -> None:
    assert len(items_of(plan((500, ("ebooks", "ebooks", "ebooks"))))) == 1


def test_a_quote_is_the_session_of_an_allowance_that_names_it() -> None:
    ordered = plan((500, ("books",)))
    for_quote = Spending(terms(session_id="quo_1"), session_id="play_1")
    assert spent_on(for_quote, ordered, "quo_1").session_id == "quo_1"
    assert spent_on(for_quote, ordered, "quo_2").session_id == "play_1"
    assert spent_on(replace(for_quote, terms=terms()), ordered, "quo_1").session_id == "play_1"
