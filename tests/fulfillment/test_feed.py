from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fulfillment import feed, shipments
from fulfillment.backends.embedded import EmbeddedBackend
from fulfillment.backends.embedded_work import Pace
from fulfillment.feed import UpdatePage
from fulfillment.model import FulfillmentFact, FulfillmentLine
from fulfillment.states import FulfillmentState
from gateway.kernel.clock import ManualClock
from gateway.kernel.ids import TimeSortedIds
from gateway.kernel.store.unit import Store, UnitOfWork
from gateway.kernel.subjects import LegId
from tests.fulfillment.backend_orders import backend_order
from tests.fulfillment.world import MERCHANT, order

S = FulfillmentState


@pytest.fixture
async def backend(tmp_path: Path, clock: ManualClock) -> AsyncIterator[EmbeddedBackend]:
    opened = EmbeddedBackend.open(
        tmp_path / "backend.db", clock, TimeSortedIds(clock), pace=Pace(automatic=False), strict=True
    )
    yield opened
    await opened.close()


async def record(store: Store, page: UpdatePage) -> list[FulfillmentFact] | None:
    """One unit per page, as the purchase process does it; None when another worker was faster."""

    def unit(uow: UnitOfWork) -> list[FulfillmentFact] | None:
        if not feed.advance_cursor(uow, page.backend, expected=page.after, new=page.cursor):
            return None
        facts = [fact for told in page.updates for fact in shipments.record_update(uow, told)]
        return [fact for fact in facts if isinstance(fact, FulfillmentFact)]

    return await store.write(unit)


async def test_a_page_starts_behind_what_was_recorded(store: Store, backend: EmbeddedBackend) -> None:
    for number in range(5):
        await backend.create(backend_order(number))
    sizes = []
    for _ in range(4):
        page = await feed.read_updates(store, backend, limit=2)
        sizes.append(len(page.updates))
        assert await record(store, page) == []
    assert sizes == [2, 2, 1, 0]


async def test_a_page_is_recorded_by_one_worker(store: Store, backend: EmbeddedBackend) -> None:
    await backend.create(backend_order(1))
    for _ in range(2):
        page = await feed.read_updates(store, backend)
        answers = await asyncio.gather(*(record(store, page) for _ in range(4)))
        assert sorted(answer is None for answer in answers) == [False, True, True, True]
        await backend.dispatch("ful_1")


async def test_a_page_that_was_read_but_not_recorded_comes_again(
    store: Store, backend: EmbeddedBackend
) -> None:
    await backend.create(backend_order(1))
    page = await feed.read_updates(store, backend)
    assert await feed.read_updates(store, backend) == page


async def test_an_order_goes_out_and_its_facts_come_back(store: Store, backend: EmbeddedBackend) -> None:
    ful = await store.write(
        lambda uow: shipments.create_fulfillment_order(
            uow,
            order_id=order(1),
            merchant_id=MERCHANT,
            location_code="berlin",
            backend=backend.name,
            ship_to={"country": "DE"},
            lines=[FulfillmentLine(LegId("leg_1"), "lamp", 1)],
        )
    )
    asked = shipments.for_backend(await store.read(lambda reader: shipments.load(reader, ful)))
    receipt = await backend.create(asked)
    await store.write(
        lambda uow: shipments.record_sent(uow, ful, backend_reference=receipt.backend_reference)
    )
    await backend.dispatch(ful)
    await backend.deliver(ful)
    facts = await record(store, await feed.read_updates(store, backend))
    assert facts is not None
    assert [fact.state for fact in facts] == [S.ACCEPTED, S.DISPATCHED, S.DELIVERED]
    assert facts[1].tracking is not None
    (effect,) = await backend.effects()
    assert effect.order["ship_to"] == {"country": "DE"}
