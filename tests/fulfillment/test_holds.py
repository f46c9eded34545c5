from __future__ import annotations

import asyncio

import pytest

from fulfillment import expiry, inventory
from fulfillment.model import HoldLimits, PoolKind, Want
from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import ConflictError, InvalidError, NotFoundError
from gateway.kernel.store.unit import Store
from gateway.kernel.subjects import CustomerId, DeviceId
from tests.fulfillment.world import (
    LAMP,
    MINUTE_MS,
    SHOE,
    SKIN,
    counts,
    edition,
    order,
    quote,
    stock,
    take,
)


async def test_a_hold_takes_units_out_of_what_is_available(store: Store) -> None:
    await store.write(lambda uow: stock(uow, 5))
    (held,) = await store.write(lambda uow: take(uow, 1, Want(LAMP, 2, "line-1")))
    assert (held.kind, held.sku, held.quantity, held.ref) == (PoolKind.STOCK, "lamp", 2, "line-1")
    assert await store.read(counts) == (5, 2, 0, 3)


async def test_one_hundred_holds_for_the_last_unit_leave_one_winner(store: Store) -> None:
    await store.write(lambda uow: stock(uow, 1))

    def want(number: int):
        return store.write(lambda uow: take(uow, number, Want(LAMP, 1), customer=CustomerId(f"cus_{number}")))

    answers = await asyncio.gather(*(want(number) for number in range(100)), return_exceptions=True)
    won = [answer for answer in answers if isinstance(answer, list)]
    refused = [answer for answer in answers if isinstance(answer, ConflictError)]
    assert (len(won), len(refused)) == (1, 99)
    assert {error.code for error in refused} == {"stock.sold_out"}
    assert refused[0].data == {"sku": "lamp", "requested": 1, "available": 0}
    assert await store.read(counts) == (1, 1, 0, 0)
    await store.write(lambda uow: inventory.release(uow, hold_id=won[0][0].hold_id))
    assert await store.read(counts) == (1, 0, 0, 1)


async def test_wants_of_one_pool_are_added_up_before_they_are_judged(store: Store) -> None:
    await store.write(lambda uow: stock(uow, 3))
    with pytest.raises(ConflictError) as refused:
        await store.write(lambda uow: take(uow, 1, Want(LAMP, 2), Want(LAMP, 2)))
    assert refused.value.data == {"sku": "lamp", "requested": 4, "available": 3}
    both = await store.write(lambda uow: take(uow, 2, Want(LAMP, 2, "a"), Want(LAMP, 1, "b")))
    assert [(held.ref, held.quantity) for held in both] == [("a", 2), ("b", 1)]


async def test_a_quote_gets_everything_it_wants_or_nothing(store: Store) -> None:
    await store.write(lambda uow: (stock(uow, 5), edition(uow, 1)))
    await store.write(lambda uow: take(uow, 1, Want(SKIN, 1)))
    with pytest.raises(ConflictError) as refused:
        await store.write(lambda uow: take(uow, 2, Want(LAMP, 1), Want(SKIN, 1)))
    assert refused.value.code == "edition.sold_out"
    assert await store.read(counts) == (5, 0, 0, 5)


async def test_a_pool_that_is_not_counted_is_refused(store: Store) -> None:
    with pytest.raises(NotFoundError, match=r"stock\.pool_unknown"):
        await store.write(lambda uow: take(uow, 1, Want(LAMP, 1)))


async def test_a_quantity_below_one_is_refused(store: Store) -> None:
    with pytest.raises(InvalidError, match=r"hold\.quantity"):
        await store.write(lambda uow: take(uow, 1, Want(LAMP, 0)))


async def test_a_quote_that_wants_nothing_scarce_holds_nothing(store: Store) -> None:
    assert await store.write(lambda uow: take(uow, 1)) == []


@pytest.mark.parametrize(
    ("limits", "code", "unit"),
    [
        (HoldLimits(units_per_account=3), "hold.limit_account", "units"),
        (HoldLimits(holds_per_account=1), "hold.limit_account", "holds"),
        (HoldLimits(units_per_device=3), "hold.limit_device", "units"),
        (HoldLimits(holds_per_device=1), "hold.limit_device", "holds"),
    ],
)
async def test_more_than_the_limit_is_refused(store: Store, limits: HoldLimits, code: str, unit: str) -> None:
    await store.write(lambda uow: (stock(uow, 50), stock(uow, 50, "shoe")))
    await store.write(lambda uow: take(uow, 1, Want(LAMP, 2), limits=limits))
    with pytest.raises(ConflictError) as refused:
        await store.write(lambda uow: take(uow, 2, Want(SHOE, 2), limits=limits))
    assert refused.value.code == code
    assert refused.value.data["unit"] == unit
    other = {"customer": CustomerId("cus_ben"), "device": DeviceId("dev_phone")}
    await store.write(lambda uow: take(uow, 3, Want(SHOE, 2), limits=limits, **other))


