"""What every store promises: batches, failures, hooks. One suite, both databases."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time

import pytest

from gateway.kernel.errors import ConflictError, UnavailableError, VitrineError
from gateway.kernel.precedence import MAKES_WAY_S
from gateway.kernel.store.batch import BatchLimits, UnitMisuseError
from gateway.kernel.store.unit import Lane
from tests.kernel.tables import (
    ADD,
    COUNT_NOTES,
    GET_COUNTER,
    GET_NOTE,
    INSERT_COUNTER,
    INSERT_NOTE,
    SUM_COUNTERS,
    names,
    write_note,
)
from tests.support.databases import Gate, queued_together


class BatchCountingClock:
    """The store reads its clock once per transaction, so equal times mean one transaction."""

    def __init__(self):
        self._times = itertools.count(1)

    def now_ms(self):
        return next(self._times)


def refuse(uow):
    raise ConflictError("stock.sold_out", "Sold out.")


def break_down(uow):
    raise ValueError("a bug")


class Counted:
    """A unit that inserts a note and counts how often it ran."""

    def __init__(self, name):
        self.name = name
        self.runs = 0

    def __call__(self, uow):
        self.runs += 1
        uow.run(INSERT_NOTE, {"name": self.name, "body": None})
        return uow.now_ms


async def test_a_unit_returns_its_value_and_is_there_afterwards(database):
    store = database.open(rehearse=True)
    assert await store.write(write_note("a", "hello")) == "a"
    found = await store.read(lambda reader: reader.row(GET_NOTE, {"name": "a"}))
    assert (found.name, found.body) == ("a", "hello")


async def test_a_query_for_a_missing_row_is_none(database):
    store = database.open()
    assert await store.read(lambda reader: reader.row(GET_NOTE, {"name": "none"})) is None


async def test_a_sum_is_an_int_on_both_databases(database):
    store = database.open()
    await store.write(lambda uow: uow.run(INSERT_COUNTER, {"name": "a", "value": 2**53 + 1}))
    total = (await store.read(lambda reader: reader.row(SUM_COUNTERS))).total
    assert type(total) is int
    assert total == 2**53 + 1


async def test_units_that_wait_together_share_one_commit(database):
    store = database.open(clock=BatchCountingClock(), committers=1)
    units = [Counted(f"n{index}") for index in range(50)]
    times = await queued_together(store, Gate(), [store.write(unit) for unit in units])
    assert len(set(times)) == 1
    assert all(unit.runs == 1 for unit in units)


async def test_a_lone_unit_commits_at_once(database):
    store = database.open(limits=BatchLimits(milliseconds=60_000))
    started = time.monotonic()
    for index in range(5):
        await store.write(write_note(f"n{index}"))
    assert time.monotonic() - started < 2.0


async def test_a_batch_is_bounded_by_count(database):
    store = database.open(clock=BatchCountingClock(), committers=1, limits=BatchLimits(count=10))
    units = [Counted(f"n{index}") for index in range(35)]
    times = await queued_together(store, Gate(), [store.write(unit) for unit in units])
    assert [times.count(time_) for time_ in sorted(set(times))] == [10, 10, 10, 5]


async def test_a_batch_is_bounded_by_milliseconds_and_units_given_back_keep_their_order(database):
    store = database.open(clock=BatchCountingClock(), committers=1, limits=BatchLimits(milliseconds=10))
    order = []

    def slow(name):
        def unit(uow):
            order.append(name)
            time.sleep(0.004)
            return uow.now_ms

        return unit

    times = await queued_together(store, Gate(), [store.write(slow(index)) for index in range(12)])
    assert len(set(times)) >= 3
    assert order == list(range(12))
    assert times == sorted(times)


async def test_interactive_units_run_before_background_units(database):
    store = database.open(committers=1, limits=BatchLimits(count=2))
    order = []
    writes = [store.write(lambda uow: order.append("background"), lane=Lane.BACKGROUND) for _ in range(3)]
    writes += [store.write(lambda uow: order.append("interactive")) for _ in range(3)]
    await queued_together(store, Gate(), writes)
    assert order == ["interactive"] * 3 + ["background"] * 3


async def test_long_interactive_units_in_a_batch_leave_the_background_ones_their_time(database):
    store = database.open(
        clock=BatchCountingClock(),
        committers=1,
        limits=BatchLimits(milliseconds=60_000, background_milliseconds=20),
    )
    held = threading.Event()

    def hold(uow):
        held.wait(10)

    def slow(uow):
        time.sleep(0.03)
        return uow.now_ms

    holding = asyncio.ensure_future(store.write(hold))
    await asyncio.sleep(0.02)
    people = [asyncio.ensure_future(store.write(slow)) for _ in range(3)]
    others = [
        asyncio.ensure_future(store.write(lambda uow: uow.now_ms, lane=Lane.BACKGROUND)) for _ in range(3)
    ]
    await asyncio.sleep(MAKES_WAY_S + 0.01)
    held.set()
    await holding
    batches = {*await asyncio.gather(*people), *await asyncio.gather(*others)}
    assert len(batches) == 1


async def test_a_failing_unit_gets_its_own_error_and_its_neighbours_commit(database):
    store = database.open(committers=1)
    units = [Counted(f"n{index}") for index in range(6)]
    writes = [store.write(unit) for unit in units]
    writes.insert(3, store.write(break_down))
    results = await queued_together(store, Gate(), writes)
    assert [type(result) for result in results].count(ValueError) == 1
    assert type(results[3]) is ValueError
    assert await store.read(names) == [unit.name for unit in units]
    assert max(unit.runs for unit in units) == 2


async def test_from_the_second_failure_on_units_run_in_savepoints(database):
    store = database.open(committers=1)
    good = [Counted(f"n{index:02d}") for index in range(20)]
    writes = []
    for unit in good:
        writes += [store.write(unit), store.write(break_down)]
    results = await queued_together(store, Gate(), writes)
    assert sum(isinstance(result, ValueError) for result in results) == 20
    assert await store.read(names) == [unit.name for unit in good]
    # Twenty failures, and still nobody ran more than three times.
    assert max(unit.runs for unit in good) == 3


async def test_a_refusal_before_writing_costs_its_neighbours_nothing(database):
    store = database.open(committers=1)
    units = [Counted(f"n{index}") for index in range(6)]
    writes = [store.write(unit) for unit in units]
    writes.insert(3, store.write(refuse))
    results = await queued_together(store, Gate(), writes)
    assert results[3].code == "stock.sold_out"
    assert [unit.runs for unit in units] == [1] * 6


async def test_a_conditional_update_that_changes_nothing_has_not_written(database):
    store = database.open(rehearse=True)

    def take_the_last(uow):
        if uow.run(ADD, {"its_name": "missing", "step": -1}) == 0:
            raise ConflictError("stock.sold_out", "Sold out.")

    with pytest.raises(ConflictError):
        await store.write(take_the_last)


async def test_a_refusal_after_writing_is_rolled_back(database):
    store = database.open(strict=False)

    def unit(uow):
        uow.run(INSERT_NOTE, {"name": "a", "body": None})
        refuse(uow)

    with pytest.raises(ConflictError):
        await store.write(unit)
    assert await store.read(names) == []


async def test_a_refusal_after_writing_is_misuse_in_strict_mode(database):
    store = database.open(strict=True)

    def unit(uow):
        uow.run(INSERT_NOTE, {"name": "a", "body": None})
        refuse(uow)

    with pytest.raises(UnitMisuseError, match=r"stock\.sold_out"):
        await store.write(unit)
    assert await store.read(names) == []


async def test_a_refusal_forgets_what_the_unit_left_for_the_end_of_the_batch(database):
    store = database.open()
    called = []

    def unit(uow):
        uow.append(INSERT_NOTE, {"name": "a", "body": None})
        uow.after_commit(lambda: called.append("hook"))
        refuse(uow)

    with pytest.raises(ConflictError):
        await store.write(unit)
    assert await store.read(names) == []
    assert called == []


async def test_a_unit_runs_twice_when_rehearsed_and_counts_once(database):
    store = database.open(rehearse=True)
    unit = Counted("a")
    await store.write(unit)
    assert unit.runs == 2
    assert await store.read(names) == ["a"]


async def test_a_unit_that_swallows_a_database_error_cannot_take_its_neighbours_along(database):
    store = database.open(committers=1)
    await store.write(write_note("taken"))
    swallowed = []

    def swallow(uow):
        try:
            uow.run(INSERT_NOTE, {"name": "taken", "body": None})
        except Exception as error:
            swallowed.append(error)

    units = [Counted(f"n{index}") for index in range(4)]
    writes = [store.write(unit) for unit in units]
    writes.insert(2, store.write(swallow))
    results = await queued_together(store, Gate(), writes)
    assert swallowed
    assert not any(isinstance(results[index], Exception) for index in (0, 1, 3, 4))
    assert await store.read(names) == ["n0", "n1", "n2", "n3", "taken"]


async def test_whatever_a_unit_raises_reaches_its_caller_and_the_store_goes_on(database):
    store = database.open(committers=1)
    units = [Counted("a"), Counted("b")]

    def stop(uow):
        next(iter(()))

    def leave(uow):
        raise SystemExit

    def unit_of(error):
        async def caught():
            try:
                await store.write(error)
            except BaseException as raised:
                return type(raised)

        return caught()

    results = await queued_together(
        store, Gate(), [store.write(units[0]), unit_of(stop), unit_of(leave), store.write(units[1])]
    )
    assert results[1:3] == [RuntimeError, SystemExit]
    assert await store.read(names) == ["a", "b"]


async def test_hooks_and_signals_come_after_the_commit_on_the_event_loop_and_once(database):
    store = database.open(rehearse=True)
    seen = []
    store.signals.on("bell", lambda: seen.append("signal"))

    def hook():
        there = database.rows("SELECT count(*) FROM note")[0][0]
        seen.append(("hook", there, threading.current_thread() is threading.main_thread()))

    def unit(uow):
        uow.run(INSERT_NOTE, {"name": "a", "body": None})
        uow.after_commit(hook)
        uow.signal("bell")

    await store.write(unit)
    await asyncio.sleep(0.01)
    assert seen == [("hook", 1, True), "signal"]


async def test_many_units_that_signal_make_one_wake_up(database):
    store = database.open(committers=1)
    heard = []
    store.signals.on("bell", lambda: heard.append(1))
    await queued_together(store, Gate(), [store.write(lambda uow: uow.signal("bell")) for _ in range(20)])
    await asyncio.sleep(0.01)
    assert heard == [1]


async def test_hooks_and_signals_never_come_after_a_rollback(database):
    store = database.open(committers=1)
    seen = []
    store.signals.on("bell", lambda: seen.append("signal"))

    def failing(uow):
        uow.after_commit(lambda: seen.append("failed"))
        uow.signal("bell")
        raise ValueError

    def good(uow):
        uow.after_commit(lambda: seen.append("good"))

    await queued_together(store, Gate(), [store.write(good), store.write(failing), store.write(good)])
    await asyncio.sleep(0.01)
    assert seen == ["good", "good"]


async def test_a_broken_hook_is_reported_and_keeps_nobody_from_hearing(database):
    store = database.open(committers=1)
    seen, reported = [], []
    store.signals.on("bell", lambda: seen.append("signal"))
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: reported.append(context["exception"])
    )

    def broken(uow):
        uow.after_commit(lambda: 1 / 0)
        uow.signal("bell")

    def good(uow):
        uow.after_commit(lambda: seen.append("good"))

    await queued_together(store, Gate(), [store.write(broken), store.write(good)])
    await asyncio.sleep(0.01)
    assert seen == ["good", "signal"]
    assert [type(error) for error in reported] == [ZeroDivisionError]


async def test_appended_rows_that_break_a_constraint_fail_only_their_own_unit(database):
    store = database.open(committers=1)

    def append(name):
        def unit(uow):
            uow.append(INSERT_NOTE, {"name": name, "body": None})
            return name

        return unit

    results = await queued_together(
        store, Gate(), [store.write(append(name)) for name in ("a", "b", "a", "c")]
    )
    assert results[:2] + results[3:] == ["a", "b", "c"]
    assert isinstance(results[2], Exception)
    assert not isinstance(results[2], VitrineError)
    assert await store.read(names) == ["a", "b", "c"]


async def test_a_caller_that_went_away_does_not_disturb_the_batch(database):
    store = database.open(committers=1)
    gate = Gate()
    held = await gate.hold(store)
    left = asyncio.create_task(store.write(write_note("left")))
    stays = asyncio.create_task(store.write(write_note("stays")))
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.sleep(0)
    gate.open()
    assert await stays == "stays"
    await held
    # What was queued is done all the same: leaving is not undoing.
    assert await store.read(names) == ["left", "stays"]


async def test_a_backlog_of_ten_thousand_units_is_worked_off(database):
    store = database.open()
    await store.write(lambda uow: uow.run(INSERT_COUNTER, {"name": "sold", "value": 0}))
    await asyncio.gather(
        *(store.write(lambda uow: uow.run(ADD, {"its_name": "sold", "step": 1})) for _ in range(10_000))
    )
    assert (await store.read(lambda reader: reader.row(GET_COUNTER, {"name": "sold"}))).value == 10_000


async def test_closing_finishes_what_waits_and_refuses_what_comes_after(database):
    store = database.open()
    waiting = [asyncio.create_task(store.write(write_note(f"n{index:03d}"))) for index in range(200)]
    reads = [asyncio.create_task(store.read(lambda reader: reader.row(COUNT_NOTES))) for _ in range(50)]
    await asyncio.sleep(0)
    await store.close()
    assert await asyncio.gather(*waiting) == [f"n{index:03d}" for index in range(200)]
    assert len(await asyncio.gather(*reads)) == 50
    with pytest.raises(UnavailableError, match=r"store\.closed"):
        await store.write(write_note("late"))
    with pytest.raises(UnavailableError, match=r"store\.closed"):
        await store.read(names)
    await store.close()


async def test_units_of_one_caller_run_in_the_order_they_were_sent(database):
    store = database.open(committers=1)
    order = []
    await queued_together(
        store, Gate(), [store.write(lambda uow, index=index: order.append(index)) for index in range(100)]
    )
    assert order == list(range(100))
