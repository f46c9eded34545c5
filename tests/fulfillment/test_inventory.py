from __future__ import annotations

import asyncio

import pytest

from fulfillment import expiry, inventory
from fulfillment.model import Reserved, Want
from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import ConflictError
from gateway.kernel.store.unit import Store, UnitOfWork
from tests.fulfillment.world import (
    LAMP,
    MINUTE_MS,
    SHOE,
    SKIN,
    counts,
    edition,
    level,
    order,
    quote,
    stock,
    take,
)


def reserve(uow: UnitOfWork, number: int, order_number: int | None = None) -> list[Reserved]:
    return inventory.reserve(
        uow,
        quote_id=quote(number),
        order_id=order(order_number or number),
        expires_at_ms=uow.now_ms + 30 * MINUTE_MS,
    )


async def held_and_reserved(store: Store, on_hand: int, *quantities: int) -> list[Reserved]:
    await store.write(lambda uow: stock(uow, on_hand))
    await store.write(lambda uow: take(uow, 1, *(Want(LAMP, n, f"leg-{n}") for n in quantities)))
    return await store.write(lambda uow: reserve(uow, 1))


async def test_a_reservation_moves_units_from_held_to_reserved(store: Store) -> None:
    (reserved,) = await held_and_reserved(store, 5, 2)
    assert (reserved.sku, reserved.quantity, reserved.ref) == ("lamp", 2, "leg-2")
    assert (reserved.location_code, reserved.numbered) == ("berlin", False)
    assert await store.read(counts) == (5, 0, 2, 3)
    assert await store.read(lambda reader: inventory.reservations(reader, order(1))) == [reserved]


async def test_reserving_again_for_the_same_order_gives_the_same(store: Store) -> None:
    first = await held_and_reserved(store, 5, 2, 1)
    assert await store.write(lambda uow: reserve(uow, 1)) == first
    assert await store.read(counts) == (5, 0, 3, 2)


async def test_a_quote_is_reserved_for_one_order_only(store: Store) -> None:
    await held_and_reserved(store, 5, 2)
    with pytest.raises(ConflictError, match=r"quote\.expired"):
        await store.write(lambda uow: reserve(uow, 1, 2))


@pytest.mark.parametrize("swept", [False, True])
async def test_a_hold_past_its_time_cannot_be_reserved(store: Store, clock: ManualClock, swept: bool) -> None:
    await store.write(lambda uow: stock(uow, 5))
    await store.write(lambda uow: take(uow, 1, Want(LAMP, 2)))
    clock.advance(10 * MINUTE_MS)
    if swept:
        await store.write(expiry.sweep)
    with pytest.raises(ConflictError, match=r"quote\.expired"):
        await store.write(lambda uow: reserve(uow, 1))


async def test_a_hold_is_good_until_the_millisecond_before_it_expires(
    store: Store, clock: ManualClock
) -> None:
    await store.write(lambda uow: stock(uow, 5))
    await store.write(lambda uow: take(uow, 1, Want(LAMP, 2)))
    clock.advance(10 * MINUTE_MS - 1)
    assert await store.write(lambda uow: reserve(uow, 1))


async def test_a_quote_loses_all_when_one_of_its_holds_is_gone(store: Store) -> None:
    await store.write(lambda uow: (stock(uow, 5), stock(uow, 5, "shoe")))
    lamp, _ = await store.write(lambda uow: take(uow, 1, Want(LAMP, 1), Want(SHOE, 1)))
    await store.write(lambda uow: inventory.release(uow, hold_id=lamp.hold_id))
    with pytest.raises(ConflictError, match=r"quote\.expired"):
        await store.write(lambda uow: reserve(uow, 1))
    assert await store.read(lambda reader: counts(reader, SHOE)) == (5, 1, 0, 4)


async def test_a_quote_without_holds_reserves_nothing(store: Store) -> None:
    assert await store.write(lambda uow: reserve(uow, 1)) == []


async def test_consumed_units_leave_the_stock(store: Store) -> None:
    (reserved,) = await held_and_reserved(store, 5, 2)
    (moved,) = await store.write(lambda uow: inventory.consume(uow, hold_id=reserved.hold_id))
    assert moved.quantity == 2
    assert await store.read(counts) == (3, 0, 0, 3)
    assert await store.read(lambda reader: level(reader).issued) == 0


