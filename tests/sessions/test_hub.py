"""The hub hands each stream's events to its listeners, in order, and to nobody else."""

from __future__ import annotations

from gateway.kernel.events.model import RecordedEvent
from gateway.sessions.hub import Hub


def event(stream: str, seq: int) -> RecordedEvent:
    return RecordedEvent(f"evt_{stream}_{seq}", stream, "epoch_1", seq, "order.placed", "{}", 0)


def test_each_stream_gets_its_own_events_in_order() -> None:
    hub, heard = Hub(), {"a": [], "b": []}  # type: tuple[Hub, dict[str, list[int]]]
    for stream in heard:
        hub.listen(stream, lambda events, stream=stream: heard[stream].extend(one.seq for one in events))
    hub.deliver([event("a", 1), event("a", 2), event("b", 1), event("c", 9), event("a", 3)])
    assert heard == {"a": [1, 2, 3], "b": [1]}


def test_a_forgotten_listener_hears_nothing_and_leaves_nothing() -> None:
    hub, heard = Hub(), []  # type: tuple[Hub, list[int]]

    def listener(events: list[RecordedEvent]) -> None:
        heard.extend(one.seq for one in events)

    hub.listen("a", listener)
    assert hub.count("a") == 1
    hub.forget("a", listener)
    hub.deliver([event("a", 1)])
    assert (heard, hub.count("a")) == ([], 0)
