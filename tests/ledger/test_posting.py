"""The books: every transaction sums to zero per unit."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.kernel.errors import InvalidError
from gateway.ledger.posting import Entry, balances, move, post, unbalanced_transactions
from tests.support.stores import gateway_store


@given(amount=st.integers(-(10**15), 10**15), unit=st.sampled_from(["EUR", "JPY", "sku:A", "token:7"]))
def test_a_move_sums_to_zero(amount: int, unit: str) -> None:
    assert sum(entry.amount for entry in move(unit, amount, debit="a", credit="b")) == 0


async def test_balances_are_the_sums_of_entries_by_merchant(tmp_path: Path) -> None:
    async with gateway_store(tmp_path) as store:
        await store.write(lambda uow: post(uow, "x", "mer_1", None, move("EUR", 500, debit="a", credit="b")))
        await store.write(lambda uow: post(uow, "x", "mer_1", None, move("EUR", -200, debit="a", credit="b")))
        await store.write(lambda uow: post(uow, "x", "mer_2", None, move("EUR", 900, debit="a", credit="b")))
        found = await store.read(lambda reader: balances(reader, "mer_1"))
        assert [(one.account, one.amount) for one in found] == [("a", 300), ("b", -300)]
        assert await store.read(lambda reader: unbalanced_transactions(reader)) == []


@pytest.mark.parametrize(
    "entries",
    [
        [Entry("a", "EUR", 1)],
        [Entry("a", "EUR", 1), Entry("b", "USD", -1)],
        [Entry("a", "EUR", 2), Entry("b", "EUR", -1)],
    ],
)
async def test_what_does_not_sum_to_zero_per_unit_is_refused(tmp_path: Path, entries: list[Entry]) -> None:
    async with gateway_store(tmp_path) as store:
        with pytest.raises(InvalidError) as caught:
            await store.write(lambda uow: post(uow, "x", "mer_1", None, entries))
        assert caught.value.code == "ledger.unbalanced"
        assert await store.read(lambda reader: balances(reader, "mer_1")) == []


async def test_nothing_is_posted_for_nothing(tmp_path: Path) -> None:
    async with gateway_store(tmp_path) as store:
        await store.write(lambda uow: post(uow, "x", "mer_1", None, move("EUR", 0, debit="a", credit="b")))
        assert await store.read(lambda reader: balances(reader, "mer_1")) == []
