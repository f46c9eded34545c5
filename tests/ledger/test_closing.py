"""Closed days (L4): closings, hashes, and the check that computes everything again."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.kernel.clock import ManualClock
from gateway.kernel.store.unit import Store, UnitOfWork
from gateway.ledger import accounts
from gateway.ledger.balances import AccountBalance, account_balances, last_closed_day, moved
from gateway.ledger.closing import GENESIS, GRACE_MS, close_day, close_days, days_after
from gateway.ledger.days import DAY_MS, day_of, end_of, next_day, start_of
from gateway.ledger.entries import move
from gateway.ledger.merkle import MerkleRoot, root_of
from gateway.ledger.pending import post_pending, reserve
from gateway.ledger.posting import post
from gateway.ledger.verifying import verify
from tests.support.damage import unguard
from tests.support.stores import gateway_store

_ACCOUNTS = (accounts.bank("main"), accounts.clearing("simulated"), accounts.SUSPENSE, accounts.cash("1"))


async def trade(store: Store, chance: random.Random, merchant_id: str = "mer_1") -> None:
    """Post a few transactions and reserve and post an amount."""

    def unit(uow: UnitOfWork) -> None:
        for _ in range(3):
            debit, credit = chance.sample(_ACCOUNTS[:3], 2)
            unit_ = chance.choice(("EUR", "JPY"))
            post(uow, "x", merchant_id, None, move(unit_, chance.randint(1, 999), debit=debit, credit=credit))
        post(uow, "x", merchant_id, None, move("EUR", 1, debit=_ACCOUNTS[3], credit=_ACCOUNTS[2]))
        name = f"op_{chance.random()}"
        reserve(
            uow, "a", merchant_id, None, name, unit="EUR", amount=100, debit=_ACCOUNTS[1], credit=_ACCOUNTS[2]
        )
        if chance.random() < 0.5:
            post_pending(uow, "c", name, chance.randint(1, 100), keep_rest=True)

    seed = chance.getstate()

    def again(uow: UnitOfWork) -> None:
        chance.setstate(seed)
        unit(uow)

    await store.write(again)


async def balances_now(store: Store, until: int = 2**62) -> list[AccountBalance]:
    return await store.read(lambda reader: account_balances(reader, "mer_1", until))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gateway.db"


async def test_l4_a_day_is_closed_when_it_is_over_and_not_before(tmp_path: Path) -> None:
    clock = ManualClock()
    async with gateway_store(tmp_path, clock) as store:
        await trade(store, random.Random(1))
        day = day_of(clock.now_ms())
        clock.advance(end_of(day) + GRACE_MS - 1 - clock.now_ms())
        assert await close_days(store) == []
        clock.advance(1)
        (closed,) = await close_days(store)
        assert (closed.day, closed.transactions) == (day, await count(store))
        assert await close_days(store) == []
        assert await store.read(lambda reader: last_closed_day(reader, "mer_1")) == day


async def count(store: Store) -> int:
    from sqlalchemy import text

    found = await store.read(
        lambda reader: reader.core(text("SELECT count(*) FROM ledger_transaction")).scalar_one()
    )
    return int(found)


@pytest.mark.parametrize("seed", range(3))
async def test_l4_balances_are_the_last_closing_and_the_entries_since(tmp_path: Path, seed: int) -> None:
    """The same figures whether days are closed or not, at every moment, also over days without trade."""
    chance, clock = random.Random(seed), ManualClock()
    async with gateway_store(tmp_path, clock) as store:
        moments = []
        for _ in range(12):
            await trade(store, chance)
            await trade(store, chance, "mer_2")
            clock.advance(chance.choice((3_600_000, DAY_MS // 2, 3 * DAY_MS)))
            moments.append(clock.now_ms())
        open_ = [await balances_now(store, moment) for moment in moments]
        whole = await store.read(lambda reader: moved(reader, "mer_1", 0, 2**62))
        assert open_[-1] == whole
        assert len(await close_days(store)) > 4
        assert [await balances_now(store, moment) for moment in moments] == open_
        assert await balances_now(store) == open_[-1]
        assert await verify(store) == []


async def test_l4_days_are_chained_and_one_way_to_close_gives_one_hash(tmp_path: Path) -> None:
    clock = ManualClock()
    async with gateway_store(tmp_path, clock) as store:
        chance = random.Random(7)
        for _ in range(3):
            await trade(store, chance)
            clock.advance(DAY_MS)
        days = await close_days(store)
        again = [await close_day(store, "mer_1", day.day) for day in days]
        assert [day.hash for day in again] == [day.hash for day in days]
        stored = await store.read(lambda reader: days_after(reader, "mer_1", ""))
        assert [day.hash for day in stored] == [day.hash for day in days]
        assert len({day.hash for day in days} | {GENESIS}) == len(days) + 1


DAMAGE = [
    "UPDATE ledger_entry SET amount = amount + 1 WHERE position = 0 AND account LIKE 'asset:bank%'",
    "UPDATE ledger_entry SET account = 'asset:bank:other' WHERE account = 'asset:bank:main'",
    "UPDATE ledger_transaction SET kind = 'y' WHERE ledger_transaction_id = (SELECT min(ledger_transaction_id) "
    "FROM ledger_transaction)",
    "UPDATE ledger_transaction SET at_ms = at_ms - 86400000 * 9 WHERE ledger_transaction_id = "
    "(SELECT max(ledger_transaction_id) FROM ledger_transaction)",
    "DELETE FROM ledger_transaction WHERE ledger_transaction_id = (SELECT min(ledger_transaction_id) FROM "
    "ledger_transaction)",
    "DELETE FROM ledger_entry WHERE position = 1",
    "UPDATE ledger_closing SET debits_posted = debits_posted + 1",
    "UPDATE ledger_closing SET credits_pending = credits_pending + 1",
    "DELETE FROM ledger_closing WHERE unit = 'EUR'",
    "UPDATE ledger_day SET root = hash WHERE day = (SELECT min(day) FROM ledger_day)",
    "DELETE FROM ledger_day WHERE day = (SELECT min(day) FROM ledger_day)",
    "UPDATE ledger_balance SET amount = amount + 1",
    "DELETE FROM ledger_balance",
]


@pytest.mark.parametrize("statement", DAMAGE)
async def test_l4_whatever_is_damaged_the_check_finds_it(tmp_path: Path, path: Path, statement: str) -> None:
    clock = ManualClock()
    async with gateway_store(tmp_path, clock) as store:
        chance = random.Random(3)
        for _ in range(3):
            await trade(store, chance)
            clock.advance(DAY_MS)
        await close_days(store)
        await trade(store, chance)
        assert await verify(store) == []
        connection = sqlite3.connect(path)
        unguard(connection)
        assert connection.execute(statement).rowcount
        connection.commit()
        connection.close()
        assert await verify(store) != []


async def test_l4_a_transaction_that_is_slipped_into_a_closed_day_is_found(tmp_path: Path) -> None:
    clock = ManualClock()
    async with gateway_store(tmp_path, clock) as store:
        await trade(store, random.Random(3))
        clock.advance(3 * DAY_MS)
        await close_days(store)
        connection = sqlite3.connect(tmp_path / "gateway.db")
        # Inserting is what the triggers allow.
        at_ms = clock.now_ms() - 3 * DAY_MS
        connection.execute(
            "INSERT INTO ledger_transaction (ledger_transaction_id, kind, merchant_id, at_ms) "
            "VALUES ('ltx_x', 'x', 'mer_1', ?)",
            (at_ms,),
        )
        connection.execute(
            "INSERT INTO ledger_entry VALUES ('ltx_x', 0, 'asset:suspense', 'EUR', 5), "
            "('ltx_x', 1, 'asset:bank:main', 'EUR', -5)"
        )
        connection.commit()
        connection.close()
        found = [problem.what for problem in await verify(store)]
        assert any("hash" in what for what in found) and any("transactions" in what for what in found)


@given(leaves=st.lists(st.binary(max_size=8), max_size=70))
def test_the_root_that_grows_is_the_standards_root(leaves: list[bytes]) -> None:
    tree = MerkleRoot()
    for leaf in leaves:
        tree.add(leaf)
    assert tree.root() == root_of(leaves)


def test_roots_are_those_of_the_standards_test_vectors() -> None:
    """RFC 6962 test vectors of the certificate transparency code: the first eight trees."""
    leaves = [
        bytes.fromhex(text)
        for text in (
            *("", "00", "10", "2021", "3031", "40414243"),
            *("5051525354555657", "606162636465666768696a6b6c6d6e6f"),
        )
    ]
    assert root_of(leaves[:0]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert root_of(leaves[:1]) == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert root_of(leaves) == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


@given(at_ms=st.integers(0, 4_000_000_000_000))
def test_a_moment_lies_in_its_day(at_ms: int) -> None:
    day = day_of(at_ms)
    assert start_of(day) <= at_ms < end_of(day) == start_of(next_day(day))
