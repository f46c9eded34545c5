"""DATEV: batches of postings that a tax adviser's program imports.

A transaction of many entries becomes pairs of account and contra account that come to the same on every
account. Which number an account of ours has there is data (``data/skr.toml``). A batch lies in one fiscal
year, has one currency and at most 99,999 postings. Goods, digital items and pending amounts are not part of
it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

from gateway.kernel.errors import InvalidError
from gateway.kernel.money import exponent
from gateway.ledger.chart import is_money
from gateway.ledger.days import day_of, time_of
from gateway.ledger.entries import Entry
from gateway.ledger.exports import datev_format
from gateway.ledger.exports.model import Book, write_days
from gateway.ledger.journal import Transaction, transactions

MOST_ROWS = 99_999
_NO_TAX_KEY = "40"
"""BU key: the account's automatic tax computation is off for this posting."""


@dataclass(frozen=True, slots=True)
class DatevSettings:
    """What the adviser's office says of itself and of the client."""

    adviser: int = 1001
    client: int = 1
    chart: str = "03"
    account_length: int = 4
    fiscal_year_starts: tuple[int, int] = (1, 1)
    """Month and day."""
    locked: bool = False
    """Whether the import may not be changed any more (Festschreibung)."""
    accounts: Path | None = None
    """A mapping to be used instead of ours."""

    def __post_init__(self) -> None:
        within = 1001 <= self.adviser <= 9_999_999 and 1 <= self.client <= 99_999
        if not within or self.chart not in ("03", "04") or not 4 <= self.account_length <= 8:
            raise InvalidError("export.datev", "adviser 1001 to 9999999, client 1 to 99999, chart 03 or 04")


@dataclass(frozen=True, slots=True)
class Number:
    """An account there. ``automatic``: the program would compute tax on what is posted to it."""

    number: int
    automatic: bool = False
    country: str = ""
    basis_points: int = 0
    """Where and at what rate revenue is taxed, when that is abroad."""


@dataclass(frozen=True, slots=True)
class Posting:
    """An account, its contra account and the amount between them: debit on the left."""

    unit: str
    amount: int
    debit: Number
    credit: Number


class Numbers:
    """The mapping of our accounts to one of the standard charts."""

    def __init__(self, document: dict[str, Any], chart: str, home: str) -> None:
        self._accounts = [(one["begins"], int(one[chart])) for one in document["account"]]
        self._revenue = {
            one["tax"]: (int(one[chart]), bool(one.get("automatic"))) for one in document["revenue"]
        }
        self._home = home

    @classmethod
    def load(cls, settings: DatevSettings, home: str) -> Numbers:
        """Read the mapping; raises InvalidError ``export.datev_accounts`` when it is not one."""
        source = settings.accounts or resources.files("gateway.ledger.exports.data").joinpath("skr.toml")
        try:
            return cls(tomllib.loads(source.read_text(encoding="utf-8")), settings.chart, home)
        except (KeyError, ValueError, OSError) as error:
            raise InvalidError(
                "export.datev_accounts", f"{source} is no mapping of accounts: {error}"
            ) from None

    def of(self, account: str, tax: tuple[str, int] | None) -> Number:
        """Return an account's number; ``tax`` is the country and rate of its transaction, if it has any."""
        if account.startswith("income:"):
            return self._of_revenue(tax)
        for begins, number in self._accounts:
            if account.startswith(begins):
                return Number(number)
        raise InvalidError("export.datev_accounts", f"{account} has no number in the mapping")

    def _of_revenue(self, tax: tuple[str, int] | None) -> Number:
        if tax is None:
            number, automatic = self._revenue["none"]
            return Number(number, automatic)
        country, basis_points = tax
        key = f"{country}:{basis_points}"
        if key in self._revenue:
            number, automatic = self._revenue[key]
            return Number(number, automatic)
        number, automatic = self._revenue["other"]
        return Number(number, automatic, country, basis_points)


def postings(entries: Iterable[Entry], numbers: Numbers) -> Iterator[Posting]:
    """Pair the debits of a transaction with its credits, in their order, so that every account gets its sum.

    What moves between two of our accounts that are one account there is left out.
    """
    money = [entry for entry in entries if is_money(entry.unit) and not entry.account.startswith("memo:")]
    tax = _tax_of(money)
    for unit in sorted({entry.unit for entry in money}):
        given = [entry for entry in money if entry.unit == unit and entry.amount > 0]
        taken = [entry for entry in money if entry.unit == unit and entry.amount < 0]
        for debit, credit, amount in _pairs(given, taken):
            left, right = numbers.of(debit, tax), numbers.of(credit, tax)
            if left.number != right.number:
                yield Posting(unit, amount, left, right)


def _pairs(given: list[Entry], taken: list[Entry]) -> Iterator[tuple[str, str, int]]:
    """Yield account, contra account and amount; both sides come to the same sum."""
    left = [entry.amount for entry in given]
    place = 0
    for entry in taken:
        open_amount = -entry.amount
        while open_amount:
            amount = min(open_amount, left[place])
            yield given[place].account, entry.account, amount
            open_amount -= amount
            left[place] -= amount
            place += not left[place]


