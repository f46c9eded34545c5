"""Two-phase amounts (L2): reserved, then posted, voided or expired, and resolved at most once."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import ConflictError, InvalidError
from gateway.kernel.store.unit import Store, UnitOfWork
from gateway.ledger import accounts, limits
from gateway.ledger.balances import AccountBalance, account_balances
from gateway.ledger.entries import move
from gateway.ledger.pending import (
    Reservation,
    expire_overdue,
    expire_pending,
    overdue,
    post_pending,
    reservation,
    reserve,
    void_pending,
)
from gateway.ledger.posting import post
from gateway.ledger.verifying import verify
from tests.ledger.memory import memory_store
from tests.support.databases import Database, Gate, queued_together

CLEARING, DEFERRED = accounts.clearing("simulated"), accounts.DEFERRED_REVENUE


def hold(uow: UnitOfWork, amount: int = 5000, name: str = "op_1", expires: int | None = None) -> Reservation:
    return reserve(
        uow,
        "payment.authorized",
        "mer_1",
        "ord_1",
        name,
        unit="EUR",
        amount=amount,
        debit=CLEARING,
        credit=DEFERRED,
        expires_at_ms=expires,
    )


async def sides(store: Store, account: str = CLEARING) -> tuple[int, int]:
    """Posted and pending amounts of an account."""
    found = await store.read(lambda reader: account_balances(reader, "mer_1"))
    balance = {one.account: one for one in found}.get(account, AccountBalance(account, "EUR", 0, 0, 0, 0))
    return balance.amount, balance.pending


async def left(store: Store, name: str = "op_1") -> int:
    found = await store.read(lambda reader: reservation(reader, name))
    assert found is not None
    return found.left


async def test_l2_a_reserved_amount_is_pending_and_not_posted(store: Store) -> None:
    await store.write(hold)
    assert await sides(store) == (0, 5000)
    assert await sides(store, DEFERRED) == (0, -5000)
    found = {one.account: one for one in await store.read(lambda reader: account_balances(reader, "mer_1"))}
    assert found[CLEARING].debits_pending == found[DEFERRED].credits_pending == 5000


async def test_l2_posting_less_than_is_reserved_releases_the_remainder(store: Store) -> None:
    await store.write(hold)
    await store.write(lambda uow: post_pending(uow, "payment.captured", "op_1", 2000))
    assert (await sides(store), await left(store)) == ((2000, 0), 0)


async def test_l2_many_parts_are_posted_and_never_more_than_is_reserved(store: Store) -> None:
    await store.write(hold)
    for _ in range(2):
        await store.write(lambda uow: post_pending(uow, "payment.captured", "op_1", 2000, keep_rest=True))
    assert (await sides(store), await left(store)) == ((4000, 1000), 1000)
    with pytest.raises(InvalidError) as caught:
        await store.write(lambda uow: post_pending(uow, "payment.captured", "op_1", 1001, keep_rest=True))
    assert (caught.value.code, caught.value.data) == ("ledger.pending_exceeded", {"left": 1000})
    await store.write(lambda uow: void_pending(uow, "payment.voided", "op_1"))
    assert (await sides(store), await left(store)) == ((4000, 0), 0)


@pytest.mark.parametrize("resolve", [post_pending, void_pending, expire_pending])
async def test_l2_what_is_resolved_is_not_resolved_again(store: Store, resolve: object) -> None:
    await store.write(hold)
    await store.write(lambda uow: resolve(uow, "x", "op_1"))
    before = await sides(store)
    for again in (post_pending, void_pending, expire_pending):
        with pytest.raises(ConflictError) as caught:
            await store.write(lambda uow, again=again: again(uow, "x", "op_1"))
        assert caught.value.code == "ledger.pending_resolved"
    assert await sides(store) == before


async def test_l2_two_that_resolve_at_once_are_one(database: Database) -> None:
    """In one batch on SQLite, on several connections on PostgreSQL."""
    from gateway.kernel.ids import TimeSortedIds

    store = database.open(ids=TimeSortedIds(database.clock))
    await store.write(hold)
    tries = [store.write(lambda uow: post_pending(uow, "payment.captured", "op_1")) for _ in range(8)]
    if database.dialect == "sqlite":
        done = await queued_together(store, Gate(), tries)
    else:
        done = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(one, Reservation) for one in done) == 1
    assert {one.code for one in done if isinstance(one, ConflictError)} <= {
        "ledger.pending_resolved",
        "ledger.taken",
    }
    assert await sides(store) == (5000, 0)


async def test_l2_the_database_refuses_a_second_resolution(database: Database, store: Store) -> None:
    await store.write(hold)
    await store.write(lambda uow: post_pending(uow, "payment.captured", "op_1"))
    with pytest.raises(Exception, match=r"(?i)unique"):
        database.rows(
            "INSERT INTO ledger_transaction (ledger_transaction_id, kind, merchant_id, at_ms, phase, pending_id, "
            "part, pending_left) VALUES ('ltx_x', 'x', 'mer_1', 0, 'void', 'op_1', 1, 0)"
        )


async def test_l2_an_increment_raises_what_is_reserved(store: Store) -> None:
    await store.write(hold)
    await store.write(lambda uow: hold(uow, 1500))
    assert (await sides(store), await left(store)) == ((0, 6500), 6500)
    with pytest.raises(InvalidError) as caught:
        await store.write(
            lambda uow: reserve(
                uow, "x", "mer_2", None, "op_1", unit="EUR", amount=1, debit=CLEARING, credit=DEFERRED
            )
        )
    assert caught.value.code == "ledger.pending_other"


async def test_l2_time_runs_out(store: Store, clock: ManualClock) -> None:
    if store.dialect == "postgresql":
        pytest.skip("PostgreSQL's own clock decides there")
    await store.write(lambda uow: hold(uow, expires=uow.now_ms + 1000))
    await store.write(lambda uow: hold(uow, name="op_2", expires=uow.now_ms + 1000))
    await store.write(lambda uow: post_pending(uow, "payment.captured", "op_2", 1000, keep_rest=True))
    clock.advance(1000)
    with pytest.raises(ConflictError) as caught:
        await store.write(lambda uow: post_pending(uow, "payment.captured", "op_1"))
    assert caught.value.code == "ledger.pending_expired"
    assert await store.read(lambda reader: overdue(reader, 10)) == ["op_1", "op_2"]
    assert await store.write(expire_overdue) == 2
    assert (await sides(store), await store.write(expire_overdue)) == ((1000, 0), 0)


async def test_l2_nothing_is_reserved_or_posted_for_nothing(store: Store) -> None:
    for amount in (0, -1):
        with pytest.raises(InvalidError):
            await store.write(lambda uow, amount=amount: hold(uow, amount))
    with pytest.raises(InvalidError) as caught:
        await store.write(lambda uow: post_pending(uow, "x", "op_9"))
    assert caught.value.code == "ledger.pending_unknown"


async def test_l3_what_is_reserved_against_a_limit_is_gone_for_others(store: Store) -> None:
    """A voucher of 50.00 cannot secure two orders of 30.00."""
    vouchers = accounts.VOUCHERS_MULTI_PURPOSE

    def secure(uow: UnitOfWork, name: str) -> Reservation:
        return reserve(
            uow, "x", "mer_1", None, name, unit="EUR", amount=3000, debit=vouchers, credit=DEFERRED
        )

    sold = move("EUR", 5000, debit=CLEARING, credit=vouchers)
    await store.write(lambda uow: post(uow, "voucher.sold", "mer_1", None, sold))
    await store.write(lambda uow: secure(uow, "op_1"))
    with pytest.raises(ConflictError) as caught:
        await store.write(lambda uow: secure(uow, "op_2"))
    assert (caught.value.code, caught.value.data["missing"]) == ("ledger.limit", 1000)
    await store.write(lambda uow: void_pending(uow, "x", "op_1"))
    await store.write(lambda uow: secure(uow, "op_2"))
    await store.write(lambda uow: post_pending(uow, "x", "op_2"))
    assert await store.read(lambda reader: limits.room(reader, "mer_1", vouchers, "EUR")) == 2000
    assert await verify(store) == []


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "post", "post_all", "void", "expire"]),
        st.sampled_from(["op_1", "op_2"]),
        st.integers(-5, 120),
    ),
    max_size=25,
)


@given(steps=_STEPS)
@settings(max_examples=60, deadline=None)
def test_l2_no_sequence_of_steps_posts_more_than_was_reserved(steps: list[tuple[str, str, int]]) -> None:
    """P3: posted + released + open = reserved, for every name, whatever is tried in whichever order."""

    async def run() -> None:
        async with memory_store() as store:
            reserved: dict[str, int] = {"op_1": 0, "op_2": 0}
            posted: dict[str, int] = {"op_1": 0, "op_2": 0}
            open_: dict[str, int] = {"op_1": 0, "op_2": 0}
            for step, name, amount in steps:

                def unit(uow: UnitOfWork, step=step, name=name, amount=amount) -> Reservation:
                    match step:
                        case "reserve":
                            return hold(uow, amount, name)
                        case "post":
                            return post_pending(uow, "x", name, amount, keep_rest=True)
                        case "post_all":
                            return post_pending(uow, "x", name)
                        case "void":
                            return void_pending(uow, "x", name, amount)
                        case _:
                            return expire_pending(uow, "x", name)

                try:
                    await store.write(unit)
                except (InvalidError, ConflictError):
                    continue
                match step:
                    case "reserve":
                        reserved[name] += amount
                        open_[name] += amount
                    case "post":
                        posted[name] += amount
                        open_[name] -= amount
                    case "post_all":
                        posted[name] += open_[name]
                        open_[name] = 0
                    case "void":
                        open_[name] -= amount
                    case _:
                        open_[name] = 0
                assert open_[name] >= 0 and posted[name] <= reserved[name]
            assert await sides(store) == (sum(posted.values()), sum(open_.values()))
            assert await sides(store, DEFERRED) == (-sum(posted.values()), -sum(open_.values()))
            assert await verify(store) == []

    asyncio.run(run())
