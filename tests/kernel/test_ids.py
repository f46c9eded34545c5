from __future__ import annotations

import re
import threading

import pytest

from gateway.kernel.clock import ManualClock, SystemClock
from gateway.kernel.ids import CountingIds, Id, TimeSortedIds
from gateway.kernel.subjects import LegId, OrderId


def test_an_id_is_its_prefix_then_time_then_a_tail():
    clock = ManualClock(0x0123456789AB)
    made = TimeSortedIds(clock).new(OrderId)
    assert re.fullmatch(r"ord_0123456789ab[0-9a-f]{16}", made)
    assert isinstance(made, OrderId)


def test_ids_sort_in_the_order_they_were_made():
    clock = ManualClock()
    ids = TimeSortedIds(clock)
    made = []
    for index in range(2_000):
        made.append(ids.new(OrderId))
        if index % 100 == 0:
            clock.advance(1)
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_ids_keep_growing_when_the_clock_goes_back():
    class Backwards:
        times = iter([2_000, 1_000, 1_500, 3_000])

        def now_ms(self):
            return next(self.times)

    ids = TimeSortedIds(Backwards())
    made = [ids.new(OrderId) for _ in range(4)]
    assert made == sorted(made)
    assert len(set(made)) == 4


@pytest.mark.parametrize("source", [TimeSortedIds(SystemClock()), CountingIds()])
def test_ids_are_unique_over_threads(source):
    made: list[list[str]] = [[] for _ in range(8)]

    def work(mine):
        for _ in range(2_000):
            mine.append(source.new(LegId))

    threads = [threading.Thread(target=work, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one for mine in made for one in mine}) == 16_000
    assert all(mine == sorted(mine) for mine in made)


def test_two_sources_at_one_moment_do_not_meet():
    clock = ManualClock()
    made = {TimeSortedIds(clock).new(OrderId) for _ in range(1_000)}
    assert len(made) == 1_000


def test_a_well_formed_id_is_parsed_into_its_type():
    made = TimeSortedIds(ManualClock()).new(OrderId)
    assert OrderId.parse(str(made)) == made
    assert type(OrderId.parse(str(made))) is OrderId


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ord",
        "ord_",
        "leg_" + "0" * 28,
        "ord_" + "0" * 27,
        "ord_" + "0" * 29,
        "ord_" + "G" * 28,
        "ord_" + "A" * 28,
        "ord_" + "0" * 28 + "\n",
        " ord_" + "0" * 28,
        "ord_" + "٠" * 28,
    ],
)
def test_another_prefix_or_shape_is_refused(text):
    with pytest.raises(ValueError, match="not an id"):
        OrderId.parse(text)


def test_a_prefix_belongs_to_one_type():
    with pytest.raises(AssertionError, match="used twice"):

        class Second(Id):
            prefix = "ord"


def test_counting_ids_count():
    ids = CountingIds()
    assert ids.new(OrderId) == "ord_" + "1".rjust(28, "0")
    assert ids.new(OrderId) == "ord_" + "2".rjust(28, "0")