async def export(book: Book, folder: Path, settings: DatevSettings) -> list[Path]:
    """Write the batches, and the hashes of closed days.

    Raises InvalidError ``export.datev_currency`` for a currency with more than two decimals, which the format
    cannot hold, and ``export.datev_accounts`` for an account without a number.
    """
    numbers = Numbers.load(settings, book.country)
    batches: dict[tuple[date, str], _Batch] = {}
    written: list[Path] = []
    async for one in transactions(book.store, book.merchant_id, book.from_ms, book.until_ms):
        if not one.posted:
            continue
        year = fiscal_year(date.fromisoformat(day_of(one.at_ms)), settings.fiscal_year_starts)
        for posting in postings(one.entries, numbers):
            key = (year, posting.unit)
            if key in batches and batches[key].rows >= MOST_ROWS:
                written.append(batches[key].close())
                batches[key] = _Batch(book, folder, settings, *key, batches[key].number + 1)
            elif key not in batches:
                batches[key] = _Batch(book, folder, settings, *key, 1)
            batches[key].add(one, posting)
    written += [batches[key].close() for key in sorted(batches)]
    return [*sorted(written), await write_days(book, folder)]


def fiscal_year(day: date, starts: tuple[int, int]) -> date:
    """Return the first day of the fiscal year that a day is in."""
    start = date(day.year, *starts)
    return start if start <= day else date(day.year - 1, *starts)


class _Batch:
    """One file. Its header names the time of the last posting, so the same books give the same file."""

    def __init__(
        self, book: Book, folder: Path, settings: DatevSettings, year: date, unit: str, number: int
    ) -> None:
        if exponent(unit) > 2:
            raise InvalidError("export.datev_currency", f"DATEV holds two decimals, {unit} has more")
        self.number, self.rows = number, 0
        self._settings, self._year, self._book, self._unit = settings, year, book, unit
        next_year = date(year.year + 1, year.month, year.day)
        self._first = max(year, date.fromisoformat(book.from_day))
        self._last = min(next_year - timedelta(days=1), date.fromisoformat(book.to_day))
        parts = [book.slug, self._first.isoformat(), self._last.isoformat()]
        parts += [] if unit == "EUR" else [unit]
        parts += [] if number == 1 else [str(number)]
        self._path = folder / f"EXTF_Buchungsstapel_{'_'.join(parts)}.csv"
        # The header is known at the end, because it says when the last posting was made.
        self._body = self._path.with_suffix(".part")
        self._file = self._body.open("w", encoding=datev_format.ENCODING, errors="replace", newline="")
        self._latest = time_of(0)

    def add(self, one: Transaction, posting: Posting) -> None:
        """Write one posting."""
        self.rows += 1
        self._latest = max(self._latest, time_of(one.at_ms))
        self._file.write(datev_format.row(_fields(one, posting, self._settings)) + "\r\n")

    def close(self) -> Path:
        """Put the header before the postings and return the finished file."""
        self._file.close()
        head = (self._head(self._latest), datev_format.heads())
        with self._path.open("wb") as whole, self._body.open("rb") as body:
            whole.write("".join(f"{line}\r\n" for line in head).encode(datev_format.ENCODING, "replace"))
            while chunk := body.read(1 << 20):
                whole.write(chunk)
        self._body.unlink()
        return self._path

    def _head(self, created: datetime) -> str:
        return datev_format.header(
            created=created,
            adviser=self._settings.adviser,
            client=self._settings.client,
            fiscal_year=self._year,
            account_length=self._settings.account_length,
            first=self._first,
            last=self._last,
            label=f"{self._book.name}"[:30],
            locked=self._settings.locked,
            chart=self._settings.chart,
        )


def _fields(one: Transaction, posting: Posting, settings: DatevSettings) -> dict[str, str]:
    # BU key and destination belong to the contra account, so an automatic account goes there.
    swapped = posting.debit.automatic and not posting.credit.automatic
    account, contra = (posting.credit, posting.debit) if swapped else (posting.debit, posting.credit)
    day = date.fromisoformat(day_of(one.at_ms))
    fields = {
        "Umsatz (ohne Soll/Haben-Kz)": _amount(posting.amount, posting.unit),
        "Soll/Haben-Kennzeichen": '"H"' if swapped else '"S"',
        "WKZ Umsatz": datev_format.text(posting.unit, 3),
        "Konto": _account(account.number, settings),
        "Gegenkonto (ohne BU-Schlüssel)": _account(contra.number, settings),
        "Belegdatum": f"{day:%d%m}",
        "Belegfeld 1": datev_format.document_number(one.order_id or one.transaction_id),
        "Buchungstext": datev_format.text(one.kind, 60),
        "Beleginfo - Art 1": '"Buchung"',
        "Beleginfo - Inhalt 1": datev_format.text(one.transaction_id, 210),
        "Festschreibung": str(int(settings.locked)),
    }
    if contra.automatic:
        fields["BU-Schlüssel"] = f'"{_NO_TAX_KEY}"'
    if contra.country:
        fields["EU-Land u. UStID (Bestimmung)"] = datev_format.text(contra.country, 2)
        fields["EU-Steuersatz (Bestimmung)"] = f"{contra.basis_points // 100},{contra.basis_points % 100:02d}"
    return fields


def _amount(amount: int, unit: str) -> str:
    whole, part = divmod(amount * 10 ** (2 - exponent(unit)), 100)
    return f"{whole},{part:02d}"


def _account(number: int, settings: DatevSettings) -> str:
    # Numbers of the standard charts have four digits; longer ones are filled up on the right.
    return str(number) + "0" * (settings.account_length - 4)


def _tax_of(entries: Iterable[Entry]) -> tuple[str, int] | None:
    for entry in entries:
        if entry.account.startswith("liability:vat:"):
            _, _, country, basis_points = entry.account.split(":")
            return country, int(basis_points)
    return None
