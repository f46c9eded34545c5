"""Beancount: money in posted transactions, with balance assertions that Beancount checks against its own
sums.

What the books are before the first day comes as one opening transaction. Both legs of every posting carry an
explicit amount with all decimals; closing balances are asserted at the start of the day after, on accounts of
the balance sheet only, without tolerance. Signs are ours: debit positive. Goods, digital items and pending
amounts are not part of it; the CSV export has them.
Syntax: https://beancount.github.io/docs/beancount_language_syntax.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import TextIO

from gateway.kernel.clock import rfc3339
from gateway.ledger.balances import account_balances
from gateway.ledger.chart import BALANCE_SHEET, is_money, kind_of
from gateway.ledger.days import day_of, next_day
from gateway.ledger.entries import Entry
from gateway.ledger.exports.model import Book, closed_days, decimal, write_days
from gateway.ledger.journal import Transaction, transactions

_ROOTS = {
    "asset": "Assets",
    "liability": "Liabilities",
    "equity": "Equity",
    "income": "Income",
    "expense": "Expenses",
    "memo": "Equity:Memo",
}
_PLAIN = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")


def account_name(account: str) -> str:
    """Return Beancount's name of an account; two of ours never share one.

    ``liability:deferred_revenue`` is ``Liabilities:Deferred-Revenue``. A word that cannot be told back from
    its spelling there (capitals, dashes, other signs) gets a few digits of its hash.
    """
    root, *words = account.split(":")
    return ":".join((_ROOTS[root], *map(_word, words)))


def _word(word: str) -> str:
    if _PLAIN.fullmatch(word):
        return "-".join(part.capitalize() for part in word.split("_"))
    readable = re.sub(r"[^A-Za-z0-9]+", "-", word).strip("-")
    return f"X-{readable[:40]}-{sha256(word.encode()).hexdigest()[:8]}"


async def export(book: Book, folder: Path) -> list[Path]:
    """Write one ``.beancount`` file, and the hashes of closed days."""
    path = folder / f"{book.slug}-{book.from_day}-{book.to_day}.beancount"
    with path.open("w", encoding="utf-8", newline="\n") as file:
        await _Writer(book, file).write()
    return [path, await write_days(book, folder)]


class _Writer:
    def __init__(self, book: Book, file: TextIO) -> None:
        self._book = book
        self._file = file
        self._opened: set[str] = set()

    async def write(self) -> None:
        book = self._book
        self._line(f'option "title" {_text(book.name)}')
        self._line(f'option "operating_currency" "{book.currency}"')
        await self._opening()
        async for one in transactions(book.store, book.merchant_id, book.from_ms, book.until_ms):
            if one.posted:
                self._transaction(one)
        for day in await closed_days(book):
            self._line(f'\n{day.day} custom "vitrine-day" "{day.root}" "{day.hash}"')
        await self._balances()

    async def _opening(self) -> None:
        book = self._book
        before = await book.store.read(
            lambda reader: account_balances(reader, book.merchant_id, book.from_ms)
        )
        entries = [
            Entry(one.account, one.unit, one.amount) for one in before if is_money(one.unit) and one.amount
        ]
        if entries:
            self._postings(f'{book.from_day} * "Balances brought forward"', (), entries)

    def _transaction(self, one: Transaction) -> None:
        entries = [entry for entry in one.entries if is_money(entry.unit)]
        if not entries:
            return
        order = "" if one.order_id is None else f" ^{one.order_id}"
        narration = one.kind if one.code is None else f"{one.kind}: {one.code}"
        metadata = [("id", one.transaction_id), ("time", rfc3339(one.at_ms))]
        if one.reverses_id is not None:
            metadata.append(("reverses", one.reverses_id))
        if one.effective_at_ms is not None:
            metadata.append(("effective", rfc3339(one.effective_at_ms)))
        self._postings(
            f"{day_of(one.at_ms)} * {_text(self._book.name)} {_text(narration)}{order} #{one.kind}",
            metadata,
            entries,
        )

    def _postings(self, head: str, metadata: Iterable[tuple[str, str]], entries: Iterable[Entry]) -> None:
        lines = [head]
        lines += [f'  {name}: "{value}"' for name, value in metadata]
        for account, unit, amount in entries:
            name = account_name(account)
            if name not in self._opened:
                # Directives are sorted by date and kind when they are read, so an account may be opened here.
                self._opened.add(name)
                self._line(f"\n{self._book.from_day} open {name}")
            lines.append(f"  {name}  {decimal(amount, unit)} {unit}")
        self._line("\n" + "\n".join(lines))

    async def _balances(self) -> None:
        book = self._book
        after = await book.store.read(
            lambda reader: account_balances(reader, book.merchant_id, book.until_ms)
        )
        day = next_day(book.to_day)
        self._line("")
        for one in after:
            name = account_name(one.account) if is_money(one.unit) else ""
            if name in self._opened and kind_of(one.account).statement in BALANCE_SHEET:
                amount, zero = decimal(one.amount, one.unit), decimal(0, one.unit)
                self._line(f"{day} balance {name}  {amount} ~ {zero} {one.unit}")

    def _line(self, text: str) -> None:
        self._file.write(text + "\n")


def _text(text: str) -> str:
    """Return a string as Beancount writes it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'"{escaped}"'
