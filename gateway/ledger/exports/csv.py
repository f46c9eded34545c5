"""CSV: every entry with nothing left out, goods and digital items too; and what the accounts stand at.

RFC 4180 with ``\\n`` at line ends, UTF-8, a header line. Amounts twice: in minor units, and with a decimal
point.
"""

from __future__ import annotations

import csv
from pathlib import Path

from gateway.kernel.clock import rfc3339
from gateway.ledger.balances import account_balances
from gateway.ledger.chart import kind_of
from gateway.ledger.exports.model import Book, decimal, write_days
from gateway.ledger.journal import transactions

ENTRIES = (
    "time",
    "transaction_id",
    "position",
    "kind",
    "order_id",
    "phase",
    "pending_id",
    "reverses_id",
    "code",
    "effective",
    "account",
    "unit",
    "amount",
    "decimal",
)
BALANCES = (
    "account",
    "unit",
    "statement",
    "debits_posted",
    "credits_posted",
    "debits_pending",
    "credits_pending",
    "balance",
)


async def export(book: Book, folder: Path) -> list[Path]:
    """Write entries, balances at the end of the last day, and the hashes of closed days."""
    stem = f"{book.slug}-{book.from_day}-{book.to_day}"
    entries, balances = folder / f"{stem}-entries.csv", folder / f"{stem}-balances.csv"
    with entries.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(ENTRIES)
        async for one in transactions(book.store, book.merchant_id, book.from_ms, book.until_ms):
            effective = "" if one.effective_at_ms is None else rfc3339(one.effective_at_ms)
            for position, entry in enumerate(one.entries):
                rows.writerow(
                    (
                        rfc3339(one.at_ms),
                        one.transaction_id,
                        position,
                        one.kind,
                        one.order_id,
                        one.phase,
                        one.pending_id,
                        one.reverses_id,
                        one.code,
                        effective,
                        *entry,
                        decimal(entry.amount, entry.unit),
                    )
                )
    found = await book.store.read(lambda reader: account_balances(reader, book.merchant_id, book.until_ms))
    with balances.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(BALANCES)
        for one_balance in found:
            rows.writerow(
                (
                    one_balance.account,
                    one_balance.unit,
                    kind_of(one_balance.account).statement.value,
                    *one_balance[2:],
                    one_balance.amount,
                )
            )
    return [entries, balances, await write_days(book, folder)]
