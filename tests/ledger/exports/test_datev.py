"""DATEV (L11): an independent check accepts every batch, and totals by account are the ledger's."""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from datetime import date
from decimal import Decimal
from importlib import resources
from pathlib import Path

import pytest

from gateway.kernel.errors import InvalidError
from gateway.kernel.store.unit import Store
from gateway.ledger.chart import CHART, Statement, is_money
from gateway.ledger.days import end_of, start_of
from gateway.ledger.entries import Entry, move
from gateway.ledger.exports.datev import DatevSettings, Numbers, export, fiscal_year, postings
from gateway.ledger.journal import transactions
from gateway.ledger.posting import post
from tests.ledger.exports.conftest import book_of
from tests.ledger.exports.datev_validator import validate
from tests.ledger.trading_day import MERCHANT

DATA = tomllib.loads(resources.files("gateway.ledger.exports.data").joinpath("skr.toml").read_text("utf-8"))


async def expected(store: Store, first: str, last: str, chart: str, unit: str) -> dict[str, Decimal]:
    """Totals by DATEV account, from our entries and the mapping's data alone."""
    totals: dict[str, Decimal] = defaultdict(Decimal)
    async for one in transactions(store, MERCHANT, start_of(first), end_of(last)):
        if one.phase not in (None, "post"):
            continue
        taxes = [entry.account for entry in one.entries if entry.account.startswith("liability:vat:")]
        for entry in one.entries:
            if entry.unit != unit:
                continue
            if entry.account.startswith("income:"):
                tax = taxes[0].removeprefix("liability:vat:") if taxes else "none"
                names = {row["tax"]: row[chart] for row in DATA["revenue"]}
                number = names.get(tax, names["other"])
            else:
                number = next(
                    row[chart] for row in DATA["account"] if entry.account.startswith(row["begins"])
                )
            totals[str(number)] += Decimal(entry.amount) / (1 if unit == "JPY" else 100)
    return {number: amount for number, amount in totals.items() if amount}


@pytest.mark.parametrize("chart", ["03", "04"])
async def test_l11_batches_are_well_formed_and_their_totals_are_the_ledgers(
    books: Store, tmp_path: Path, chart: str
) -> None:
    written = await export(
        book_of(books, "2026-12-30", "2027-01-02"), tmp_path, DatevSettings(1234567, 77, chart)
    )
    batches = [path for path in written if path.name.startswith("EXTF_")]
    # Two fiscal years, three currencies.
    assert len(batches) == 6
    spans = {"2026": ("2026-12-30", "2026-12-31"), "2027": ("2027-01-01", "2027-01-02")}
    for path in batches:
        found = validate(path.read_bytes())
        assert found.problems == [], path.name
        assert found.header[26] == f'"{chart}"' and found.header[10:12] == ["1234567", "77"]
        currency = next((unit for unit in ("USD", "JPY") if unit in path.name), "EUR")
        first, last = spans[found.header[14][:4]]
        mine = await expected(books, first, last, chart, currency)
        assert {number: amount for number, amount in found.totals.items() if amount} == mine, path.name


async def test_l11_automatic_accounts_are_posted_without_their_automatic_tax(
    books: Store, tmp_path: Path
) -> None:
    written = await export(book_of(books, "2026-12-30", "2026-12-31"), tmp_path, DatevSettings())
    found = validate(written[0].read_bytes())
    automatic = {str(row["03"]) for row in DATA["revenue"] if row.get("automatic")}
    assert automatic & found.keys.keys()
    for number, keys in found.keys.items():
        assert keys == ({"40"} if number in automatic else {""}), number


async def test_l11_the_same_books_give_the_same_files(books: Store, tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        await export(book_of(books, "2026-12-30", "2027-01-02"), folder, DatevSettings())
    one, two = ([path.read_bytes() for path in sorted(folder.iterdir())] for folder in folders)
    assert one == two and len(one) == 7


async def test_l11_text_is_quoted_and_in_windows_1252(books: Store, tmp_path: Path) -> None:
    written = await export(book_of(books, "2026-12-30", "2026-12-31"), tmp_path, DatevSettings())
    head = written[0].read_bytes().split(b"\r\n")[0]
    assert b'"Acme ""Lamps"" & S\xf6hne"' in head


async def test_l11_a_currency_the_format_cannot_hold_is_refused(books: Store, tmp_path: Path) -> None:
    dinar = move("KWD", 1, debit="asset:bank:main", credit="asset:suspense")
    await books.write(lambda uow: post(uow, "x", MERCHANT, None, dinar))
    with pytest.raises(InvalidError) as caught:
        await export(book_of(books, "2026-12-30", "2027-01-04"), tmp_path, DatevSettings())
    assert caught.value.code == "export.datev_currency"


def test_l11_every_money_account_of_the_chart_has_a_number() -> None:
    for chart in ("03", "04"):
        numbers = Numbers(DATA, chart, "DE")
        for kind in CHART:
            if kind.statement not in (Statement.QUANTITY, Statement.MEMO, Statement.EQUITY):
                assert numbers.of(kind.name, ("DE", 1900)).number > 0, kind.name


def test_l11_pairs_come_to_the_entries_sums() -> None:
    numbers = Numbers(DATA, "03", "DE")
    entries = [
        Entry("liability:deferred_revenue", "EUR", 1190),
        Entry("asset:bank:main", "EUR", 10),
        Entry("income:revenue:goods_standard", "EUR", -1000),
        Entry("liability:vat:DE:1900", "EUR", -190),
        Entry("expense:rounding", "EUR", -10),
        Entry("stock:available:BERLIN", "sku:LAMP", -1),
        Entry("goods:delivered", "sku:LAMP", 1),
    ]
    sums: dict[int, int] = defaultdict(int)
    for posting in postings(entries, numbers):
        assert posting.amount > 0
        sums[posting.debit.number] += posting.amount
        sums[posting.credit.number] -= posting.amount
    assert sums == {1710: 1190, 1200: 10, 8400: -1000, 1776: -190, 4900: -10}
    assert sum(entry.amount for entry in entries if is_money(entry.unit)) == 0


@pytest.mark.parametrize(
    ("day", "starts", "year"),
    [
        ("2026-07-01", (7, 1), "2026-07-01"),
        ("2026-06-30", (7, 1), "2025-07-01"),
        ("2026-01-01", (1, 1), "2026-01-01"),
    ],
)
def test_l11_a_fiscal_year_may_begin_on_any_day(day: str, starts: tuple[int, int], year: str) -> None:
    assert fiscal_year(date.fromisoformat(day), starts) == date.fromisoformat(year)


@pytest.mark.parametrize(
    "damage",
    [
        (b'"EXTF";700', b'"EXTF";510'),
        (b"\r\n", b"\n"),
        (rb'\d,\d\d;"S"', b'1;"S"'),
        (rb';"S";', b";S;"),
        (rb";3112;", b";0101;"),
        (b"Abw. Skontokonto", b"Skontokonto"),
        (b"S\xf6hne", b"S\x07hne"),
    ],
    ids=["version", "line ends", "amount", "quotes", "day", "heads", "control"],
)
async def test_the_check_itself_finds_what_is_wrong(
    books: Store, tmp_path: Path, damage: tuple[bytes, bytes]
) -> None:
    written = await export(book_of(books, "2026-12-30", "2026-12-31"), tmp_path, DatevSettings())
    content = written[0].read_bytes()
    damaged = re.sub(damage[0], damage[1], content) if b"\\" in damage[0] else content.replace(*damage)
    assert damaged != content
    assert validate(damaged).problems
