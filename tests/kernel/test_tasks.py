"""Durable tasks: written with the fact, claimed once, recorded once, never lost."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter

import pytest
import structlog

from gateway.kernel.clock import SystemClock
from gateway.kernel.ids import TimeSortedIds
from gateway.kernel.store.unit import Lane
from gateway.kernel.tasks import queue
from gateway.kernel.tasks.handover import Handover
from gateway.kernel.tasks.model import TaskKind
from gateway.kernel.tasks.runner import TaskRunner
from tests.kernel.tables import EFFECTS, INSERT_EFFECT, INSERT_NOTE, names


class Ships:
    """A task kind with behaviour: counts what it did, may fail or wait."""

    def __init__(self, *, fails=0, hold=None, worker="w", **options):
        self.performed = []
        self.at_once = Counter()
        self.most_at_once = 0
        self.failures_left = fails
        self.hold = hold
        self.worker = worker
        self.kind = TaskKind(
            name="ship",
            perform=self.perform,
            record=self.record,
            parked=self.announce,
            **{"first_delay_ms": 2, "longest_delay_ms": 10, **options},
        )

    async def perform(self, task):
        self.performed.append(task)
        self.at_once[task.subject] += 1
        self.most_at_once = max(self.most_at_once, self.at_once[task.subject])
        try:
            if self.hold is not None:
                await self.hold.wait()
            else:
                await asyncio.sleep(0)
            if self.failures_left > 0:
                self.failures_left -= 1
                raise ConnectionError("carrier is away")
        finally:
            self.at_once[task.subject] -= 1
        return task.payload

    def record(self, uow, task, outcome):
        uow.run(INSERT_EFFECT, {"subject": f"{task.subject}/{outcome}", "by": self.worker})

    def announce(self, uow, task, error):
        uow.run(INSERT_NOTE, {"name": f"parked {task.subject}", "body": error})


def enqueue(subject, payload=0, **options):
    return lambda uow: queue.enqueue(uow, "ship", subject, payload, **options)


async def until(condition, within_s=8.0):
    """Wait until the awaited condition is true."""
    async with asyncio.timeout(within_s):
        while not await condition():
            await asyncio.sleep(0.005)


def none_open(store):
    async def condition():
        return await store.read(queue.open_tasks) == 0

    return condition


async def effects(store):
    return [row.subject for row in await store.read(lambda reader: reader.rows(EFFECTS))]


def live(database):
    """A store on the machine's clock: leases and back-off pass by themselves."""
    clock = SystemClock()
    return database.open(clock=clock, ids=TimeSortedIds(clock))


def claim(kind, most=10):
    return lambda uow: queue.claim(uow, {kind.name: kind}, most)


async def test_a_task_is_written_with_its_fact_or_not_at_all(database):
    store = database.open()

    def failing(uow):
        queue.enqueue(uow, "ship", "ord_1", 0)
        raise ValueError

    with pytest.raises(ValueError):
        await store.write(failing)
    assert await store.read(queue.open_tasks) == 0
    await store.write(enqueue("ord_1"))
    assert await store.read(queue.open_tasks) == 1


async def test_a_task_is_performed_recorded_and_gone(database):
    store, ships = live(database), Ships()
    runner = TaskRunner(store, [ships.kind])
    runner.start()
    await store.write(enqueue("ord_1", "parcel"))
    await until(none_open(store))
    await runner.stop()
    assert await effects(store) == ["ord_1/parcel"]
    assert [task.attempt for task in ships.performed] == [1]
    assert database.rows("SELECT count(*) FROM task") == [(0,)]


async def test_a_commit_wakes_the_runner_at_once(database):
    store, ships = live(database), Ships()
    runner = TaskRunner(store, [ships.kind])
    runner.start()
    await asyncio.sleep(0.05)  # it is idle now, for up to a second
    started = asyncio.get_running_loop().time()
    await store.write(enqueue("ord_1"))
    await until(none_open(store))
    assert asyncio.get_running_loop().time() - started < 0.6
    await runner.stop()


async def test_two_runners_perform_each_task_once(database):
    store = live(database)
    other_store = live(database) if database.dialect == "postgresql" else store
    first, second = Ships(worker="first"), Ships(worker="second")
    runners = [
        TaskRunner(store, [first.kind], concurrency=8),
        TaskRunner(other_store, [second.kind], concurrency=8),
    ]
    with structlog.testing.capture_logs() as logged:
        for runner in runners:
            runner.start()
        await asyncio.gather(*(store.write(enqueue(f"ord_{index % 40}", index)) for index in range(200)))
        await until(none_open(store))
        for runner in runners:
            await runner.stop()
    assert logged == []  # no claim failed because the other one was quicker
    found = await effects(store)
    assert sorted(found) == sorted(f"ord_{index % 40}/{index}" for index in range(200))
    assert len(first.performed) + len(second.performed) == 200


