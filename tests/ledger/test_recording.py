"""Repeats, reversals and limits (L1, L3)."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from gateway.kernel.errors import ConflictError, InvalidError
from gateway.kernel.ids import CountingIds
from gateway.kernel.store.unit import Store, UnitOfWork
from gateway.ledger import accounts, limits
from gateway.ledger.entries import Entry, move
from gateway.ledger.pending import reserve
from gateway.ledger.posting import LedgerTransactionId, balances, post
from gateway.ledger.recording import Recorded, record, reverse
from gateway.ledger.tables import ledger_transaction
from gateway.ledger.verifying import verify

BANK, SUSPENSE = accounts.bank("main"), accounts.SUSPENSE
ID = CountingIds().new(LedgerTransactionId)


def booked(uow: UnitOfWork, amount: int = 500, **fields: object) -> Recorded:
    entries = move("EUR", amount, debit=BANK, credit=SUSPENSE)
    return record(uow, "bank.unexplained", "mer_1", None, entries, **fields)


async def bank_balance(store: Store) -> int:
    found = await store.read(lambda reader: balances(reader, "mer_1"))
    return {one.account: one.amount for one in found}.get(BANK, 0)


async def test_l3_the_same_id_with_equal_fields_exists(store: Store) -> None:
    assert await store.write(lambda uow: booked(uow, transaction_id=ID)) == (ID, False)
    assert await store.write(lambda uow: booked(uow, transaction_id=ID)) == (ID, True)
    assert await bank_balance(store) == 500


@pytest.mark.parametrize(
    "other", [{"amount": 501}, {"code": "x"}, {"effective_at_ms": 5}], ids=["amount", "code", "date"]
)
async def test_l3_the_same_id_with_different_fields_is_refused(
    store: Store, other: dict[str, object]
) -> None:
    await store.write(lambda uow: booked(uow, transaction_id=ID))
    with pytest.raises(ConflictError) as caught:
        await store.write(lambda uow: booked(uow, transaction_id=ID, **other))
    assert caught.value.code == "ledger.id_reused"
    assert await bank_balance(store) == 500


async def test_l1_a_correction_is_a_reversal_that_names_what_it_takes_back_once(store: Store) -> None:
    first = await store.write(booked)
    second = await store.write(lambda uow: reverse(uow, first.transaction_id, "entered_twice"))
    assert await bank_balance(store) == 0
    for _ in range(2):
        with pytest.raises(ConflictError) as caught:
            await store.write(lambda uow: reverse(uow, first.transaction_id, "entered_twice"))
        assert caught.value.code == "ledger.taken"
    # A reversal made by mistake is taken back like any other.
    await store.write(lambda uow: reverse(uow, second.transaction_id, "was_right"))
    assert await bank_balance(store) == 500


async def test_l1_what_is_pending_or_unknown_is_not_reversed(store: Store) -> None:
    await store.write(
        lambda uow: reserve(
            uow, "x", "mer_1", None, "op_1", unit="EUR", amount=1, debit=BANK, credit=SUSPENSE
        )
    )
    (row,) = await store.read(lambda reader: reader.core(select(ledger_transaction)).all())
    for name in (row.ledger_transaction_id, "ltx_none"):
        with pytest.raises(InvalidError) as caught:
            await store.write(lambda uow, name=name: reverse(uow, name, "x"))
        assert caught.value.code == "ledger.not_reversible"


@pytest.mark.parametrize(
    "entries",
    [
        [Entry(BANK, "EUR", 1)],
        [Entry(BANK, "EUR", 1), Entry(SUSPENSE, "USD", -1)],
        [Entry(BANK, "EUR", 0), Entry(SUSPENSE, "EUR", 0)],
    ],
)
async def test_l1_fewer_than_two_entries_or_a_rest_are_refused(store: Store, entries: list[Entry]) -> None:
    with pytest.raises(InvalidError) as caught:
        await store.write(lambda uow: record(uow, "x", "mer_1", None, entries))
    assert caught.value.code == "ledger.unbalanced"


async def test_l5_an_amount_is_a_whole_number(store: Store) -> None:
    with pytest.raises(TypeError):
        await store.write(
            lambda uow: record(
                uow, "x", "mer_1", None, [Entry(BANK, "EUR", 1.0), Entry(SUSPENSE, "EUR", -1.0)]
            )
        )


@pytest.mark.parametrize(
    ("account", "unit", "sign"),
    [
        (accounts.VOUCHERS_MULTI_PURPOSE, "EUR", -1),
        (accounts.VOUCHERS_SINGLE_PURPOSE, "EUR", -1),
        (accounts.stock_available("BERLIN"), "sku:LAMP", 1),
        (accounts.cash("1"), "CHF", 1),
    ],
)
async def test_l3_a_limited_account_never_leaves_its_side(
    store: Store, account: str, unit: str, sign: int
) -> None:
    def book(uow: UnitOfWork, amount: int) -> None:
        post(uow, "x", "mer_1", None, move(unit, sign * amount, debit=account, credit="asset:suspense"))

    await store.write(lambda uow: book(uow, 3))
    await store.write(lambda uow: book(uow, -2))
    with pytest.raises(ConflictError) as caught:
        await store.write(lambda uow: book(uow, -2))
    assert caught.value.data == {"account": account, "unit": unit, "missing": 1}
    await store.write(lambda uow: book(uow, -1))
    assert await store.read(lambda reader: limits.room(reader, "mer_1", account, unit)) == 0
    # Nobody else's room.
    with pytest.raises(ConflictError):
        await store.write(
            lambda uow: post(
                uow, "x", "mer_2", None, move(unit, -sign, debit=account, credit="asset:suspense")
            )
        )
    assert await verify(store) == []


async def test_l3_tender_and_change_of_one_transaction_count_as_one(store: Store) -> None:
    drawer = accounts.cash("1")
    entries = [
        Entry(drawer, "EUR", -300),
        Entry(drawer, "EUR", 500),
        Entry(accounts.DEFERRED_REVENUE, "EUR", -200),
    ]
    await store.write(lambda uow: post(uow, "cash.taken", "mer_1", None, entries))
    assert await store.read(lambda reader: limits.room(reader, "mer_1", drawer, "EUR")) == 200


async def test_l3_linked_transactions_all_happen_or_none(store: Store) -> None:
    """One unit of work is one link: the second transaction's limit undoes the first."""

    def both(uow: UnitOfWork) -> None:
        booked(uow)
        post(uow, "x", "mer_1", None, move("EUR", 1, debit=SUSPENSE, credit=accounts.cash("1")))

    with pytest.raises(Exception, match=r"refused after writing|would leave its side"):
        await store.write(both)
    assert await bank_balance(store) == 0
    await store.write(booked)
    assert await bank_balance(store) == 500
