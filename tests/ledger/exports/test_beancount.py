"""Beancount (L10): the real bean-check accepts every export, and its balances are ours."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.ids import TimeSortedIds
from gateway.kernel.store.sqlite import SqliteStore
from gateway.kernel.store.unit import Store
from gateway.ledger.balances import account_balances
from gateway.ledger.chart import CHART, is_money
from gateway.ledger.closing import close_days
from gateway.ledger.days import DAY_MS, end_of
from gateway.ledger.exports.beancount import account_name, export
from gateway.ledger.exports.model import decimal
from tests.ledger.exports.conftest import START, book_of
from tests.ledger.trading_day import MERCHANT, trade
from tests.support.peers import bean_check, peer_python

_SUMS = """
import json, sys
from collections import defaultdict
from beancount import loader
from beancount.core import data
entries, errors, options = loader.load_file(sys.argv[1])
sums = defaultdict(int)
for entry in data.filter_txns(entries):
    for posting in entry.postings:
        sums[posting.account, posting.units.currency] += posting.units.number
print(json.dumps({"errors": [str(e) for e in errors], "sums": [[*key, str(value)] for key, value in sums.items()]}))
"""


def their_sums(path: Path) -> dict[tuple[str, str], str]:
    """What Beancount's own loader makes of a file, in a process of its own."""
    done = subprocess.run(
        [peer_python(), "-c", _SUMS, path], capture_output=True, text=True, check=True, timeout=100
    )
    told = json.loads(done.stdout)
    assert told["errors"] == []
    return {(account, currency): value for account, currency, value in told["sums"] if float(value)}


async def our_sums(store: Store, until_ms: int, merchant: str = MERCHANT) -> dict[tuple[str, str], str]:
    found = await store.read(lambda reader: account_balances(reader, merchant, until_ms))
    return {
        (account_name(one.account), one.unit): decimal(one.amount, one.unit)
        for one in found
        if one.amount and is_money(one.unit)
    }


@pytest.mark.parametrize(
    ("first", "last"),
    [("2026-12-30", "2027-01-02"), ("2026-12-31", "2027-01-01"), ("2026-12-30", "2026-12-30")],
)
async def test_l10_bean_check_accepts_the_books_and_its_balances_are_ours(
    books: Store, tmp_path: Path, first: str, last: str
) -> None:
    path, days = await export(book_of(books, first, last), tmp_path)
    checked = bean_check(path)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert their_sums(path) == await our_sums(books, end_of(last))
    assert path.read_text().count(" balance ") > 5
    assert len(days.read_text().splitlines()) > 1


async def test_l10_a_wrong_cent_is_refused(books: Store, tmp_path: Path) -> None:
    path, _ = await export(book_of(books, "2026-12-30", "2027-01-02"), tmp_path)
    text = path.read_text()
    bank = next(line for line in text.splitlines() if " balance Assets:Bank:Main" in line and "EUR" in line)
    amount = bank.split()[3]
    path.write_text(text.replace(bank, bank.replace(amount, amount[:-1] + str((int(amount[-1]) + 1) % 10))))
    assert bean_check(path).returncode != 0


async def test_l10_the_same_books_give_the_same_file(books: Store, tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        await export(book_of(books, "2026-12-30", "2027-01-02"), folder)
    one, two = ([path.read_bytes() for path in sorted(folder.iterdir())] for folder in folders)
    assert one == two


async def test_l10_bean_check_passes_on_a_random_day_of_5000_orders(tmp_path: Path) -> None:
    clock = ManualClock(START)
    path = tmp_path / "gateway.db"
    from gateway.app import MIGRATIONS
    from gateway.kernel.migrate import upgrade_sqlite

    upgrade_sqlite(path, MIGRATIONS)
    store = SqliteStore(path, clock, TimeSortedIds(clock))
    try:
        await trade(store, clock, 5000, seed=2026)
        clock.advance(2 * DAY_MS)
        assert len(await close_days(store)) == 1
        ledger, _ = await export(book_of(store, "2026-12-30", "2026-12-30"), tmp_path)
        checked = bean_check(ledger)
        assert (checked.returncode, checked.stderr) == (0, "")
        assert their_sums(ledger) == await our_sums(store, end_of("2026-12-30"))
    finally:
        await store.close()


def test_l10_no_two_accounts_share_a_name() -> None:
    names = [
        *(kind.name + ("x" if kind.name.endswith(":") else "") for kind in CHART),
        *(
            "asset:cash:till_1",
            "asset:cash:till-1",
            "asset:cash:Till_1",
            "asset:cash:till 1",
            "asset:cash:Kasse ß",
        ),
    ]
    money = [name for name in names if not name.startswith(("stock:", "goods:", "tokens:"))]
    found = {account_name(name) for name in money}
    assert len(found) == len(money)
