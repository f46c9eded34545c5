from __future__ import annotations

import pytest

from fulfillment import inventory, pools
from fulfillment.model import UNCAPPED_COPIES, Want
from gateway.kernel.errors import ConflictError, InvalidError, NotFoundError
from gateway.kernel.store.unit import Store, UnitOfWork
from tests.fulfillment.test_inventory import reserve
from tests.fulfillment.world import LAMP, MERCHANT, SKIN, counts, edition, level, stock, take


async def test_a_stock_take_sets_what_is_on_hand(store: Store) -> None:
    await store.write(lambda uow: stock(uow, 5))
    await store.write(lambda uow: stock(uow, 9))
    assert await store.read(counts) == (9, 0, 0, 9)


async def test_a_stock_take_below_what_is_promised_is_refused(store: Store) -> None:
    await store.write(lambda uow: stock(uow, 5))
    await store.write(lambda uow: take(uow, 1, Want(LAMP, 3)))
    with pytest.raises(ConflictError) as refused:
        await store.write(lambda uow: stock(uow, 2))
    assert (refused.value.code, refused.value.data["minimum"]) == ("stock.below_promised", 3)
    await store.write(lambda uow: stock(uow, 3))


async def test_importing_again_leaves_the_count_alone(store: Store) -> None:
    def imported(uow: UnitOfWork) -> str:
        return pools.set_pool(
            uow, merchant_id=MERCHANT, sku="lamp", location_code="berlin", on_hand=5, only_new=True
        )

    assert await store.write(imported) == LAMP
    await store.write(lambda uow: pools.adjust(uow, LAMP, -2, "broken"))
    await store.write(imported)
    assert await store.read(counts) == (3, 0, 0, 3)


async def test_an_adjustment_with_a_reference_counts_once(store: Store) -> None:
    await store.write(lambda uow: stock(uow, 5))

    def arrived(uow: UnitOfWork) -> bool:
        return pools.adjust(uow, LAMP, 10, "delivery", reference="note 7")

    assert await store.write(arrived)
    assert not await store.write(arrived)
    assert await store.read(counts) == (15, 0, 0, 15)


async def test_an_adjustment_below_what_is_promised_is_refused(store: Store) -> None:
    await store.write(lambda uow: stock(uow, 5))
    await store.write(lambda uow: take(uow, 1, Want(LAMP, 4)))
    with pytest.raises(ConflictError, match=r"stock\.below_promised"):
        await store.write(lambda uow: pools.adjust(uow, LAMP, -2, "theft"))


async def test_adjusting_what_is_not_counted_is_refused(store: Store) -> None:
    await store.write(lambda uow: edition(uow, 5))
    with pytest.raises(NotFoundError):
        await store.write(lambda uow: pools.adjust(uow, LAMP, 1, "found"))
    with pytest.raises(InvalidError):
        await store.write(lambda uow: pools.adjust(uow, SKIN, 1, "found"))


async def test_a_cap_is_never_lowered_below_what_is_out_or_promised(store: Store) -> None:
    await store.write(lambda uow: edition(uow, 10))
    await store.write(lambda uow: take(uow, 1, Want(SKIN, 3)))
    (reserved,) = await store.write(lambda uow: reserve(uow, 1))
    await store.write(lambda uow: inventory.consume(uow, hold_id=reserved.hold_id, quantity=1))
    with pytest.raises(ConflictError) as refused:
        await store.write(lambda uow: edition(uow, 2))
    assert (refused.value.code, refused.value.data["minimum"]) == ("edition.cap_below_issued", 3)
    await store.write(lambda uow: edition(uow, 3))
    now = await store.read(lambda reader: level(reader, SKIN))
    assert (now.cap, now.available, now.issued) == (3, 0, 1)
    await store.write(lambda uow: edition(uow, 4))
    assert (await store.read(lambda reader: level(reader, SKIN))).available == 1


async def test_an_edition_without_a_cap_never_sells_out(store: Store) -> None:
    await store.write(lambda uow: edition(uow, None))
    await store.write(lambda uow: take(uow, 1, Want(SKIN, 1000)))
    now = await store.read(lambda reader: level(reader, SKIN))
    assert (now.cap, now.available) == (None, UNCAPPED_COPIES - 1000)


async def test_numbering_is_fixed_once_copies_are_promised(store: Store) -> None:
    await store.write(lambda uow: edition(uow, 10))
    await store.write(lambda uow: edition(uow, 10, numbered=True))
    await store.write(lambda uow: take(uow, 1, Want(SKIN, 1)))
    with pytest.raises(ConflictError, match=r"edition\.numbering_fixed"):
        await store.write(lambda uow: edition(uow, 10, numbered=False))


async def test_returned_goods_are_put_back_once_and_anywhere(store: Store) -> None:
    await store.write(lambda uow: stock(uow, 5))

    def returned(uow: UnitOfWork) -> bool:
        return pools.put_back(uow, pool_id=LAMP, quantity=2, reason="returned", reference="return 1")

    assert await store.write(returned)
    assert not await store.write(returned)
    assert await store.read(counts) == (7, 0, 0, 7)


async def test_a_burned_copy_may_be_sold_again_within_the_cap(store: Store) -> None:
    await store.write(lambda uow: edition(uow, 1))
    await store.write(lambda uow: take(uow, 1, Want(SKIN, 1)))
    (reserved,) = await store.write(lambda uow: reserve(uow, 1))

    def burned(uow: UnitOfWork) -> bool:
        return pools.put_back(uow, pool_id=SKIN, quantity=1, reason="burned", reference="return 1")

    with pytest.raises(ConflictError, match=r"edition\.not_issued"):
        await store.write(burned)
    await store.write(lambda uow: inventory.consume(uow, hold_id=reserved.hold_id))
    assert await store.write(burned)
    now = await store.read(lambda reader: level(reader, SKIN))
    assert (now.cap, now.issued, now.available) == (1, 0, 1)


async def test_levels_are_listed_by_location_and_in_pages(store: Store) -> None:
    await store.write(
        lambda uow: (stock(uow, 5), stock(uow, 2, "lamp", "aachen"), stock(uow, 1, "shoe"), edition(uow, 7))
    )
    lamps = await store.read(lambda reader: pools.stock_levels(reader, merchant_id=MERCHANT, sku="lamp"))
    assert [(row.location_code, row.available) for row in lamps] == [("aachen", 2), ("berlin", 5)]
    skin = await store.read(lambda reader: pools.edition_level(reader, merchant_id=MERCHANT, sku="skin"))
    assert skin is not None
    assert skin.cap == 7
    first = await store.read(lambda reader: pools.merchant_levels(reader, merchant_id=MERCHANT, limit=3))
    rest = await store.read(
        lambda reader: pools.merchant_levels(reader, merchant_id=MERCHANT, after=first[-1].pool_id, limit=3)
    )
    seen = [row.pool_id for row in first + rest]
    assert (len(first), len(rest)) == (3, 1)
    assert seen == sorted(set(seen))


async def test_merchants_do_not_share_a_sku(store: Store) -> None:
    await store.write(lambda uow: stock(uow, 5))
    other = await store.read(lambda reader: pools.stock_levels(reader, merchant_id="mer_2", sku="lamp"))
    assert other == []
