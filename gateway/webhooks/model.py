"""What a notice is, when it is tried again, and what an answer means. No I/O.

The schedule and the meaning of answers are those of Standard Webhooks (standardwebhooks.com): ten attempts
over about three days, 2xx alone is success, a redirect is a failure, 410 ends the endpoint.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gateway.kernel.ids import Id

_SECOND, _MINUTE, _HOUR = 1_000, 60_000, 3_600_000
WAITS_MS = (
    0,
    5 * _SECOND,
    5 * _MINUTE,
    30 * _MINUTE,
    2 * _HOUR,
    5 * _HOUR,
    10 * _HOUR,
    14 * _HOUR,
    20 * _HOUR,
    24 * _HOUR,
)
"""Before each attempt, counted from the one before it."""
MOST_ATTEMPTS = len(WAITS_MS)
LEAST_ATTEMPTS = 5
GIVEN_UP_MS = 4 * 24 * _HOUR
"""A notice so old that is not answered has had its time after the least attempts."""
_JITTER = 0.2
LONGEST_RETRY_AFTER_MS = 24 * _HOUR
"""A receiver that asks for more is asked again after this."""
KEPT_MS = 30 * 24 * _HOUR
"""How long notices that have ended can be listed, paged and sent again."""


class NoticeId(Id):
    prefix = "ntc"


class NoticeState(StrEnum):
    WAITING = "waiting"
    """To be sent, now or again later."""
    DELIVERED = "delivered"
    FAILED = "failed"
    """Every attempt failed. It can be paged, and sent again by an operator."""
    KEPT = "kept"
    """There was nowhere to send it. It can be paged, and sent by an operator."""
    WITHDRAWN = "withdrawn"
    """Whom it is about does not let the endpoint know any more."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One notice under an attempt. ``attempt`` counts from 1 and is the fence of its outcome."""

    endpoint_id: str
    seq: int
    notice_id: str
    subject: str
    type: str
    data: Any
    attempt: int
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class Sight:
    """What an endpoint may be told about a subject: what was written after number ``after_seq``, without the
    fields that are ``hidden`` now, which notices may hold because they were not when they were written."""

    after_seq: int
    hidden: frozenset[str] = frozenset()

    def shown(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return a notice's data as it may be told."""
        return {
            name: self.shown(value) if isinstance(value, dict) else value
            for name, value in data.items()
            if name not in self.hidden
        }


class Meaning(StrEnum):
    """What an answer means for what is sent next."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    """The receiver had it and did not take it: this notice is tried again, others go on."""
    AWAY = "away"
    """No answer, or one that says not now: the endpoint is left alone for a while."""
    GONE = "gone"
    """410: the receiver wants nothing more."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an attempt. ``status`` is None without an answer; ``error`` says why then."""

    status: int | None = None
    retry_after_ms: int | None = None
    error: str | None = None

    @property
    def meaning(self) -> Meaning:
        if self.status is None or self.status in (429, 502, 503, 504):
            return Meaning.AWAY
        if 200 <= self.status < 300:
            return Meaning.DELIVERED
        return Meaning.GONE if self.status == 410 else Meaning.REFUSED


def wait_before(attempt: int, retry_after_ms: int | None) -> int:
    """Return how many milliseconds to wait before this attempt (from 2), with jitter.

    What the receiver asked for is waited for too, up to a day.
    """
    planned = WAITS_MS[attempt - 1]
    jitter = random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  # spreads retries, no secret
    return max(round(planned * jitter), min(retry_after_ms or 0, LONGEST_RETRY_AFTER_MS))