async def test_a_reservation_is_consumed_in_parts(store: Store) -> None:
    (reserved,) = await held_and_reserved(store, 5, 3)
    await store.write(lambda uow: inventory.consume(uow, hold_id=reserved.hold_id, quantity=1))
    assert await store.read(counts) == (4, 0, 2, 2)
    await store.write(lambda uow: inventory.release(uow, hold_id=reserved.hold_id, quantity=1))
    assert await store.read(counts) == (4, 0, 1, 3)
    await store.write(lambda uow: inventory.consume(uow, hold_id=reserved.hold_id))
    assert await store.read(counts) == (3, 0, 0, 3)


async def test_consuming_by_order_and_pool_takes_its_holds_in_turn(store: Store) -> None:
    await held_and_reserved(store, 5, 2, 1)
    moved = await store.write(lambda uow: inventory.consume(uow, order_id=order(1), pool_id=LAMP, quantity=3))
    assert sorted(share.quantity for share in moved) == [1, 2]
    assert await store.read(counts) == (2, 0, 0, 2)


async def test_consuming_more_than_reserved_is_refused(store: Store) -> None:
    (reserved,) = await held_and_reserved(store, 5, 2)
    with pytest.raises(ConflictError, match=r"stock\.not_reserved"):
        await store.write(lambda uow: inventory.consume(uow, hold_id=reserved.hold_id, quantity=3))
    assert await store.read(counts) == (5, 0, 2, 3)


async def test_consuming_twice_is_refused(store: Store) -> None:
    (reserved,) = await held_and_reserved(store, 5, 2)
    await store.write(lambda uow: inventory.consume(uow, hold_id=reserved.hold_id))
    with pytest.raises(ConflictError, match=r"stock\.not_reserved"):
        await store.write(lambda uow: inventory.consume(uow, hold_id=reserved.hold_id))


async def test_units_that_are_only_held_cannot_be_consumed(store: Store) -> None:
    await store.write(lambda uow: stock(uow, 5))
    (held,) = await store.write(lambda uow: take(uow, 1, Want(LAMP, 2)))
    with pytest.raises(ConflictError, match=r"stock\.not_reserved"):
        await store.write(lambda uow: inventory.consume(uow, hold_id=held.hold_id))


async def test_releasing_an_order_twice_gives_back_once(store: Store) -> None:
    await held_and_reserved(store, 5, 2, 1)
    moved = await store.write(lambda uow: inventory.release(uow, order_id=order(1)))
    assert sorted(share.quantity for share in moved) == [1, 2]
    assert await store.write(lambda uow: inventory.release(uow, order_id=order(1))) == []
    assert await store.read(counts) == (5, 0, 0, 5)


async def test_releasing_a_quote_leaves_what_its_order_reserved(store: Store) -> None:
    await held_and_reserved(store, 5, 2)
    assert await store.write(lambda uow: inventory.release(uow, quote_id=quote(1))) == []
    assert await store.read(counts) == (5, 0, 2, 3)


async def test_releasing_a_quote_frees_its_holds(store: Store) -> None:
    await store.write(lambda uow: stock(uow, 5))
    await store.write(lambda uow: take(uow, 1, Want(LAMP, 2)))
    (moved,) = await store.write(lambda uow: inventory.release(uow, quote_id=quote(1)))
    assert moved.quantity == 2
    assert await store.read(counts) == (5, 0, 0, 5)


async def test_a_minted_copy_counts_as_issued(store: Store) -> None:
    await store.write(lambda uow: edition(uow, 10))
    await store.write(lambda uow: take(uow, 1, Want(SKIN, 2)))
    (reserved,) = await store.write(lambda uow: reserve(uow, 1))
    await store.write(lambda uow: inventory.consume(uow, hold_id=reserved.hold_id))
    now = await store.read(lambda reader: level(reader, SKIN))
    assert (now.on_hand, now.issued, now.cap, now.available) == (8, 2, 10, 8)


async def test_many_orders_at_once_over_the_same_pools_keep_the_sums(store: Store) -> None:
    await store.write(lambda uow: (stock(uow, 100), stock(uow, 100, "shoe")))

    async def buy(number: int) -> None:
        # Every other one names the pools the other way round: locks are taken in one order all the same.
        wants = [Want(LAMP, 1), Want(SHOE, 2)][:: 1 if number % 2 else -1]
        await store.write(lambda uow: take(uow, number, *wants))
        reserved = await store.write(lambda uow: reserve(uow, number))
        if number % 5 == 0:
            await store.write(lambda uow: inventory.release(uow, order_id=order(number)))
            return
        for unit in reserved:
            await store.write(lambda uow, unit=unit: inventory.consume(uow, hold_id=unit.hold_id))

    await asyncio.gather(*(buy(number) for number in range(1, 41)))
    assert await store.read(counts) == (68, 0, 0, 68)
    assert await store.read(lambda reader: counts(reader, SHOE)) == (36, 0, 0, 36)
