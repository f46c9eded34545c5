"""Writing, claiming and ending tasks: the SQL of the queue."""

from __future__ import annotations

import random
from collections.abc import Iterable
from functools import cache
from typing import Any

from sqlalchemy import and_, bindparam, delete, exists, func, select, update

from gateway.kernel.documents import decode, encode
from gateway.kernel.store.statements import Statement, insert_into
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.kernel.tasks.model import Task, TaskId, TaskKind, TaskState
from gateway.kernel.tasks.tables import task

TASKS_SIGNAL = "tasks"
CLAIM_LOCK = "task.claim"
"""Named by units that claim: two of them choosing siblings at once would break ``ux_task_running``."""

_running = task.alias("running")
_sibling_runs = exists().where(
    and_(
        _running.c.subject == task.c.subject,
        _running.c.kind == task.c.kind,
        _running.c.state == TaskState.RUNNING.value,
    )
)
_INSERT = insert_into(task)
_LEASE_LOST = Statement(
    update(task)
    .where(task.c.state == TaskState.RUNNING.value, task.c.lease_until_ms <= bindparam("now_ms"))
    .values(state=TaskState.READY.value, lease_until_ms=None)
)
_ALL_LEASES_LOST = Statement(
    update(task)
    .where(task.c.state == TaskState.RUNNING.value)
    .values(state=TaskState.READY.value, lease_until_ms=None)
)
_CLAIM = Statement(
    update(task)
    .where(task.c.task_id == bindparam("claimed_id"), task.c.state == TaskState.READY.value)
    .values(
        state=TaskState.RUNNING.value,
        fence=task.c.fence + 1,
        attempts=task.c.attempts + 1,
        lease_until_ms=bindparam("until_ms"),
    )
)
_END = Statement(
    delete(task).where(task.c.task_id == bindparam("task_id"), task.c.fence == bindparam("fence"))
)
_POSTPONE = Statement(
    update(task)
    .where(task.c.task_id == bindparam("its_id"), task.c.fence == bindparam("its_fence"))
    .values(
        state=bindparam("new_state"),
        due_at_ms=bindparam("new_due_ms"),
        lease_until_ms=None,
        last_error=bindparam("error"),
    )
)
_OPEN = Statement(
    select(func.count().label("open_tasks"))
    .select_from(task)
    .where(task.c.state.in_([TaskState.READY.value, TaskState.RUNNING.value]))
)
_UNPARK = Statement(
    update(task)
    .where(task.c.task_id == bindparam("its_id"), task.c.state == TaskState.PARKED.value)
    .values(state=TaskState.READY.value, attempts=0, due_at_ms=bindparam("now"))
)
_PARKED = Statement(
    select(task.c.task_id, task.c.kind, task.c.subject, task.c.attempts, task.c.last_error)
    .where(task.c.state == TaskState.PARKED.value)
    .order_by(task.c.task_id)
    .limit(bindparam("most"))
)


@cache
def _claimable(kinds: tuple[str, ...]) -> tuple[Statement, Statement]:
    """Return (tasks that are due now, when the next one is due) for a worker that performs these kinds.

    Tasks of other kinds, and tasks that wait for a running sibling, must neither fill the page nor keep an
    idle worker turning.
    """
    waiting = and_(task.c.state == TaskState.READY.value, task.c.kind.in_(kinds), ~_sibling_runs)
    due = (
        select(task.c.task_id, task.c.kind, task.c.subject, task.c.payload, task.c.attempts, task.c.fence)
        .where(waiting, task.c.due_at_ms <= bindparam("now_ms"))
        .order_by(task.c.due_at_ms, task.c.task_id)
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True, of=task)
    )
    return Statement(due), Statement(select(func.min(task.c.due_at_ms).label("due_at_ms")).where(waiting))


def enqueue(uow: UnitOfWork, kind: str, subject: str, payload: Any, *, due_at_ms: int | None = None) -> None:
    """Write a task with the unit's facts. Without ``due_at_ms`` it is due at once."""
    due = uow.now_ms if due_at_ms is None else due_at_ms
    uow.append(_INSERT, _row(uow, uow.new_id(TaskId), kind, subject, payload, TaskState.READY, due))
    uow.signal(TASKS_SIGNAL)


