from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from fulfillment.backends.embedded import EmbeddedBackend
from fulfillment.backends.embedded_work import MOVES, Pace, WorkState
from fulfillment.backends.port import BackendReceipt, CancelAnswer, UpdateKind
from gateway.kernel.clock import Clock, ManualClock, SystemClock
from gateway.kernel.errors import ConflictError, NotFoundError
from gateway.kernel.ids import TimeSortedIds
from tests.fulfillment.backend_orders import all_updates, backend_order, until

K = UpdateKind
WHOLE_LIFE = (K.ACCEPTED, K.DISPATCHED, K.DELIVERED)
Open = Callable[..., EmbeddedBackend]


@pytest.fixture
async def open_backend(tmp_path: Path) -> AsyncIterator[Open]:
    opened: list[EmbeddedBackend] = []

    def make(pace: Pace, clock: Clock | None = None, **more: object) -> EmbeddedBackend:
        clock = clock or SystemClock()
        path = tmp_path / "backend.db"
        backend = EmbeddedBackend.open(path, clock, TimeSortedIds(clock), pace=pace, strict=True, **more)
        opened.append(backend)
        return backend

    yield make
    for backend in opened:
        await backend.close()


async def test_orders_are_dispatched_and_delivered_when_they_are_due(
    open_backend: Open, clock: ManualClock
) -> None:
    backend = open_backend(Pace(dispatch_after_ms=100, deliver_after_ms=200), clock, rehearse=True)
    await backend.create(backend_order(1))
    assert await backend.work() == 0
    clock.advance(100)
    assert await backend.work() == 1
    clock.advance(199)
    assert await backend.work() == 0
    clock.advance(1)
    assert await backend.work() == 1
    clock.advance(10_000)
    assert await backend.work() == 0
    (effect,) = await backend.effects()
    assert (effect.reference, effect.state, effect.announced) == ("ful_1", WorkState.DELIVERED, WHOLE_LIFE)
    assert effect.order["lines"] == [{"sku": "lamp", "quantity": 1, "title": "Lamp"}]


async def test_it_works_by_itself(open_backend: Open) -> None:
    backend = open_backend(Pace(dispatch_after_ms=10, deliver_after_ms=10, pause_ms=1))
    backend.start()
    await asyncio.gather(*(backend.create(backend_order(number)) for number in range(20)))
    await until(backend, lambda seen: len(seen) == 60)
    assert {effect.announced for effect in await backend.effects()} == {WHOLE_LIFE}


async def test_an_idle_worker_wakes_for_an_order_that_is_due_earlier(open_backend: Open) -> None:
    backend = open_backend(Pace(dispatch_after_ms=0, deliver_after_ms=60_000, pause_ms=1))
    backend.start()
    for number in range(3):
        await backend.create(backend_order(number))
        await until(backend, lambda seen, most=2 * number + 2: len(seen) == most)


async def test_many_orders_are_worked_in_portions(open_backend: Open, clock: ManualClock) -> None:
    backend = open_backend(Pace(dispatch_after_ms=0, deliver_after_ms=1, batch=3), clock)
    await asyncio.gather(*(backend.create(backend_order(number)) for number in range(7)))
    assert await backend.work() == 7


async def test_the_gateway_is_woken_for_every_commit_with_updates(open_backend: Open) -> None:
    woken = asyncio.Event()
    backend = open_backend(Pace(automatic=False), on_update=woken.set)
    for step in (
        lambda: backend.create(backend_order(1)),
        lambda: backend.dispatch("ful_1"),
        lambda: backend.deliver("ful_1"),
    ):
        woken.clear()
        before = await all_updates(backend)
        await step()
        async with asyncio.timeout(5):
            await woken.wait()
        assert len(await all_updates(backend)) == len(before) + 1


async def test_what_is_picked_cannot_be_canceled_any_more(open_backend: Open) -> None:
    backend = open_backend(Pace(automatic=False))
    await backend.create(backend_order(1))
    await backend.pick("ful_1")
    assert await backend.cancel("ful_1") is CancelAnswer.TOO_LATE
    assert [told.kind for told in await all_updates(backend)] == [K.ACCEPTED]


def test_every_work_state_has_its_moves() -> None:
    assert set(MOVES) == set(WorkState)


@pytest.mark.parametrize("was", list(WorkState))
@pytest.mark.parametrize(
    "to", [WorkState.PICKED, WorkState.DISPATCHED, WorkState.DELIVERED, WorkState.REFUSED]
)
async def test_an_operator_can_only_make_allowed_moves(
    open_backend: Open, was: WorkState, to: WorkState
) -> None:
    backend = open_backend(Pace(automatic=False))
    await backend.create(backend_order(1))
    operate: dict[WorkState, Callable[[], Awaitable[object]]] = {
        WorkState.PICKED: lambda: backend.pick("ful_1"),
        WorkState.DISPATCHED: lambda: backend.dispatch("ful_1"),
        WorkState.DELIVERED: lambda: backend.deliver("ful_1"),
        WorkState.REFUSED: lambda: backend.refuse("ful_1", "broken"),
        WorkState.CANCELED: lambda: backend.cancel("ful_1"),
    }
    if was == WorkState.DELIVERED:
        await operate[WorkState.DISPATCHED]()
    if was != WorkState.ACCEPTED:
        await operate[was]()
    before = await all_updates(backend)
    if to in MOVES[was] or to == was:
        await operate[to]()
    else:
        with pytest.raises(ConflictError, match=r"backend\.move_refused"):
            await operate[to]()
    announced = [told.kind for told in (await all_updates(backend))[len(before) :]]
    news = to in MOVES[was] and to != WorkState.PICKED
    assert announced == ([K(to)] if news else [])


async def test_an_operator_cannot_move_what_is_not_there(open_backend: Open) -> None:
    backend = open_backend(Pace(automatic=False))
    with pytest.raises(NotFoundError, match=r"backend\.order_unknown"):
        await backend.dispatch("ful_1")


async def test_a_killed_backend_keeps_every_receipt_and_ships_each_order_once(
    open_backend: Open, tmp_path: Path
) -> None:
    path = tmp_path / "backend.db"
    command = [sys.executable, "-m", "tests.fulfillment.backend_victim", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(300)]
    process.kill()
    lines += process.stdout.read().splitlines(keepends=True)
    process.wait()
    process.stdout.close()
    # A line cut short by the kill was not read by any gateway either.
    promised = [BackendReceipt(*line.split()) for line in lines if line.endswith("\n")]

    backend = open_backend(Pace(dispatch_after_ms=5, deliver_after_ms=5, pause_ms=1))
    for receipt in promised:
        assert await backend.find(receipt.reference) == receipt
    backend.start()
    orders = len(await backend.effects())
    await until(backend, lambda seen: sum(told.kind == K.DELIVERED for told in seen) == orders)
    assert {effect.announced for effect in await backend.effects()} == {WHOLE_LIFE}
