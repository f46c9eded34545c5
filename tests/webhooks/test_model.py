"""When a notice is tried again, and what an answer means."""

from __future__ import annotations

import pytest

from gateway.webhooks.model import (
    LONGEST_RETRY_AFTER_MS,
    MOST_ATTEMPTS,
    WAITS_MS,
    Answer,
    Meaning,
    wait_before,
)


def test_ten_attempts_take_about_three_days() -> None:
    assert MOST_ATTEMPTS == 10
    assert 70 * 3_600_000 < sum(WAITS_MS) < 80 * 3_600_000


@pytest.mark.parametrize("attempt", range(2, MOST_ATTEMPTS + 1))
def test_waits_are_jittered_around_the_plan(attempt: int) -> None:
    waits = {wait_before(attempt, None) for _ in range(200)}
    planned = WAITS_MS[attempt - 1]
    assert min(waits) >= planned * 0.8 - 1 and max(waits) <= planned * 1.2 + 1
    assert len(waits) > 50


def test_what_the_receiver_asks_for_is_waited_for_but_not_for_ever() -> None:
    assert wait_before(2, 3_600_000) == 3_600_000
    assert wait_before(2, 10**12) == LONGEST_RETRY_AFTER_MS
    assert wait_before(10, 1) > 1


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (200, Meaning.DELIVERED),
        (299, Meaning.DELIVERED),
        (None, Meaning.AWAY),
        (429, Meaning.AWAY),
        (503, Meaning.AWAY),
        (410, Meaning.GONE),
        (199, Meaning.REFUSED),
        (304, Meaning.REFUSED),
        (500, Meaning.REFUSED),
        (999, Meaning.REFUSED),
    ],
)
def test_every_status_has_a_meaning(status: int | None, meaning: Meaning) -> None:
    assert Answer(status).meaning is meaning