async def test_claims_of_two_nodes_do_not_break_each_other(postgres):
    store, other_store, ships = live(postgres), live(postgres), Ships()
    for payload in "ab":
        await store.write(enqueue("ord_1", payload))
    claiming = threading.Event()

    def slow_claim(uow):
        claimed = queue.claim(uow, {"ship": ships.kind}, 1)
        claiming.set()
        time.sleep(0.2)
        return claimed

    with structlog.testing.capture_logs() as logged:
        first = asyncio.create_task(store.write(slow_claim, locks=(queue.CLAIM_LOCK,)))
        assert await asyncio.to_thread(claiming.wait, 5)
        runner = TaskRunner(other_store, [ships.kind])
        runner.start()
        (task,) = await first
        await asyncio.sleep(0.1)
        assert ships.performed == []  # its sibling runs on the other node
        await store.write(lambda uow: queue.end(uow, task))
        await until(none_open(store))
        await runner.stop()
    assert logged == []
    assert await effects(store) == ["ord_1/b"]


async def test_one_task_runs_at_a_time_per_subject_and_kind(database):
    store, ships = live(database), Ships()
    runner = TaskRunner(store, [ships.kind])
    await asyncio.gather(*(store.write(enqueue("ord_1", index)) for index in range(10)))
    runner.start()
    await until(none_open(store))
    await runner.stop()
    assert len(await effects(store)) == 10
    assert ships.most_at_once == 1


async def test_a_claim_takes_one_of_a_subject_and_the_next_only_after_it_ended(database):
    store, kind = database.open(rehearse=True), Ships().kind
    await store.write(enqueue("ord_1", "a"))
    await store.write(enqueue("ord_1", "b"))
    (first,) = await store.write(claim(kind))
    assert await store.write(claim(kind)) == []
    await store.write(lambda uow: queue.end(uow, first))
    (second,) = await store.write(claim(kind))
    assert [first.payload, second.payload] == ["a", "b"]


async def test_a_lost_lease_is_claimed_again_with_a_higher_fence(database):
    store, kind = database.open(), Ships().kind
    await store.write(enqueue("ord_1"))
    (first,) = await store.write(claim(kind))
    database.clock.advance(kind.lease_ms - 1)
    assert await store.write(queue.release_lost_leases) == 0
    database.clock.advance(1)
    assert await store.write(queue.release_lost_leases) == 1
    (second,) = await store.write(claim(kind))
    assert second.task_id == first.task_id
    assert (first.fence, second.fence) == (1, 2)
    assert (first.attempt, second.attempt) == (1, 2)


async def test_a_stale_outcome_does_not_end_the_task(database):
    store, kind = database.open(), Ships().kind
    await store.write(enqueue("ord_1"))
    (stale,) = await store.write(claim(kind))
    database.clock.advance(kind.lease_ms)
    await store.write(queue.release_lost_leases)
    (current,) = await store.write(claim(kind))
    await store.write(lambda uow: queue.end(uow, stale))
    await store.write(lambda uow: queue.retry_later(uow, kind, stale, "late"))
    assert await store.read(queue.open_tasks) == 1
    assert database.rows("SELECT state, fence FROM task") == [("running", 2)]
    await store.write(lambda uow: queue.end(uow, current))
    assert await store.read(queue.open_tasks) == 0


async def test_leases_are_all_released_when_the_only_process_starts(database):
    store, kind = database.open(), Ships().kind
    await store.write(enqueue("ord_1"))
    await store.write(claim(kind))
    assert await store.write(queue.release_all_leases) == 1
    assert len(await store.write(claim(kind))) == 1


async def test_a_task_is_not_claimed_before_it_is_due(database):
    store, kind = database.open(), Ships().kind
    due = database.clock.now_ms() + 1_000
    await store.write(enqueue("ord_1", due_at_ms=due))
    assert await store.write(claim(kind)) == []
    assert await store.read(lambda reader: queue.next_due_ms(reader, ["ship"])) == due
    database.clock.advance(1_000)
    assert len(await store.write(claim(kind))) == 1
    assert await store.read(lambda reader: queue.next_due_ms(reader, ["ship"])) is None


async def test_back_off_doubles_with_jitter_within_its_bounds(database):
    store = database.open()
    kind = Ships(first_delay_ms=100, longest_delay_ms=1_000, most_attempts=50).kind
    await store.write(enqueue("ord_1"))
    ceilings = [100, 200, 400, 800, 1_000, 1_000]
    for ceiling in ceilings:
        (task,) = await store.write(claim(kind))
        await store.write(lambda uow, task=task: queue.retry_later(uow, kind, task, "away"))
        due = await store.read(lambda reader: queue.next_due_ms(reader, ["ship"]))
        delay = due - database.clock.now_ms()
        assert ceiling // 2 <= delay <= ceiling
        database.clock.advance(delay)


