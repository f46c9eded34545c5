"""What every order backend promises. An adapter joins by adding its own stand to `stand`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fulfillment.backends.embedded import EmbeddedBackend
from fulfillment.backends.embedded_work import Pace
from fulfillment.backends.port import (
    BackendRefusedError,
    BackendUnavailableError,
    CancelAnswer,
    OrderBackend,
    UpdateKind,
)
from gateway.kernel.clock import SystemClock
from gateway.kernel.ids import TimeSortedIds
from tests.fulfillment.backend_orders import all_updates, backend_order, until

K = UpdateKind
Operate = Callable[[str], Awaitable[None]]


@dataclass
class Stand:
    """A backend whose people do only what the test tells them, a way to end it and one to open it again."""

    backend: OrderBackend
    dispatch: Operate
    deliver: Operate
    refuse: Operate
    close: Callable[[], Awaitable[None]]
    reopen: Callable[[], Awaitable[Stand]]


def embedded(path: Path) -> Stand:
    clock = SystemClock()
    backend = EmbeddedBackend.open(
        path, clock, TimeSortedIds(clock), pace=Pace(automatic=False), rehearse=True, strict=True
    )

    async def refuse(reference: str) -> None:
        await backend.refuse(reference, "not on the shelf")

    async def reopen() -> Stand:
        return embedded(path)

    return Stand(backend, backend.dispatch, backend.deliver, refuse, backend.close, reopen)


@pytest.fixture(params=["embedded"])
async def stand(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stand]:
    made = {"embedded": embedded}[request.param](tmp_path / "backend.db")
    yield made
    await made.close()


async def test_an_order_has_a_receipt_and_is_found_by_our_reference(stand: Stand) -> None:
    receipt = await stand.backend.create(backend_order(1))
    assert receipt.reference == "ful_1"
    assert receipt.backend_reference
    assert await stand.backend.find("ful_1") == receipt


async def test_an_unknown_reference_is_not_found(stand: Stand) -> None:
    assert await stand.backend.find("ful_1") is None


async def test_the_same_reference_again_is_one_order(stand: Stand) -> None:
    receipts = await asyncio.gather(*(stand.backend.create(backend_order(1)) for _ in range(8)))
    assert len(set(receipts)) == 1
    again = replace(backend_order(1), ship_to={"country": "DE", "city": "Berlin", "name": "Änna"})
    assert await stand.backend.create(again) == receipts[0]
    assert [told.kind for told in await all_updates(stand.backend)] == [K.ACCEPTED]


async def test_the_same_reference_for_another_order_is_refused(stand: Stand) -> None:
    receipt = await stand.backend.create(backend_order(1))
    for other in (backend_order(1, quantity=2), backend_order(1, city="Aachen")):
        with pytest.raises(BackendRefusedError, match=r"fulfillment\.reference_reused"):
            await stand.backend.create(other)
    assert await stand.backend.find("ful_1") == receipt


async def test_the_feed_tells_each_step_in_order(stand: Stand) -> None:
    await stand.backend.create(backend_order(1))
    await stand.dispatch("ful_1")
    await stand.deliver("ful_1")
    told = await until(stand.backend, lambda seen: len(seen) == 3)
    assert [update.kind for update in told] == [K.ACCEPTED, K.DISPATCHED, K.DELIVERED]
    assert {update.reference for update in told} == {"ful_1"}
    assert told[0].at_ms <= told[1].at_ms <= told[2].at_ms
    assert told[1].tracking is not None
    assert told[1].tracking.number


async def test_a_refusal_is_told_with_its_reason(stand: Stand) -> None:
    await stand.backend.create(backend_order(1))
    await stand.refuse("ful_1")
    told = await until(stand.backend, lambda seen: len(seen) == 2)
    assert (told[1].kind, told[1].reason) == (K.REFUSED, "not on the shelf")


async def test_the_feed_is_read_in_pages_and_again_from_any_cursor(stand: Stand) -> None:
    for number in range(5):
        await stand.backend.create(backend_order(number))
    told = await until(stand.backend, lambda seen: len(seen) == 5)
    assert await all_updates(stand.backend, page=2) == told
    assert await stand.backend.updates(told[1].cursor, 2) == told[2:4]
    assert await stand.backend.updates(told[-1].cursor, 10) == []
    await stand.dispatch("ful_0")
    assert [update.kind for update in await stand.backend.updates(told[-1].cursor, 10)] == [K.DISPATCHED]


async def test_an_order_is_canceled_before_dispatch_and_stays_so(stand: Stand) -> None:
    await stand.backend.create(backend_order(1))
    for _ in range(2):
        assert await stand.backend.cancel("ful_1") is CancelAnswer.CANCELED
    told = await until(stand.backend, lambda seen: len(seen) == 2)
    assert [update.kind for update in told] == [K.ACCEPTED, K.CANCELED]
    assert await stand.backend.find("ful_1") is not None


async def test_after_dispatch_it_is_too_late_to_cancel(stand: Stand) -> None:
    await stand.backend.create(backend_order(1))
    await stand.dispatch("ful_1")
    assert await stand.backend.cancel("ful_1") is CancelAnswer.TOO_LATE
    await stand.deliver("ful_1")
    assert await stand.backend.cancel("ful_1") is CancelAnswer.TOO_LATE


async def test_what_the_backend_never_had_cannot_be_canceled(stand: Stand) -> None:
    assert await stand.backend.cancel("ful_1") is CancelAnswer.UNKNOWN


async def test_a_refused_order_counts_as_canceled(stand: Stand) -> None:
    await stand.backend.create(backend_order(1))
    await stand.refuse("ful_1")
    assert await stand.backend.cancel("ful_1") is CancelAnswer.CANCELED


async def test_receipts_and_updates_outlive_the_connection(stand: Stand) -> None:
    receipt = await stand.backend.create(backend_order(1))
    await stand.dispatch("ful_1")
    told = await until(stand.backend, lambda seen: len(seen) == 2)
    await stand.close()
    again = await stand.reopen()
    try:
        assert await again.backend.find("ful_1") == receipt
        assert await all_updates(again.backend) == told
    finally:
        await again.close()


async def test_a_backend_that_cannot_answer_says_so(stand: Stand) -> None:
    await stand.close()
    for ask in (
        lambda: stand.backend.create(backend_order(1)),
        lambda: stand.backend.find("ful_1"),
        lambda: stand.backend.cancel("ful_1"),
        lambda: stand.backend.updates("", 10),
    ):
        with pytest.raises(BackendUnavailableError, match=r"fulfillment\.unavailable"):
            await ask()
