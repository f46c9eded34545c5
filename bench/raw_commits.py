"""The comparison for ``order.place``: the same rows on bare ``sqlite3``, 64 orders to a commit.

It works on a copy of the gateway's database, taken when the quotes were made and not yet ordered: the same
tables and indexes, as full as the gateway's own. Every order of the comparison writes what the gateway wrote
for one order of that format, with ids of its own. Values are made beforehand; timed are the statements and
the commits alone: WAL, synchronous=FULL, one ``executemany`` per statement and commit.
"""

from __future__ import annotations

import itertools
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.rows import ID, Write

BATCH = 64


@dataclass(frozen=True, slots=True)
class Template:
    """What one order of a format wrote, and which ids stood for what."""

    format: str
    writes: list[Write]
    quote: dict[str, Any]
    holds: list[str]
    stream_row: dict[str, Any]
    known_ids: frozenset[str]
    """Ids that were there before the order; all others in the rows are new with it."""


@dataclass(frozen=True, slots=True)
class OpenQuote:
    """A quote of the copy that has not been ordered."""

    quote: dict[str, Any]
    holds: list[str]


def copy_database(source: Path, target: Path) -> None:
    """Copy a database that may be in use, as one committed state."""
    with sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True) as old:
        new = sqlite3.connect(target)
        old.backup(new)
        new.close()
    old.close()


class RawOrders:
    """Orders as plain rows on a copy of the database."""

    def __init__(self, path: Path, templates: dict[str, Template]) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-32768", "foreign_keys=ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._templates = templates
        # Ids count up, like the gateway's: random ones would fill the indexes in another way.
        self._tails = itertools.count(1)
        self._seqs: dict[str, int] = {
            row["stream"]: row["seq"] for row in self._connection.execute("SELECT stream, seq FROM stream")
        }
        self._open = self._open_quotes()

    def commit_orders(self, count: int) -> float:
        """Write so many orders and return the seconds their statements and commits took."""
        batches = list(self._batches(count))
        execute = self._connection.execute
        executemany = self._connection.executemany
        began = time.perf_counter()
        for batch in batches:
            execute("BEGIN IMMEDIATE")
            for sql, rows in batch.items():
                executemany(sql, rows)
            execute("COMMIT")
        return time.perf_counter() - began

    def close(self) -> None:
        """Close the copy."""
        self._connection.close()

    def _batches(self, count: int) -> Iterator[dict[str, list[list[Any]]]]:
        while count > 0:
            batch: dict[str, list[list[Any]]] = {}
            for _ in range(min(count, BATCH)):
                bought, target = self._open.pop()
                for sql, row in self._one_order(self._templates[bought], target):
                    batch.setdefault(sql, []).append(row)
            count -= BATCH
            yield batch

    def _one_order(self, template: Template, target: OpenQuote) -> Iterator[tuple[str, list[Any]]]:
        customer = target.quote["customer_id"]
        # Rows that existed are those of the quote being ordered; everything else gets a fresh id.
        names: dict[str, str] = {
            template.quote["customer_id"]: customer,
            template.quote["device_id"]: target.quote["device_id"],
            template.quote["quote_id"]: target.quote["quote_id"],
            **dict(zip(template.holds, target.holds, strict=True)),
        }
        at_ms = f"{time.time_ns() // 1_000_000:012x}"

        def name(found: Any) -> str:
            text: str = found.group()
            if text not in names:
                # An id that stays is one the order shares with others: the merchant, a payment method.
                fresh = f"{found.group(1)}_{at_ms}{next(self._tails):016x}"
                names[text] = text if text in template.known_ids else fresh
            return names[text]

        def value(column: str, given: Any) -> Any:
            if isinstance(given, str):
                return ID.sub(name, given)
            if column == "seq":
                return self._seqs[customer] + given - template.stream_row["seq"]
            return given

        for write in template.writes:
            row = [value(column, given) for column, given in write.values.items()]
            row += [value(column, given) for column, given in write.key.items()]
            yield write.sql, row
        self._seqs[customer] += sum(write.inserts and write.table == "event" for write in template.writes)

    def _open_quotes(self) -> list[tuple[str, OpenQuote]]:
        holds: dict[str, list[str]] = {}
        for row in self._connection.execute(
            "SELECT quote_id, hold_id FROM inventory_hold ORDER BY ref, hold_id"
        ):
            holds.setdefault(row["quote_id"], []).append(row["hold_id"])
        found = []
        for row in self._connection.execute(
            "SELECT *, json_extract(plan, '$.lines[0].format') AS format FROM quote "
            "WHERE state = 'open' ORDER BY quote_id DESC"
        ):
            found.append((row["format"], OpenQuote(dict(row), holds.get(row["quote_id"], []))))
        return found
