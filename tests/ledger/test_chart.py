"""The chart of accounts (L6), cash (P18) and exchange (L5)."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import InvalidError
from gateway.kernel.money import Money
from gateway.ledger import accounts
from gateway.ledger.cash import cash_counted, cash_given, cash_taken
from gateway.ledger.chart import CHART, Side, Statement, is_limited, kind_of
from gateway.ledger.entries import Entry
from gateway.ledger.exchange import exchanged
from gateway.ledger.posting import balances
from tests.ledger.memory import memory_store
from tests.ledger.trading_day import MERCHANT, trade
from wallets.vault.providers.cash_rounding import cash_amount

L6 = [
    *("asset:receivable:ord_1", "asset:clearing:simulated", "asset:bank:main", "expense:card_fees:stripe"),
    *("expense:scheme_fees:stripe", "expense:chargebacks", "liability:refunds_payable"),
    *("liability:deferred_revenue", "income:revenue:books", "liability:vat:DE:1900"),
    *("liability:vouchers:multi_purpose", "liability:vouchers:single_purpose", "asset:cash:till_1"),
    *("expense:cash_variance", "expense:rounding", "liability:royalties:studio", "asset:suspense"),
    "asset:fx_clearing",
]


@pytest.mark.parametrize("account", L6)
def test_l6_the_accounts_are_in_the_chart(account: str) -> None:
    kind = kind_of(account)
    assert kind.meaning and account.startswith(kind.name)


def test_l6_every_account_that_can_be_named_is_in_the_chart() -> None:
    for name, made in vars(accounts).items():
        if inspect.isfunction(made):
            arguments = ["x"] * len(inspect.signature(made).parameters)
            assert kind_of(made(*arguments)), name
        elif name.isupper():
            assert kind_of(made), name


@pytest.mark.parametrize("account", ["", "asset", "asset:", "asset:bank:", "other:thing", "income:revenue:"])
def test_l6_what_is_not_in_the_chart_has_no_meaning(account: str) -> None:
    with pytest.raises(InvalidError):
        kind_of(account)


async def test_l6_every_account_that_is_posted_is_in_the_chart() -> None:
    clock = ManualClock()
    async with memory_store(clock) as store:
        await trade(store, clock, 200)
        posted = {one.account for one in await store.read(lambda reader: balances(reader, MERCHANT))}
        assert len(posted) > 15
        for account in posted:
            assert kind_of(account)


def test_l6_sides_follow_from_the_statement() -> None:
    usual = {
        Statement.ASSET: {Side.DEBIT, Side.EITHER},
        Statement.LIABILITY: {Side.CREDIT},
        Statement.INCOME: {Side.CREDIT},
        Statement.EXPENSE: {Side.DEBIT, Side.EITHER},
    }
    for kind in CHART:
        assert kind.side in usual.get(kind.statement, set(Side)), kind
        assert kind.limited == is_limited(kind.name + "x" * kind.name.endswith(":"))
        assert not kind.limited or kind.side is not Side.EITHER


def test_p18_tender_and_change_and_rounding_are_lines_of_their_own() -> None:
    due, tendered = Money(1203, "CHF"), Money(2000, "CHF")
    total = cash_amount(due, "CH")
    assert total == Money(1205, "CHF")
    assert cash_taken(due, total, tendered, drawer="1", credit=accounts.DEFERRED_REVENUE) == (
        Entry("asset:cash:1", "CHF", 2000),
        Entry("asset:cash:1", "CHF", -795),
        Entry("expense:rounding", "CHF", -2),
        Entry("liability:deferred_revenue", "CHF", -1203),
    )


def test_p18_less_than_is_due_is_refused() -> None:
    with pytest.raises(InvalidError) as caught:
        cash_taken(Money(1203, "CHF"), Money(1205, "CHF"), Money(1200, "CHF"), drawer="1", credit="x")
    assert (caught.value.code, caught.value.data) == ("cash.not_enough", {"missing": 5})


def test_p18_a_count_that_is_short_is_an_expense() -> None:
    assert cash_counted(Money(500, "EUR"), Money(480, "EUR"), drawer="1") == (
        Entry("asset:cash:1", "EUR", -20),
        Entry("expense:cash_variance", "EUR", 20),
    )


@given(due=st.integers(0, 10**6), more=st.integers(0, 10**6), place=st.sampled_from(["CH", "NL", "SE", "DE"]))
def test_p18_cash_entries_sum_to_zero(due: int, more: int, place: str) -> None:
    currency = {"CH": "CHF", "SE": "SEK"}.get(place, "EUR")
    owed = Money(due, currency)
    total = cash_amount(owed, place)
    taken = cash_taken(owed, total, total + Money(more, currency), drawer="1", credit="x")
    given_back = cash_given(owed, total, drawer="1", debit="x")
    assert sum(entry.amount for entry in taken) == sum(entry.amount for entry in given_back) == 0


def test_l5_an_exchange_is_two_legs_of_one_currency_each() -> None:
    entries = exchanged(
        Money(1000, "USD"), Money(921, "EUR"), out_of="asset:bank:usd", into="asset:bank:main"
    )
    for currency in ("USD", "EUR"):
        leg = [entry for entry in entries if entry.unit == currency]
        assert len(leg) == 2 and sum(entry.amount for entry in leg) == 0
        assert accounts.FX_CLEARING in {entry.account for entry in leg}
    with pytest.raises(InvalidError):
        exchanged(Money(1, "EUR"), Money(1, "EUR"), out_of="a", into="b")
