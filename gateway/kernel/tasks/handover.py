"""Handing a new task to the worker of this very process, with the commit that writes it.

A task that is written as running needs no claim: one commit and a few milliseconds less until its effect.
The row is the same as that of a claimed task, so a crash after the commit is what a crash after a claim is:
the lease runs out, or is void at the next start, and the task is claimed as always.

Only for a subject that no other task of the kind can have: the database allows one running task of a kind per
subject, and this way looks for none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gateway.kernel.store.unit import UnitOfWork
from gateway.kernel.tasks.model import Task, TaskId
from gateway.kernel.tasks.queue import enqueue, insert_running


class Handover:
    """Where units leave tasks for the worker, while there is one that has room."""

    def __init__(self) -> None:
        self._leases_ms: Mapping[str, int] = {}
        self._has_room: Callable[[], bool] = bool
        self._take: Callable[[Task], None] | None = None

    def open(
        self, leases_ms: Mapping[str, int], has_room: Callable[[], bool], take: Callable[[Task], None]
    ) -> None:
        """Say what the worker performs, with the lease of each kind, and how it takes a task."""
        self._leases_ms, self._has_room, self._take = leases_ms, has_room, take

    def close(self) -> None:
        """The worker stops: tasks are left to whoever claims them."""
        self._leases_ms = {}

    def give(self, uow: UnitOfWork, kind: str, subject: str, payload: Any) -> None:
        """Write a task that is due at once; the worker begins when it is committed, or it waits for a claim.

        Called in a unit, so on the store's thread: the worker may have filled up or stopped a moment later,
        which `take` finds out.
        """
        lease_ms = self._leases_ms.get(kind)
        take = self._take
        if lease_ms is None or take is None or not self._has_room():
            enqueue(uow, kind, subject, payload)
            return
        task = Task(uow.new_id(TaskId), kind, subject, payload, attempt=1, fence=1)
        insert_running(uow, task, uow.now_ms + lease_ms)
        uow.after_commit(lambda: take(task))
