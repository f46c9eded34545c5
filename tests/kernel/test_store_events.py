"""Events are numbered without gaps, written with their facts, and told after the commit in order."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict

import pytest

from gateway.kernel.documents import decode
from gateway.kernel.events.log import EventLog, Position, events_after, open_stream, position
from gateway.kernel.events.model import Event
from tests.kernel.tables import INSERT_NOTE
from tests.support.databases import Gate, queued_together


def tell(stream, name, *, fails=False, append=False):
    """Return a unit with a fact (a note) and its event."""

    def unit(uow):
        row = {"name": name, "body": stream}
        if append:
            uow.append(INSERT_NOTE, row)
        else:
            uow.run(INSERT_NOTE, row)
        uow.emit(Event(stream, "note.written", {"name": name}))
        if fails:
            raise ValueError(name)

    return unit


def stored(database):
    """Return {stream: [(seq, name)]} as the database has it."""
    found = defaultdict(list)
    for stream, seq, body in database.rows("SELECT stream, seq, body FROM event ORDER BY stream, seq"):
        found[stream].append((seq, decode(body)["name"]))
    return dict(found)


@pytest.fixture
def heard():
    return []


@pytest.fixture
def event_log(heard):
    log = EventLog()
    log.listen(lambda recorded: heard.extend(recorded))
    return log


async def test_a_stream_starts_at_one_and_counts_up(database):
    store = database.open(rehearse=True)
    for name in "abc":
        await store.write(tell("s", name))
    assert stored(database) == {"s": [(1, "a"), (2, "b"), (3, "c")]}


async def test_a_stream_can_be_opened_before_its_first_event(database):
    store = database.open()
    opened = await store.write(lambda uow: open_stream(uow, "s"))
    assert opened.seq == 0
    await store.write(tell("s", "a"))
    assert await store.write(lambda uow: open_stream(uow, "s")) == Position(opened.epoch, 1)
    assert await store.read(lambda reader: position(reader, "s")) == Position(opened.epoch, 1)
    assert await store.read(lambda reader: position(reader, "none")) is None


async def test_who_comes_back_gets_exactly_the_rest(database):
    store = database.open()
    for index in range(10):
        await store.write(tell("s", f"n{index}"))
    rest = await store.read(lambda reader: events_after(reader, "s", 7))
    assert [(event.seq, decode(event.body)["name"]) for event in rest] == [(8, "n7"), (9, "n8"), (10, "n9")]
    assert await store.read(lambda reader: events_after(reader, "s", 10)) == []
    assert [e.seq for e in await store.read(lambda reader: events_after(reader, "s", 0, most=2))] == [1, 2]


async def test_numbers_are_gapless_under_many_writers_and_failures(database, event_log, heard):
    store = database.open(event_log=event_log, strict=False)
    chance = random.Random(7)
    streams = [f"customer-{index}" for index in range(5)]
    expected = set()
    tasks = []
    for index in range(600):
        name, fails = f"n{index:03d}", chance.random() < 0.1
        unit = tell(chance.choice(streams), name, fails=fails, append=index % 2 == 0)
        if not fails:
            expected.add(name)
        tasks.append(asyncio.create_task(store.write(unit)))
        if index % 40 == 0:
            await asyncio.sleep(0.002)  # several batches, not one
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0.02)

    found = stored(database)
    for numbered in found.values():
        assert [seq for seq, _ in numbered] == list(range(1, len(numbered) + 1))
    told = [name for numbered in found.values() for _, name in numbered]
    assert len(told) == len(set(told))
    # No event without its fact, no fact without its event.
    assert set(told) == expected
    assert {row[0] for row in database.rows("SELECT name FROM note")} == expected

    for stream, numbered in found.items():
        assert [event.seq for event in heard if event.stream == stream] == [seq for seq, _ in numbered]


async def test_streams_of_a_batch_are_numbered_in_sorted_order(database, event_log, heard):
    store = database.open(event_log=event_log, committers=1)
    writes = [store.write(tell(stream, f"n-{stream}")) for stream in ("zebra", "ape", "moose")]
    await queued_together(store, Gate(), writes)
    await asyncio.sleep(0.01)
    assert [event.stream for event in heard] == ["ape", "moose", "zebra"]


async def test_a_unit_that_raises_leaves_no_event(database, event_log, heard):
    store = database.open(event_log=event_log)
    with pytest.raises(ValueError, match="a"):
        await store.write(tell("s", "a", fails=True))
    await asyncio.sleep(0.01)
    assert stored(database) == {}
    assert heard == []


async def test_a_unit_whose_appended_row_fails_leaves_no_event_and_no_gap(database, event_log, heard):
    store = database.open(event_log=event_log, committers=1)
    results = await queued_together(
        store, Gate(), [store.write(tell("s", name, append=True)) for name in ("a", "a", "b")]
    )
    assert [isinstance(result, Exception) for result in results] == [False, True, False]
    await asyncio.sleep(0.01)
    assert stored(database) == {"s": [(1, "a"), (2, "b")]}
    assert [event.seq for event in heard] == [1, 2]


async def test_an_event_that_cannot_be_encoded_fails_only_its_own_unit(database):
    store = database.open(committers=1)

    def unencodable(uow):
        uow.emit(Event("s", "note.written", {"name": object()}))

    results = await queued_together(
        store,
        Gate(),
        [store.write(tell("s", "a")), store.write(unencodable), store.write(tell("s", "b"))],
    )
    assert [isinstance(result, Exception) for result in results] == [False, True, False]
    assert stored(database) == {"s": [(1, "a"), (2, "b")]}


async def test_the_reply_comes_before_the_event(database):
    log, order = EventLog(), []
    log.listen(lambda recorded: order.append("event"))
    store = database.open(event_log=log)

    async def caller():
        await store.write(tell("s", "a"))
        order.append("reply")

    await caller()
    await asyncio.sleep(0.01)
    assert order == ["reply", "event"]
