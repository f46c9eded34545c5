from __future__ import annotations

import asyncio

import pytest

from fulfillment import inventory, pools, serials
from fulfillment.model import Reserved, Want
from gateway.kernel.errors import ConflictError, InvalidError
from gateway.kernel.store.unit import Store, UnitOfWork
from tests.fulfillment.test_inventory import reserve
from tests.fulfillment.world import SKIN, edition, level, order, take


async def reserved_copies(store: Store, number: int, quantity: int) -> Reserved:
    await store.write(lambda uow: take(uow, number, Want(SKIN, quantity)))
    (reserved,) = await store.write(lambda uow: reserve(uow, number))
    return reserved


async def numbers_of(store: Store, reserved: Reserved) -> list[int]:
    return await store.write(lambda uow: serials.take_serials(uow, hold_id=reserved.hold_id))


async def test_numbers_start_at_one_and_end_at_the_cap(store: Store) -> None:
    await store.write(lambda uow: edition(uow, 3, numbered=True))
    first, second = await reserved_copies(store, 1, 2), await reserved_copies(store, 2, 1)
    assert first.numbered
    assert await numbers_of(store, first) == [1, 2]
    assert await numbers_of(store, second) == [3]


async def test_asking_again_gives_the_same_numbers(store: Store) -> None:
    await store.write(lambda uow: edition(uow, 3, numbered=True))
    copies = await reserved_copies(store, 1, 2)
    assert await numbers_of(store, copies) == await numbers_of(store, copies) == [1, 2]
    await store.write(lambda uow: inventory.consume(uow, hold_id=copies.hold_id))
    assert await numbers_of(store, copies) == [1, 2]


async def test_concurrent_orders_never_share_a_number(store: Store) -> None:
    await store.write(lambda uow: edition(uow, 50, numbered=True))
    copies = [await reserved_copies(store, number, 2) for number in range(25)]
    taken = await asyncio.gather(*(numbers_of(store, each) for each in copies))
    assert sorted(number for numbers in taken for number in numbers) == list(range(1, 51))


async def test_numbers_of_a_released_reservation_go_out_again(store: Store) -> None:
    await store.write(lambda uow: edition(uow, 3, numbered=True))
    first, second = await reserved_copies(store, 1, 2), await reserved_copies(store, 2, 1)
    await numbers_of(store, first)
    await numbers_of(store, second)
    await store.write(lambda uow: inventory.release(uow, order_id=order(1)))
    third = await reserved_copies(store, 3, 2)
    assert await numbers_of(store, third) == [1, 2]


async def test_giving_up_a_part_frees_its_highest_numbers(store: Store) -> None:
    await store.write(lambda uow: edition(uow, 10, numbered=True))
    copies = await reserved_copies(store, 1, 3)
    await numbers_of(store, copies)
    await store.write(lambda uow: inventory.consume(uow, hold_id=copies.hold_id, quantity=1))
    await store.write(lambda uow: inventory.release(uow, hold_id=copies.hold_id, quantity=1))
    assert await numbers_of(store, copies) == [1, 2]
    assert await numbers_of(store, await reserved_copies(store, 2, 1)) == [3]


async def test_a_burned_copy_gives_its_number_back(store: Store) -> None:
    await store.write(lambda uow: edition(uow, 2, numbered=True))
    copies = await reserved_copies(store, 1, 2)
    await numbers_of(store, copies)
    await store.write(lambda uow: inventory.consume(uow, hold_id=copies.hold_id))

    def burn(uow: UnitOfWork, *numbers: int) -> bool:
        return pools.put_back(
            uow, pool_id=SKIN, quantity=1, reason="burned", reference="return 1", numbers=numbers
        )

    with pytest.raises(InvalidError, match=r"edition\.numbers_missing"):
        await store.write(burn)
    with pytest.raises(ConflictError, match=r"edition\.serial_not_issued"):
        await store.write(lambda uow: burn(uow, 3))
    assert await store.write(lambda uow: burn(uow, 2))
    assert not await store.write(lambda uow: burn(uow, 2))
    assert await numbers_of(store, await reserved_copies(store, 2, 1)) == [2]
    assert (await store.read(lambda reader: level(reader, SKIN))).cap == 2


async def test_numbers_are_only_for_reserved_copies_of_numbered_editions(store: Store) -> None:
    await store.write(lambda uow: edition(uow, 3, numbered=True))
    (held,) = await store.write(lambda uow: take(uow, 1, Want(SKIN, 1)))
    with pytest.raises(ConflictError, match=r"stock\.not_reserved"):
        await store.write(lambda uow: serials.take_serials(uow, hold_id=held.hold_id))


async def test_a_cap_stays_above_the_numbers_that_were_given_out(store: Store) -> None:
    await store.write(lambda uow: edition(uow, 5, numbered=True))
    await numbers_of(store, await reserved_copies(store, 1, 4))
    await store.write(lambda uow: inventory.release(uow, order_id=order(1)))
    with pytest.raises(ConflictError, match=r"edition\.cap_below_issued"):
        await store.write(lambda uow: edition(uow, 3, numbered=True))
    await store.write(lambda uow: edition(uow, 4, numbered=True))
