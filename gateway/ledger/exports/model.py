"""What every export is told and how amounts are written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gateway.kernel.money import exponent
from gateway.kernel.store.unit import Store
from gateway.ledger.closing import Day, days_after
from gateway.ledger.days import day_of, end_of, start_of


@dataclass(frozen=True, slots=True)
class Book:
    """A merchant's books over a range of days, both ends included."""

    store: Store
    merchant_id: str
    slug: str
    name: str
    currency: str
    country: str
    from_day: str
    to_day: str

    @property
    def from_ms(self) -> int:
        return start_of(self.from_day)

    @property
    def until_ms(self) -> int:
        """The first millisecond that is not part of it."""
        return end_of(self.to_day)


def decimal(amount: int, unit: str) -> str:
    """Return an amount of a currency with all its decimals, ``-12.90``; quantities as they are."""
    digits = 0 if ":" in unit else exponent(unit)
    sign = "-" if amount < 0 else ""
    whole, part = divmod(abs(amount), 10**digits)
    return f"{sign}{whole}" if digits == 0 else f"{sign}{whole}.{part:0{digits}d}"


async def closed_days(book: Book) -> list[Day]:
    """Return the closed days of the range, with their hashes."""
    after = day_of(book.from_ms - 1) if book.from_ms > 0 else ""
    days = await book.store.read(lambda reader: days_after(reader, book.merchant_id, after, most=100_000))
    return [day for day in days if day.day <= book.to_day]


async def write_days(book: Book, folder: Path) -> Path:
    """Write the hashes of the closed days beside an export, so that it can be held against the books."""
    path = folder / f"{book.slug}-{book.from_day}-{book.to_day}-days.csv"
    lines = ["day,transactions,entries,root,balances,hash"]
    for day in await closed_days(book):
        lines.append(
            ",".join((day.day, str(day.transactions), str(day.entries), day.root, day.balances, day.hash))
        )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
