"""CSV: every entry, and the balances of accounts."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

from gateway.kernel.store.unit import Store
from gateway.ledger.balances import account_balances
from gateway.ledger.closing import days_after
from gateway.ledger.exports.csv import export
from tests.ledger.exports.conftest import book_of
from tests.ledger.trading_day import MERCHANT


async def test_the_entries_of_all_days_sum_to_the_balances(books: Store, tmp_path: Path) -> None:
    entries, balances, days = await export(book_of(books, "2026-12-30", "2027-01-02"), tmp_path)
    sums: dict[tuple[str, str], int] = defaultdict(int)
    per_transaction: dict[tuple[str, str], int] = defaultdict(int)
    with entries.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            per_transaction[row["transaction_id"], row["unit"]] += int(row["amount"])
            assert row["decimal"].replace(".", "").lstrip("-0") == row["amount"].lstrip("-0")
            if row["phase"] in ("", "post"):
                sums[row["account"], row["unit"]] += int(row["amount"])
    assert not any(per_transaction.values())
    with balances.open(encoding="utf-8", newline="") as file:
        told = {(row["account"], row["unit"]): int(row["balance"]) for row in csv.DictReader(file)}
    ours = await books.read(lambda reader: account_balances(reader, MERCHANT))
    assert told == {(one.account, one.unit): one.amount for one in ours}
    assert {key: amount for key, amount in told.items() if amount} == {k: v for k, v in sums.items() if v}
    closed = await books.read(lambda reader: days_after(reader, MERCHANT, ""))
    with days.open(encoding="utf-8", newline="") as file:
        assert [row["hash"] for row in csv.DictReader(file)] == [day.hash for day in closed]
