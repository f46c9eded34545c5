"""Numbering, reading and handing on events.

Numbers are given at the end of a batch, streams in sorted order (so that two PostgreSQL committers cannot
deadlock on them), in the same transaction as the facts: no event without its fact, no fact without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import bindparam, select, update

from gateway.kernel.documents import encode
from gateway.kernel.events.model import Event, EventId, RecordedEvent
from gateway.kernel.events.tables import event, stream
from gateway.kernel.ids import Id
from gateway.kernel.store.statements import Statement, insert_into, upsert
from gateway.kernel.store.unit import Reader, UnitOfWork

PAGE = 256
"""Most events read at once; a resume of more goes page by page."""

_ADVANCE = Statement(
    update(stream)
    .where(stream.c.stream == bindparam("its_name"))
    .values(seq=stream.c.seq + bindparam("count"))
    .returning(stream.c.epoch, stream.c.seq)
)
# Another committer may make the stream at the same moment.
_FIRST = upsert(stream, ["stream"], lambda new: {"seq": stream.c.seq + new.seq}, returning=["epoch", "seq"])
_OPEN = upsert(stream, ["stream"], lambda new: {"seq": stream.c.seq}, returning=["epoch", "seq"])
_INSERT = insert_into(event)
_POSITION = Statement(select(stream.c.epoch, stream.c.seq).where(stream.c.stream == bindparam("stream")))
_AFTER = Statement(
    select(event)
    .where(event.c.stream == bindparam("stream"), event.c.seq > bindparam("seq"))
    .order_by(event.c.seq)
    .limit(bindparam("most"))
)


class Epoch(Id):
    prefix = "epoch"


@dataclass(frozen=True, slots=True)
class Position:
    """Where a stream stands: the number of its latest event, 0 before the first."""

    epoch: str
    seq: int


def open_stream(uow: UnitOfWork, name: str) -> Position:
    """Return the stream's position, making the stream if it is new."""
    found = uow.row(_POSITION, {"stream": name})
    if found is None:
        found = uow.row(_OPEN, {"stream": name, "epoch": uow.new_id(Epoch), "seq": 0})
        assert found is not None
    return Position(found.epoch, found.seq)


def position(reader: Reader, name: str) -> Position | None:
    """Return where the stream stands, or None if it does not exist yet."""
    found = reader.row(_POSITION, {"stream": name})
    return None if found is None else Position(found.epoch, found.seq)


def events_after(reader: Reader, name: str, seq: int, most: int = PAGE) -> list[RecordedEvent]:
    """Return at most ``most`` events that follow number ``seq``, in order."""
    return [
        RecordedEvent(row.event_id, row.stream, row.epoch, row.seq, row.type, row.body, row.at_ms)
        for row in reader.rows(_AFTER, {"stream": name, "seq": seq, "most": most})
    ]


class EventLog:
    """Numbers the events of a batch and hands the committed ones to listeners of this process."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[list[RecordedEvent]], None]] = []

    def listen(self, listener: Callable[[list[RecordedEvent]], None]) -> None:
        """Call ``listener`` on the event loop with the events of each commit, in order."""
        self._listeners.append(listener)

    def number(self, uow: UnitOfWork, events: Iterable[Event]) -> list[RecordedEvent]:
        """Give every event its number and insert it; called by the store at the end of a batch."""
        by_stream: dict[str, list[Event]] = {}
        for happened in events:
            by_stream.setdefault(happened.stream, []).append(happened)
        recorded: list[RecordedEvent] = []
        rows = []
        for name in sorted(by_stream):
            its_events = by_stream[name]
            place = uow.row(_ADVANCE, {"its_name": name, "count": len(its_events)})
            if place is None:
                place = uow.row(_FIRST, {"stream": name, "epoch": uow.new_id(Epoch), "seq": len(its_events)})
                assert place is not None
            seq = place.seq - len(its_events)
            for happened in its_events:
                seq += 1
                body = encode(happened.body)
                made = RecordedEvent(
                    uow.new_id(EventId), name, place.epoch, seq, happened.type, body, uow.now_ms
                )
                recorded.append(made)
                rows.append(
                    {
                        "stream": name,
                        "seq": seq,
                        "epoch": place.epoch,
                        "event_id": made.event_id,
                        "type": happened.type,
                        "merchant_id": happened.merchant_id,
                        "body": body,
                        "at_ms": uow.now_ms,
                    }
                )
        uow.run_many(_INSERT, rows)
        return recorded

    def deliver(self, recorded: list[RecordedEvent]) -> None:
        """Tell the listeners; called by the store after the commit."""
        for listener in self._listeners:
            listener(recorded)
