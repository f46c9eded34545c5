from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.kernel.clock import ManualClock, SystemClock, parse_rfc3339, rfc3339, utc_datetime


def test_the_system_clock_tells_milliseconds_since_the_epoch():
    before = time.time_ns() // 1_000_000
    assert before <= SystemClock().now_ms() <= time.time_ns() // 1_000_000


def test_the_system_clock_does_not_go_backwards(monkeypatch):
    clock = SystemClock()
    latest = clock.now_ms()
    monkeypatch.setattr(time, "time_ns", lambda: (latest - 5_000) * 1_000_000)
    assert clock.now_ms() == latest


def test_a_manual_clock_moves_only_when_told():
    clock = ManualClock(1_000)
    assert clock.now_ms() == clock.now_ms() == 1_000
    clock.advance(250)
    assert clock.now_ms() == 1_250
    with pytest.raises(AssertionError):
        clock.advance(-1)


@pytest.mark.parametrize(
    ("at_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_790_000_000_007, "2026-09-21T14:13:20.007Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
    ],
)
def test_the_wire_writes_utc_with_milliseconds(at_ms, text):
    assert rfc3339(at_ms) == text
    assert parse_rfc3339(text) == at_ms


def test_an_offset_is_understood_and_a_missing_one_refused():
    assert parse_rfc3339("1970-01-01T01:00:00+01:00") == 0
    with pytest.raises(ValueError, match="no UTC offset"):
        parse_rfc3339("1970-01-01T00:00:00")
    with pytest.raises(ValueError):
        parse_rfc3339("yesterday")


@given(st.integers(0, 4_102_444_800_000))
def test_times_survive_the_wire(at_ms):
    assert parse_rfc3339(rfc3339(at_ms)) == at_ms


def test_a_stored_time_becomes_an_aware_one():
    assert utc_datetime(1_500) == datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)