def insert_running(uow: UnitOfWork, task: Task, lease_until_ms: int) -> None:
    """Write a task as if it had just been claimed for the first time."""
    row = _row(uow, task.task_id, task.kind, task.subject, task.payload, TaskState.RUNNING, uow.now_ms)
    row.update(attempts=task.attempt, fence=task.fence, lease_until_ms=lease_until_ms)
    uow.append(_INSERT, row)


def _row(
    uow: UnitOfWork, task_id: str, kind: str, subject: str, payload: Any, state: TaskState, due_at_ms: int
) -> dict[str, Any]:
    return {
        "task_id": task_id,
        "kind": kind,
        "subject": subject,
        "payload": encode(payload),
        "state": state.value,
        "due_at_ms": due_at_ms,
        "attempts": 0,
        "fence": 0,
        "lease_until_ms": None,
        "last_error": None,
        "created_at_ms": uow.now_ms,
    }


def claim(uow: UnitOfWork, kinds: dict[str, TaskKind[Any]], most: int) -> list[Task]:
    """Lease due tasks, oldest first, at most one running per subject and kind.

    The unit names `CLAIM_LOCK`, so that on PostgreSQL one claim sees what the other took.
    """
    claimed: list[Task] = []
    seen: set[tuple[str, str]] = set()
    leases = []
    if not kinds:
        return claimed
    due, _ = _claimable(tuple(sorted(kinds)))
    for row in uow.rows(due, {"now_ms": uow.now_ms, "most": most}):
        kind = kinds[row.kind]
        if (row.subject, row.kind) in seen:
            continue
        seen.add((row.subject, row.kind))
        claimed.append(
            Task(row.task_id, row.kind, row.subject, decode(row.payload), row.attempts + 1, row.fence + 1)
        )
        leases.append({"claimed_id": row.task_id, "until_ms": uow.now_ms + kind.lease_ms})
    uow.run_many(_CLAIM, leases)
    return claimed


def end(uow: UnitOfWork, task: Task) -> None:
    """Delete a finished task at the end of the batch. After a lost lease it stays: it is another worker's."""
    uow.append(_END, {"task_id": task.task_id, "fence": task.fence})


def retry_later(uow: UnitOfWork, kind: TaskKind[Any], task: Task, error: str) -> None:
    """Put a failed task back with exponential delay and full jitter, or park it when attempts ran out."""
    out_of_attempts = task.attempt >= kind.most_attempts
    ceiling = min(kind.first_delay_ms * 2 ** (task.attempt - 1), kind.longest_delay_ms)
    moved = uow.run(
        _POSTPONE,
        {
            "its_id": task.task_id,
            "its_fence": task.fence,
            "new_state": TaskState.PARKED.value if out_of_attempts else TaskState.READY.value,
            "new_due_ms": uow.now_ms + random.randint(ceiling // 2, ceiling),  # noqa: S311  # jitter, no secret
            "error": error[:500],
        },
    )
    if moved and out_of_attempts:
        kind.parked(uow, task, error)


def release_lost_leases(uow: UnitOfWork) -> int:
    """Make tasks whose lease ran out claimable again; returns how many."""
    return uow.run(_LEASE_LOST, {"now_ms": uow.now_ms})


def release_all_leases(uow: UnitOfWork) -> int:
    """At the start of a program that owns its database alone, no lease of an earlier life is valid."""
    return uow.run(_ALL_LEASES_LOST, {})


def next_due_ms(reader: Reader, kinds: Iterable[str]) -> int | None:
    """Return when the next task of these kinds can be claimed, or None without one."""
    names = tuple(sorted(kinds))
    row = reader.row(_claimable(names)[1]) if names else None
    return None if row is None else row.due_at_ms


def open_tasks(reader: Reader) -> int:
    """Return how many tasks are ready or running."""
    row = reader.row(_OPEN)
    assert row is not None
    count: int = row.open_tasks
    return count


def retry_parked(uow: UnitOfWork, task_id: str) -> bool:
    """Let a parked task run again from its first attempt; False if it is not parked."""
    moved = uow.run(_UNPARK, {"its_id": task_id, "now": uow.now_ms}) == 1
    if moved:
        uow.signal(TASKS_SIGNAL)
    return moved


def parked_tasks(reader: Reader, most: int = 100) -> list[Any]:
    """Return tasks that ran out of attempts, oldest first."""
    return reader.rows(_PARKED, {"most": most})
