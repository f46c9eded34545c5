"""What is left in the end: the customer's wallet and the merchant's books."""

from __future__ import annotations

from collections import defaultdict

from rich.console import RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from gateway.kernel.money import Money
from samples.demo.shopping import DemoError
from samples.demo.words import percent, short
from samples.headset.client import Document

_CATEGORIES = {"digital_standard": "digital items", "goods_standard": "goods"}


def wallet(document: Document, customer: str) -> list[RenderableType]:
    """The customer's digital items."""
    items = document["items"]
    if not items:
        raise DemoError("the wallet is empty")
    table = _table()
    table.add_column("item")
    table.add_column("copy", justify="right")
    table.add_column("token", justify="right")
    table.add_column("transaction")
    table.add_column("state", style="green")
    for item in items:
        table.add_row(
            item["title"],
            "" if item["serial"] is None else f"no. {item['serial']}",
            short(item["token_id"], 4, 4),
            short(item["transaction_hash"]),
            item["state"],
        )
    first = items[0]
    where = f"at {short(document['address'])}, contract {short(first['contract'])} on the embedded chain"
    return [_heading(f"Wallet of {customer}", where), table, Text()]


def books(balances: dict[tuple[str, str], int], merchant: str, currency: str) -> list[RenderableType]:
    """The merchant's books in one currency. Raises DemoError unless every unit sums to zero."""
    sums: dict[str, int] = defaultdict(int)
    for (_, unit), amount in balances.items():
        sums[unit] += amount
    wrong = {unit: total for unit, total in sums.items() if total}
    if wrong:
        raise DemoError(f"the books do not balance: {wrong}")

    table = _table()
    table.add_column("account")
    table.add_column("", style="bright_black")
    table.add_column("debit", justify="right")
    table.add_column("credit", justify="right")
    debits = 0
    for (account, unit), amount in sorted(balances.items()):
        if unit == currency and amount:
            debits += max(amount, 0)
            shown = Money(abs(amount), currency).decimal
            table.add_row(_name(account), account, *((shown, "") if amount > 0 else ("", shown)))
    total = Money(debits, currency).decimal
    table.add_section()
    table.add_row("", "", f"[bold]{total}[/]", f"[bold]{total}[/]")
    units = f"in {currency}; money, goods and tokens all sum to zero"
    return [_heading(f"Books of {merchant}", units), table, Text()]


def _name(account: str) -> str:
    """An account in plain words; unknown ones keep their name."""
    match account.split(":"):
        case ["asset", "clearing", _]:
            return "Captured, to be paid out"
        case ["income", "revenue", category]:
            return f"Revenue, {_CATEGORIES.get(category, category)}"
        case ["liability", "vat", country, rate]:
            return f"VAT owed to {country}, {percent(int(rate))}"
        case _:
            return account


def _heading(title: str, note: str) -> Rule:
    text = Text.assemble((title, "bold cyan"), ("  " + note, "not bold default"))
    return Rule(text, align="left", style="bright_black", characters="─")


def _table() -> Table:
    return Table(box=None, padding=(0, 2, 0, 1), header_style="bright_black", pad_edge=True)
