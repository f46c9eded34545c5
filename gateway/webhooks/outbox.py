"""The outbox: notices are written in the unit of their fact, and claimed, ended, listed and sent again.

Notices of one endpoint are numbered without a gap in the order in which their units are committed, so whoever
pages by number misses none. About one subject only the first notice that waits is ever claimed: what comes
later waits for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from sqlalchemy import and_, bindparam, delete, exists, func, or_, select, update

from gateway.kernel.documents import decode, encode
from gateway.kernel.store.statements import Statement, insert_into, upsert
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.webhooks.model import Answer, Notice, NoticeId, NoticeState, Sight
from gateway.webhooks.tables import webhook_feed, webhook_notice

NOTICES_SIGNAL = "webhook.notices"
"""Told after a commit that wrote a notice or made one due."""

_LAST = 2**63 - 1
_table = webhook_notice
_WAITING = _table.c.state == NoticeState.WAITING.value
_earlier = _table.alias("earlier")
_is_first = ~exists().where(
    and_(
        _earlier.c.subject == _table.c.subject,
        # An expression, so that no planner prefers to walk through everything of the endpoint.
        _earlier.c.endpoint_id.concat("") == _table.c.endpoint_id,
        _earlier.c.state == NoticeState.WAITING.value,
        _earlier.c.seq < _table.c.seq,
    )
)
_is_free = or_(_table.c.lease_until_ms.is_(None), _table.c.lease_until_ms <= bindparam("now_ms"))

_NEXT = upsert(webhook_feed, ["endpoint_id"], lambda new: {"seq": webhook_feed.c.seq + 1}, returning=["seq"])
_POSITION = Statement(
    select(webhook_feed.c.seq).where(webhook_feed.c.endpoint_id == bindparam("endpoint_id"))
)
_INSERT = insert_into(_table)
# One look into the index for each endpoint, however much waits.
_ENDPOINTS = Statement(
    select(
        webhook_feed.c.endpoint_id,
        select(func.min(_table.c.due_at_ms))
        .where(_table.c.endpoint_id == webhook_feed.c.endpoint_id, _WAITING)
        .scalar_subquery()
        .label("due_at_ms"),
    ).limit(10_000)
)
_DUE = Statement(
    select(_table)
    .where(
        _table.c.endpoint_id == bindparam("endpoint_id"),
        _WAITING,
        _table.c.due_at_ms <= bindparam("now_ms"),
        _is_free,
        _is_first,
    )
    .order_by(_table.c.due_at_ms, _table.c.seq)
    .limit(bindparam("most"))
)
_LEASE = Statement(
    update(_table)
    .where(
        _table.c.endpoint_id == bindparam("its_endpoint"),
        _table.c.seq == bindparam("its_seq"),
        _WAITING,
        # Nobody has tried it since it was looked at.
        _table.c.attempts == bindparam("its_attempts"),
        or_(_table.c.lease_until_ms.is_(None), _table.c.lease_until_ms <= bindparam("at")),
    )
    .values(lease_until_ms=bindparam("until_ms"), attempts=_table.c.attempts + 1)
)
_its_attempt = and_(
    _table.c.endpoint_id == bindparam("its_endpoint"),
    _table.c.seq == bindparam("its_seq"),
    _table.c.attempts == bindparam("its_attempt"),
    _WAITING,
)
_END = Statement(
    update(_table)
    .where(_its_attempt)
    .values(
        state=bindparam("new_state"),
        ended_at_ms=bindparam("at"),
        lease_until_ms=None,
        last_status=bindparam("status"),
        last_error=bindparam("error"),
    )
)
_LATER = Statement(
    update(_table)
    .where(_its_attempt)
    .values(
        due_at_ms=bindparam("new_due_ms"),
        lease_until_ms=None,
        last_status=bindparam("status"),
        last_error=bindparam("error"),
    )
)
_WITHDRAW = Statement(
    update(_table)
    .where(
        _table.c.subject == bindparam("its_subject"),
        _table.c.endpoint_id.concat("") == bindparam("its_endpoint"),
        _table.c.seq <= bindparam("up_to"),
        _WAITING,
    )
    .values(state=NoticeState.WITHDRAWN.value, ended_at_ms=bindparam("at"), lease_until_ms=None)
)
_KEEP_ALL = Statement(
    update(_table)
    .where(_table.c.endpoint_id == bindparam("its_endpoint"), _WAITING)
    .values(state=NoticeState.KEPT.value, ended_at_ms=bindparam("at"), lease_until_ms=None)
)
_BACK_AGAIN = Statement(
    update(_table)
    .where(
        _table.c.endpoint_id == bindparam("its_endpoint"),
        _WAITING,
        _table.c.attempts > 0,
        _table.c.lease_until_ms.is_(None),
        _table.c.due_at_ms > bindparam("at"),
        # What the receiver had and refused keeps its own times, and so does what it asked to have later:
        # such an answer is recorded with words.
        or_(
            _table.c.last_status.is_(None),
            and_(_table.c.last_status.in_([502, 503, 504]), _table.c.last_error.is_(None)),
        ),
    )
    .values(due_at_ms=bindparam("at"))
)
_FREE_ALL = Statement(
    update(_table).where(_WAITING, _table.c.lease_until_ms.is_not(None)).values(lease_until_ms=None)
)
_DELIVERED_SINCE = Statement(
    select(_table.c.seq)
    .where(
        _table.c.endpoint_id == bindparam("endpoint_id"),
        _table.c.ended_at_ms >= bindparam("since_ms"),
        _table.c.state == NoticeState.DELIVERED.value,
    )
    # The latest are the likeliest.
    .order_by(_table.c.seq.desc())
    .limit(1)
)
_AFTER = Statement(
    select(_table)
    .where(_table.c.endpoint_id == bindparam("endpoint_id"), _table.c.seq > bindparam("after"))
    .order_by(_table.c.seq)
    .limit(bindparam("most"))
)
_IN_STATE = Statement(
    select(_table)
    .where(
        _table.c.endpoint_id == bindparam("endpoint_id"),
        _table.c.seq > bindparam("after"),
        _table.c.state == bindparam("state"),
    )
    .order_by(_table.c.seq)
    .limit(bindparam("most"))
)
_AGAIN = Statement(
    update(_table)
    .where(
        _table.c.endpoint_id == bindparam("its_endpoint"),
        _table.c.notice_id == bindparam("its_notice"),
        _table.c.state.in_([NoticeState.DELIVERED.value, NoticeState.FAILED.value, NoticeState.KEPT.value]),
    )
    .values(state=NoticeState.WAITING.value, attempts=0, due_at_ms=bindparam("at"), ended_at_ms=None)
)
_OLD = Statement(
    select(_table.c.endpoint_id, _table.c.seq)
    .where(_table.c.ended_at_ms.is_not(None), _table.c.ended_at_ms < bindparam("before_ms"))
    .order_by(_table.c.ended_at_ms)
    .limit(bindparam("most"))
)
_DELETE = Statement(
    delete(_table).where(
        _table.c.endpoint_id == bindparam("its_endpoint"), _table.c.seq == bindparam("its_seq")
    )
)


def write_notice(
    uow: UnitOfWork,
    endpoint_id: str,
    subject: str,
    notice_type: str,
    data: Mapping[str, Any],
    *,
    sent: bool = True,
) -> None:
    """Write a notice with the unit's facts; without ``sent`` it can be paged only.

    A unit that writes to several endpoints does so by their names, because each has its numbers locked until
    the commit.
    """
    taken = uow.row(_NEXT, {"endpoint_id": endpoint_id, "seq": 1})
    assert taken is not None
    uow.run(
        _INSERT,
        {
            "endpoint_id": endpoint_id,
            "seq": taken.seq,
            "notice_id": _notice_id(endpoint_id, uow),
            "subject": subject,
            "type": notice_type,
            "data": encode(dict(data)),
            "state": (NoticeState.WAITING if sent else NoticeState.KEPT).value,
            "attempts": 0,
            "due_at_ms": uow.now_ms,
            "lease_until_ms": None,
            "last_status": None,
            "last_error": None,
            "created_at_ms": uow.now_ms,
            "ended_at_ms": None if sent else uow.now_ms,
        },
    )
    if sent:
        uow.signal(NOTICES_SIGNAL)


def _notice_id(endpoint_id: str, uow: UnitOfWork) -> str:
    """Ids of one unit follow each other: two receivers who compared them would see that they were told of the
    same fact. Nobody finds the random number in an id from its hash."""
    made = f"{endpoint_id} {uow.new_id(NoticeId)}".encode()
    return f"{NoticeId.prefix}_{hashlib.blake2b(made, digest_size=14).hexdigest()}"


def withdraw(uow: UnitOfWork, endpoint_id: str, subject: str, *, up_to: int = _LAST) -> int:
    """Do not send the endpoint what waits about this subject, up to this number; returns how much that is."""
    asked = {"its_endpoint": endpoint_id, "its_subject": subject, "up_to": up_to, "at": uow.now_ms}
    return uow.run(_WITHDRAW, asked)


def keep_all(uow: UnitOfWork, endpoint_id: str) -> int:
    """There is nowhere to send to: what waits can be paged only; returns how many notices that are."""
    return uow.run(_KEEP_ALL, {"its_endpoint": endpoint_id, "at": uow.now_ms})


# --- Sending ----------------------------------------------------------------------------------------


def waiting_endpoints(reader: Reader) -> dict[str, int]:
    """Return which endpoints have notices that wait, and when the first of them is due."""
    return {row.endpoint_id: row.due_at_ms for row in reader.rows(_ENDPOINTS) if row.due_at_ms is not None}


def due_notices(reader: Reader, endpoint_id: str, most: int) -> list[Any]:
    """Return rows that may be claimed now: due, free, and the first about their subject."""
    asked = {"endpoint_id": endpoint_id, "now_ms": reader.now_ms, "most": most}
    return reader.rows(_DUE, asked)


def lease(uow: UnitOfWork, row: Any, sight: Sight, lease_ms: int) -> Notice | None:
    """Begin an attempt; None if another process did since the row was read."""
    asked = {
        "its_endpoint": row.endpoint_id,
        "its_seq": row.seq,
        "its_attempts": row.attempts,
        "at": uow.now_ms,
        "until_ms": uow.now_ms + lease_ms,
    }
    if not uow.run(_LEASE, asked):
        return None
    return Notice(
        row.endpoint_id,
        row.seq,
        row.notice_id,
        row.subject,
        row.type,
        sight.shown(decode(row.data)),
        row.attempts + 1,
        row.created_at_ms,
    )


def end_notice(uow: UnitOfWork, notice: Notice, state: NoticeState, answer: Answer) -> bool:
    """Record the last attempt; False if it is not the last any more."""
    asked = {**_attempt(notice, answer), "new_state": state.value, "at": uow.now_ms}
    return uow.run(_END, asked) == 1


def try_later(uow: UnitOfWork, notice: Notice, answer: Answer, wait_ms: int) -> bool:
    """Record a failed attempt that is followed by another."""
    asked = {**_attempt(notice, answer), "new_due_ms": uow.now_ms + wait_ms}
    if answer.retry_after_ms is not None and answer.error is None:
        asked["error"] = f"{answer.status}, asked to wait for {answer.retry_after_ms / 1000:g} s"
    return uow.run(_LATER, asked) == 1


def back_again(uow: UnitOfWork, endpoint_id: str) -> int:
    """The endpoint answers again: what waited for it is due now."""
    moved = uow.run(_BACK_AGAIN, {"its_endpoint": endpoint_id, "at": uow.now_ms})
    if moved:
        uow.signal(NOTICES_SIGNAL)
    return moved


def free_all(uow: UnitOfWork) -> int:
    """At the start of a program that owns its database alone, no attempt of an earlier life is under way."""
    return uow.run(_FREE_ALL, {})


def was_delivered_since(reader: Reader, endpoint_id: str, since_ms: int) -> bool:
    """Whether the endpoint has taken any notice since."""
    return reader.row(_DELIVERED_SINCE, {"endpoint_id": endpoint_id, "since_ms": since_ms}) is not None


def forget_old(uow: UnitOfWork, before_ms: int, most: int) -> int:
    """Delete notices that ended before; returns how many, at most ``most``."""
    rows = uow.rows(_OLD, {"before_ms": before_ms, "most": most})
    uow.run_many(_DELETE, [{"its_endpoint": row.endpoint_id, "its_seq": row.seq} for row in rows])
    return len(rows)


# --- Looking, and sending again ---------------------------------------------------------------------


def last_number(reader: Reader, endpoint_id: str) -> int:
    """Return the number of the endpoint's latest notice, 0 before the first."""
    row = reader.row(_POSITION, {"endpoint_id": endpoint_id})
    return 0 if row is None else int(row.seq)


def notices_after(reader: Reader, endpoint_id: str, after: int, most: int) -> list[Any]:
    """Return at most ``most`` rows of the endpoint that follow number ``after``, in order."""
    return reader.rows(_AFTER, {"endpoint_id": endpoint_id, "after": after, "most": most})


def notices_in(reader: Reader, endpoint_id: str, state: NoticeState, after: int, most: int) -> list[Any]:
    """The same in one state."""
    asked = {"endpoint_id": endpoint_id, "after": after, "most": most, "state": state.value}
    return reader.rows(_IN_STATE, asked)


def send_again(uow: UnitOfWork, endpoint_id: str, notice_id: str) -> bool:
    """Send a notice that ended once more, under its id; False if it waits, was withdrawn or is unknown."""
    asked = {"its_endpoint": endpoint_id, "its_notice": notice_id, "at": uow.now_ms}
    moved = uow.run(_AGAIN, asked) == 1
    if moved:
        uow.signal(NOTICES_SIGNAL)
    return moved


def _attempt(notice: Notice, answer: Answer) -> dict[str, Any]:
    return {
        "its_endpoint": notice.endpoint_id,
        "its_seq": notice.seq,
        "its_attempt": notice.attempt,
        "status": answer.status,
        "error": answer.error,
    }
