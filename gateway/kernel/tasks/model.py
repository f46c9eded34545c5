"""What a task is.

A task row is written in the same commit as the fact that calls for it. It is claimed under a lease with a
fence (a number that grows with every claim), performed outside any transaction, and its outcome, the new
facts, their events and the next tasks are again one unit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from gateway.kernel.ids import Id
from gateway.kernel.store.unit import Lane, UnitOfWork

OutcomeT = TypeVar("OutcomeT")


class TaskId(Id):
    prefix = "tsk"


class TaskState(StrEnum):
    READY = "ready"
    RUNNING = "running"
    PARKED = "parked"
    """Out of attempts: visible to operators and announced; only a person or a new fact moves it."""


@dataclass(frozen=True, slots=True)
class Task:
    """A claimed task. ``attempt`` counts from 1; above 1 the effect may have happened already: ask first."""

    task_id: str
    kind: str
    subject: str
    payload: Any
    attempt: int
    fence: int


@dataclass(frozen=True, slots=True)
class TaskKind(Generic[OutcomeT]):
    """How one kind of task is done.

    ``perform`` has the effect and returns a plain value; ``record`` turns the value into facts, in the same
    unit that ends the task. ``record`` may be called for a task whose lease was lost meanwhile, so it
    guards its facts by compare-and-set. ``parked`` announces that attempts ran out.
    A call's deadline is shorter than its lease.
    """

    name: str
    perform: Callable[[Task], Awaitable[OutcomeT]]
    record: Callable[[UnitOfWork, Task, OutcomeT], None]
    parked: Callable[[UnitOfWork, Task, str], None]
    deadline_ms: int = 20_000
    lease_ms: int = 30_000
    most_attempts: int = 12
    first_delay_ms: int = 250
    longest_delay_ms: int = 60_000
    lane: Lane = Lane.BACKGROUND
    """In which the outcome is recorded; interactive where a customer waits for it."""

    def __post_init__(self) -> None:
        assert self.deadline_ms < self.lease_ms
