"""An order's life in the books: what each fact posts (L2, L6, L7)."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from gateway.kernel.errors import InvalidError
from gateway.kernel.money import Money
from gateway.kernel.store.unit import Store
from gateway.ledger.balances import account_balances
from gateway.ledger.verifying import verify
from gateway.orders import books
from tests.ledger.memory import memory_store
from tests.ledger.trading_day import MERCHANT, Order

ORDER, AUTHORIZATION = "ord_1", "op_1"
CLEARING, DEFERRED, REVENUE = "asset:clearing:simulated", "liability:deferred_revenue", "income:revenue:"


def of_an_order(chance: int = 1, count: int = 2) -> list[Any]:
    order: Any = Order(None, ORDER, "EUR")
    return [order.leg(random.Random(chance + index), index) for index in range(count)]


async def post(store: Store, *facts: Callable[[Any], Any]) -> None:
    for fact in facts:
        await store.write(lambda uow, fact=fact: fact(Order(uow, ORDER, "EUR")) and None)


async def balances(store: Store) -> dict[str, tuple[int, int]]:
    found = await store.read(lambda reader: account_balances(reader, MERCHANT))
    return {one.account: (one.amount, one.pending) for one in found if one.amount or one.pending}


async def test_l7_capture_is_deferred_and_delivery_earns_it() -> None:
    (leg,) = of_an_order(count=1)
    gross, tax = leg.amount_minor, leg.tax_minor
    revenue, vat = f"{REVENUE}{leg.tax_category}", f"liability:vat:{leg.tax_country}:{leg.tax_rate_bps}"
    async with memory_store() as store:
        await post(store, lambda order: books.post_authorized(order, leg.amount, "simulated", AUTHORIZATION))
        assert await balances(store) == {CLEARING: (0, gross), DEFERRED: (0, -gross)}
        await post(store, lambda order: books.post_captured(order, leg.amount, "simulated", AUTHORIZATION))
        assert await balances(store) == {CLEARING: (gross, 0), DEFERRED: (-gross, 0)}
        await post(store, lambda order: books.post_delivered(order, leg))
        assert await balances(store) == {CLEARING: (gross, 0), revenue: (tax - gross, 0), vat: (-tax, 0)}
        # A return reverses both.
        await post(store, lambda order: books.post_refunded(order, leg, "simulated"))
        assert await balances(store) == {}
        assert await verify(store) == []


async def test_l2_each_leg_is_posted_out_of_one_authorization_and_the_rest_is_voided() -> None:
    one, two = of_an_order()
    total = one.amount + two.amount
    async with memory_store() as store:
        await post(
            store,
            lambda order: books.post_authorized(order, total, "simulated", AUTHORIZATION),
            lambda order: books.post_captured(order, one.amount, "simulated", AUTHORIZATION),
        )
        assert (await balances(store))[CLEARING] == (one.amount_minor, two.amount_minor)
        await post(store, lambda order: books.post_voided(order, two.amount, AUTHORIZATION))
        assert (await balances(store))[CLEARING] == (one.amount_minor, 0)
        # Nothing is held any more: told again, it changes nothing.
        await post(
            store,
            lambda order: books.post_voided(order, two.amount, AUTHORIZATION),
            lambda order: books.post_expired(order, AUTHORIZATION),
        )
        assert (await balances(store))[CLEARING] == (one.amount_minor, 0)


async def test_l2_more_than_is_held_is_posted_where_the_provider_allows_it() -> None:
    (leg,) = of_an_order(count=1)
    async with memory_store() as store:
        held = leg.amount - Money(1, "EUR")
        await post(
            store,
            lambda order: books.post_authorized(order, held, "simulated", AUTHORIZATION),
            lambda order: books.post_captured(order, leg.amount, "simulated", AUTHORIZATION),
        )
        assert (await balances(store))[CLEARING] == (leg.amount_minor, 0)


async def test_l6_what_is_delivered_unpaid_is_owed_per_order_until_it_is_paid() -> None:
    (leg,) = of_an_order(count=1)
    async with memory_store() as store:
        await post(store, lambda order: books.post_delivered_unpaid(order, leg))
        assert (await balances(store))[f"asset:receivable:{ORDER}"] == (leg.amount_minor, 0)
        await post(store, lambda order: books.post_receivable_paid(order, leg.amount, "cash:till_1"))
        found = await balances(store)
        assert f"asset:receivable:{ORDER}" not in found
        assert found["asset:cash:till_1"] == (leg.amount_minor, 0)


async def test_p17_a_refund_that_is_paid_another_way_is_owed_in_between() -> None:
    (leg,) = of_an_order(count=1)
    async with memory_store() as store:
        await post(
            store,
            lambda order: books.post_captured(order, leg.amount, "simulated", None),
            lambda order: books.post_delivered(order, leg),
            lambda order: books.post_refund_owed(order, leg),
        )
        assert (await balances(store))["liability:refunds_payable"] == (-leg.amount_minor, 0)
        await post(store, lambda order: books.post_paid_out(order, leg.amount, "stripe"))
        assert await balances(store) == {
            CLEARING: (leg.amount_minor, 0),
            "asset:clearing:stripe": (-leg.amount_minor, 0),
        }


async def test_p18_an_order_paid_in_cash() -> None:
    async with memory_store() as store:
        due, tendered = Money(1203, "EUR"), Money(2000, "EUR")

        async def take(amount: Money) -> Money:
            return await store.write(
                lambda uow: books.post_cash_taken(
                    Order(uow, ORDER, "EUR"),
                    due,
                    amount,
                    country="NL",
                    drawer="till_1",
                )
            )

        assert await take(tendered) == Money(795, "EUR")
        assert await balances(store) == {
            "asset:cash:till_1": (1205, 0),
            "expense:rounding": (-2, 0),
            DEFERRED: (-1203, 0),
        }
        with pytest.raises(InvalidError):
            await take(Money(1204, "EUR"))


async def test_a_voucher_that_was_sold_elsewhere_pays_without_being_owed_here() -> None:
    async with memory_store() as store:
        await post(
            store,
            lambda order: books.post_authorized(order, Money(3000, "EUR"), "voucher", AUTHORIZATION),
            lambda order: books.post_captured(order, Money(3000, "EUR"), "voucher", AUTHORIZATION),
        )
        assert (await balances(store))["asset:clearing:voucher"] == (3000, 0)


async def test_a_voucher_pays_out_of_what_is_owed_for_it() -> None:
    from gateway.ledger.entries import move
    from gateway.ledger.posting import post as post_entries

    async with memory_store() as store:
        sold = move("EUR", 5000, debit="asset:bank:main", credit="liability:vouchers:multi_purpose")
        await store.write(lambda uow: post_entries(uow, "voucher.sold", MERCHANT, None, sold))
        await post(
            store,
            lambda order: books.post_authorized(order, Money(3000, "EUR"), "voucher", AUTHORIZATION),
            lambda order: books.post_captured(order, Money(3000, "EUR"), "voucher", AUTHORIZATION),
        )
        assert (await balances(store))["liability:vouchers:multi_purpose"] == (-2000, 0)
        assert await verify(store) == []