async def test_a_failed_task_is_tried_again_until_it_succeeds(database):
    store, ships = live(database), Ships(fails=3)
    runner = TaskRunner(store, [ships.kind])
    runner.start()
    await store.write(enqueue("ord_1"))
    await until(none_open(store))
    await runner.stop()
    assert [task.attempt for task in ships.performed] == [1, 2, 3, 4]
    assert await effects(store) == ["ord_1/0"]


async def test_a_task_out_of_attempts_is_parked_and_announced(database):
    store, ships = live(database), Ships(fails=99, most_attempts=3)
    runner = TaskRunner(store, [ships.kind])
    runner.start()
    await store.write(enqueue("ord_1"))
    await until(none_open(store))
    await runner.stop()
    assert len(ships.performed) == 3
    (parked,) = await store.read(queue.parked_tasks)
    assert (parked.subject, parked.attempts) == ("ord_1", 3)
    assert "carrier is away" in parked.last_error
    assert await store.read(names) == ["parked ord_1"]
    assert await effects(store) == []


async def test_a_task_whose_worker_dies_every_time_is_parked_too(database):
    store, ships = live(database), Ships(most_attempts=3)
    await store.write(enqueue("ord_1"))
    for _ in range(3):
        await store.write(claim(ships.kind))
        await store.write(queue.release_all_leases)
    runner = TaskRunner(store, [ships.kind])
    runner.start()
    await until(none_open(store))
    await runner.stop()
    assert ships.performed == []
    assert await store.read(names) == ["parked ord_1"]


async def test_a_call_beyond_its_deadline_is_cut_off_and_tried_again(database):
    store = live(database)
    ships = Ships(hold=asyncio.Event(), deadline_ms=30, lease_ms=1_000)
    runner = TaskRunner(store, [ships.kind])
    runner.start()
    await store.write(enqueue("ord_1"))

    async def tried_again():
        return len(ships.performed) >= 2

    await until(tried_again)
    ships.hold.set()
    await until(none_open(store))
    await runner.stop()
    assert await effects(store) == ["ord_1/0"]


async def test_an_outcome_that_cannot_be_recorded_leaves_the_task(database):
    store, ships = live(database), Ships()
    refusals = [1, 1]

    def record(uow, task, outcome):
        if refusals:
            refusals.pop()
            raise ValueError("not yet")
        ships.record(uow, task, outcome)

    kind = TaskKind("ship", ships.perform, record, ships.announce, first_delay_ms=2)
    runner = TaskRunner(store, [kind])
    runner.start()
    await store.write(enqueue("ord_1"))
    await until(none_open(store))
    await runner.stop()
    assert len(ships.performed) == 3
    assert await effects(store) == ["ord_1/0"]


async def test_tasks_of_kinds_a_worker_does_not_know_do_not_stand_in_its_way(database):
    store, ships = live(database), Ships()
    for index in range(5):
        await store.write(lambda uow, index=index: queue.enqueue(uow, "mint", f"ord_{index}", 0))
    await store.write(enqueue("ord_9"))
    runner = TaskRunner(store, [ships.kind], concurrency=2)
    runner.start()

    async def shipped():
        return await effects(store) == ["ord_9/0"]

    await until(shipped)
    await runner.stop()
    assert await store.read(queue.open_tasks) == 5


async def test_no_more_than_the_given_number_run_at_once(database):
    store, hold = live(database), asyncio.Event()
    ships = Ships(hold=hold)
    runner = TaskRunner(store, [ships.kind], concurrency=3)
    for index in range(8):
        await store.write(enqueue(f"ord_{index}"))
    runner.start()

    async def busy():
        return len(ships.performed) == 3

    await until(busy)
    await asyncio.sleep(0.05)
    assert len(ships.performed) == 3
    hold.set()
    await until(none_open(store))
    await runner.stop()
    assert len(ships.performed) == 8


async def test_stop_waits_for_what_is_in_flight(database):
    store, hold = live(database), asyncio.Event()
    ships = Ships(hold=hold)
    runner = TaskRunner(store, [ships.kind], concurrency=1)
    await store.write(enqueue("ord_1"))
    await store.write(enqueue("ord_2"))
    runner.start()

    async def busy():
        return len(ships.performed) == 1

    await until(busy)
    stopping = asyncio.create_task(runner.stop())
    await asyncio.sleep(0.05)
    assert not stopping.done()
    hold.set()
    await stopping
    assert await effects(store) == ["ord_1/0"]
    assert await store.read(queue.open_tasks) == 1


