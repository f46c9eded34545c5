"""The hub: hands committed events to the connections of their customer, in this process."""

from __future__ import annotations

from collections.abc import Callable

from gateway.kernel.events.model import RecordedEvent

Listener = Callable[[list[RecordedEvent]], None]


class Hub:
    """Who listens to which stream. Delivers only what is committed; gaps are the listener's to mend."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Listener]] = {}

    def listen(self, stream: str, listener: Listener) -> None:
        """Call ``listener`` with the new events of ``stream`` from now on."""
        self._listeners.setdefault(stream, []).append(listener)

    def forget(self, stream: str, listener: Listener) -> None:
        """Stop calling ``listener``."""
        listeners = self._listeners.get(stream)
        if listeners is None:
            return
        listeners.remove(listener)
        if not listeners:
            del self._listeners[stream]

    def count(self, stream: str) -> int:
        """Return how many connections listen to a stream."""
        return len(self._listeners.get(stream, ()))

    def deliver(self, recorded: list[RecordedEvent]) -> None:
        """Hand on a commit's events; they come grouped by stream and in order."""
        start = 0
        while start < len(recorded):
            stream = recorded[start].stream
            end = start + 1
            while end < len(recorded) and recorded[end].stream == stream:
                end += 1
            for listener in tuple(self._listeners.get(stream, ())):
                listener(recorded[start:end])
            start = end