async def test_exactly_the_limit_is_allowed(store: Store) -> None:
    await store.write(lambda uow: stock(uow, 50))
    limits = HoldLimits(units_per_account=4)
    await store.write(lambda uow: take(uow, 1, Want(LAMP, 2), limits=limits))
    await store.write(lambda uow: take(uow, 2, Want(LAMP, 2), limits=limits))


async def test_one_device_shared_by_accounts_is_limited_as_one(store: Store) -> None:
    await store.write(lambda uow: stock(uow, 50))
    limits = HoldLimits(units_per_device=3)
    await store.write(lambda uow: take(uow, 1, Want(LAMP, 2), limits=limits))
    with pytest.raises(ConflictError, match=r"hold\.limit_device"):
        await store.write(
            lambda uow: take(uow, 2, Want(LAMP, 2), limits=limits, customer=CustomerId("cus_ben"))
        )


async def test_expired_and_reserved_holds_do_not_count_towards_the_limit(
    store: Store, clock: ManualClock
) -> None:
    await store.write(lambda uow: stock(uow, 50))
    limits = HoldLimits(holds_per_account=1)
    await store.write(lambda uow: take(uow, 1, Want(LAMP, 1), limits=limits))
    clock.advance(10 * MINUTE_MS)
    await store.write(lambda uow: take(uow, 2, Want(LAMP, 1), limits=limits))
    await store.write(
        lambda uow: inventory.reserve(
            uow, quote_id=quote(2), order_id=order(2), expires_at_ms=uow.now_ms + MINUTE_MS
        )
    )
    await store.write(lambda uow: take(uow, 3, Want(LAMP, 1), limits=limits))


async def test_the_sweep_frees_what_quotes_held_too_long(store: Store, clock: ManualClock) -> None:
    await store.write(lambda uow: (stock(uow, 5), stock(uow, 5, "shoe")))
    await store.write(lambda uow: take(uow, 1, Want(LAMP, 2), Want(SHOE, 1)))
    await store.write(lambda uow: take(uow, 2, Want(LAMP, 1), minutes=20))
    clock.advance(10 * MINUTE_MS)
    swept = await store.write(expiry.sweep)
    assert (swept.released_quotes, swept.expired_reservations, swept.more) == ((quote(1),), (), False)
    assert await store.read(counts) == (5, 1, 0, 4)
    assert await store.write(lambda uow: expiry.sweep(uow).released_quotes) == ()


async def test_the_sweep_frees_in_portions(store: Store, clock: ManualClock) -> None:
    await store.write(lambda uow: stock(uow, 5))
    for number in range(5):
        await store.write(lambda uow, number=number: take(uow, number, Want(LAMP, 1)))
    clock.advance(10 * MINUTE_MS)
    rounds = [await store.write(lambda uow: expiry.sweep(uow, limit=2)) for _ in range(3)]
    assert [(len(swept.released_quotes), swept.more) for swept in rounds] == [
        (2, True),
        (2, True),
        (1, False),
    ]
    assert await store.read(counts) == (5, 0, 0, 5)


async def test_the_sweep_names_late_reservations_and_leaves_them(store: Store, clock: ManualClock) -> None:
    await store.write(lambda uow: stock(uow, 5))
    (held,) = await store.write(lambda uow: take(uow, 1, Want(LAMP, 2)))
    await store.write(
        lambda uow: inventory.reserve(
            uow, quote_id=quote(1), order_id=order(1), expires_at_ms=uow.now_ms + MINUTE_MS
        )
    )
    clock.advance(MINUTE_MS)
    for _ in range(2):
        (late,) = (await store.write(expiry.sweep)).expired_reservations
        assert (late.order_id, late.hold_ids) == (order(1), (held.hold_id,))
    assert await store.read(counts) == (5, 0, 2, 3)
    later_ms = clock.now_ms() + MINUTE_MS
    assert await store.write(lambda uow: expiry.extend(uow, order_id=order(1), expires_at_ms=later_ms)) == 1
    assert (await store.write(expiry.sweep)).expired_reservations == ()