async def test_stop_gives_up_after_its_time_and_the_task_is_resumed_later(database):
    store = live(database)
    ships = Ships(hold=asyncio.Event())
    runner = TaskRunner(store, [ships.kind], concurrency=1)
    await store.write(enqueue("ord_1"))
    runner.start()

    async def busy():
        return len(ships.performed) == 1

    await until(busy)
    await asyncio.wait_for(runner.stop(within_s=0.05), 2.0)
    assert await store.write(queue.release_all_leases) == 1
    later = Ships()
    runner = TaskRunner(store, [later.kind])
    runner.start()
    await until(none_open(store))
    await runner.stop()
    assert [task.attempt for task in later.performed] == [2]
    assert await effects(store) == ["ord_1/0"]


def given(handover, subject):
    return lambda uow: handover.give(uow, "ship", subject, 0)


async def test_a_task_that_is_handed_over_is_performed_without_a_claim(database, monkeypatch):
    store = live(database)
    ships, handover = Ships(), Handover()
    runner = TaskRunner(store, [ships.kind], handover=handover)
    monkeypatch.setattr(queue, "claim", lambda *_: [])
    runner.start()
    try:
        await store.write(given(handover, "ord_1"))
        await until(none_open(store))
    finally:
        await runner.stop()
    assert [(task.attempt, task.fence) for task in ships.performed] == [(1, 1)]
    assert await effects(store) == ["ord_1/0"]


async def test_a_task_is_not_handed_over_before_its_commit_nor_without_one(database):
    store = live(database)
    ships, handover = Ships(), Handover()
    runner = TaskRunner(store, [ships.kind], handover=handover)
    runner.start()

    def fails(uow):
        handover.give(uow, "ship", "ord_1", 0)
        raise RuntimeError("spoiled")

    try:
        with pytest.raises(RuntimeError):
            await store.write(fails)
        await asyncio.sleep(0.02)
    finally:
        await runner.stop()
    assert ships.performed == [] and await store.read(queue.open_tasks) == 0


async def test_without_a_worker_or_room_a_task_waits_for_a_claim(database):
    store = live(database)
    hold = asyncio.Event()
    ships, handover = Ships(hold=hold), Handover()
    await store.write(given(handover, "ord_1"))
    runner = TaskRunner(store, [ships.kind], concurrency=1, handover=handover)
    runner.start()
    try:
        await until(lambda: _true(len(ships.performed) == 1))
        await store.write(given(handover, "ord_2"))
        await asyncio.sleep(0.02)
        assert len(ships.performed) == 1
        hold.set()
        await until(none_open(store))
    finally:
        await runner.stop()
    assert sorted(await effects(store)) == ["ord_1/0", "ord_2/0"]


async def test_a_task_that_was_handed_to_a_dead_worker_is_claimed_once_its_lease_is_void(database):
    store = live(database)
    ships, handover = Ships(), Handover()
    handover.open({"ship": 60_000}, lambda: True, lambda task: None)
    await store.write(given(handover, "ord_1"))
    runner = TaskRunner(store, [ships.kind])
    await store.write(queue.release_all_leases)
    runner.start()
    try:
        await until(none_open(store))
    finally:
        await runner.stop()
    assert [(task.attempt, task.fence) for task in ships.performed] == [(2, 2)]


async def _true(value):
    return value


async def test_what_nobody_waits_for_makes_way_to_what_somebody_waits_for(database, monkeypatch):
    monkeypatch.setattr("gateway.kernel.precedence.MAKES_WAY_S", 30)
    store = live(database)
    hold, order = asyncio.Event(), []

    async def asked(task):
        order.append("asked")
        await hold.wait()
        order.append("answered")

    async def shipped(task):
        order.append("shipped")

    kinds = [
        TaskKind("ask", asked, lambda *_: None, lambda *_: None, lane=Lane.INTERACTIVE),
        TaskKind("ship", shipped, lambda *_: None, lambda *_: None),
    ]
    runner = TaskRunner(store, kinds)
    runner.start()
    try:
        await store.write(lambda uow: queue.enqueue(uow, "ask", "ord_1", 0))
        await until(lambda: _true(order == ["asked"]))
        await store.write(enqueue("ord_2"))
        await asyncio.sleep(0.05)
        hold.set()
        await until(none_open(store))
    finally:
        await runner.stop()
    assert order == ["asked", "answered", "shipped"]


async def test_a_slow_answer_holds_nobody_else_up(database):
    store = live(database)
    hold, ships = asyncio.Event(), Ships()

    async def asked(task):
        await hold.wait()

    asks = TaskKind("ask", asked, lambda *_: None, lambda *_: None, lane=Lane.INTERACTIVE)
    runner = TaskRunner(store, [asks, ships.kind])
    runner.start()
    try:
        await store.write(lambda uow: queue.enqueue(uow, "ask", "ord_1", 0))
        await store.write(enqueue("ord_2"))
        await until(lambda: _true(len(ships.performed) == 1))
    finally:
        hold.set()
        await runner.stop()
