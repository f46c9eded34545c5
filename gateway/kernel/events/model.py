"""Events: past facts with a namespace (``order.placed``), numbered per stream.

A stream belongs to a customer (or another subject that listens). Its numbers ``seq`` start at 1 and have
no gaps; ``epoch`` names the life of the stream and changes only if it is ever rebuilt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from gateway.kernel.ids import Id


class EventId(Id):
    prefix = "evt"


class Event(NamedTuple):
    """A fact to be told on a stream. ``body`` holds plain JSON values; never secrets or card data."""

    stream: str
    type: str
    body: Mapping[str, Any]
    merchant_id: str | None = None


class RecordedEvent(NamedTuple):
    """An event with its place in its stream. ``body`` is the JSON text as stored."""

    event_id: str
    stream: str
    epoch: str
    seq: int
    type: str
    body: str
    at_ms: int
