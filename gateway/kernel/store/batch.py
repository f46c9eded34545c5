"""Running the units that wait as one transaction: the algorithm both databases share.

If a unit raises, the batch is rolled back, that unit is answered with its error and the rest run again as
one batch; from the second failure on every unit runs in a savepoint, so a stream of bad units cannot hold
up the good ones. A refusal (`VitrineError` before the first write) costs nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from gateway.kernel.clock import Clock
from gateway.kernel.errors import UnavailableError, VitrineError
from gateway.kernel.events.model import RecordedEvent
from gateway.kernel.ids import IdSource
from gateway.kernel.store.delivery import Job, Listeners, answer, deliver
from gateway.kernel.store.unit import Lane, UnitOfWork


class UnitMisuseError(AssertionError):
    """A unit went on after a database error, or (in strict mode, which tests use) refused after writing."""


class LostConnectionError(Exception):
    """The database went away; whether a commit in flight happened must be looked up."""


class OutcomeUnknownError(Exception):
    """A commit was in flight when the database went away, and it cannot be asked what became of it."""


class TransientError(Exception):
    """The database asked for the transaction to be run again (deadlock, serialization failure)."""


class Transaction(Protocol):
    """One database connection as the batch needs it. Raises LostConnectionError and TransientError.

    `begin` connects again after a loss; `rollback` never raises; `intact` says whether the open
    transaction can still be committed; `committed_after_loss` says what became of the commit in flight, and
    raises LostConnectionError if that cannot be found out.
    """

    def begin(self, locks: Sequence[str]) -> None: ...
    def unit_of_work(self, now_ms: int, ids: IdSource) -> UnitOfWork: ...
    def now_ms(self, clock: Clock) -> int: ...
    def intact(self) -> bool: ...
    def savepoint(self) -> None: ...
    def release_savepoint(self) -> None: ...
    def rollback_to_savepoint(self) -> None: ...
    def rollback(self) -> None: ...
    def commit(self) -> None: ...
    def committed_after_loss(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How much one transaction may hold. Nobody who waits for an answer waits for a batch to fill."""

    count: int = 512
    milliseconds: float = 50.0
    background_milliseconds: float = 10.0
    """After so long the background units of a batch make way for the interactive ones that came meanwhile."""
    transient_retries: int = 20


class BatchRunner:
    """Runs batches on one connection. Not thread safe: one runner per writer or committer thread."""

    def __init__(
        self,
        transaction: Transaction,
        clock: Clock,
        ids: IdSource,
        limits: BatchLimits,
        listeners: Listeners,
        *,
        rehearse: bool = False,
        strict: bool = False,
    ) -> None:
        self._transaction = transaction
        self._clock = clock
        self._ids = ids
        self._limits = limits
        self._listeners = listeners
        self._rehearse = rehearse
        self._strict = strict

    def run(self, jobs: list[Job], give_back: Callable[[list[Job]], None]) -> None:
        """Run the jobs to their end and answer every caller; units beyond the time limit are given back."""
        failures = 0
        transient = 0
        while jobs:
            done: list[Job] = []
            recorded: list[RecordedEvent] = []
            try:
                self._transaction.begin(sorted({lock for job in jobs for lock in job.locks}))
                failed = self._run_units(jobs, done, recorded, savepoints=failures >= 2)
                if failed is not None:
                    self._transaction.rollback()
                    failures += 1
                    answer([failed], self._listeners)
                    jobs = [job for job in jobs if job is not failed]
                    continue
                if len(done) < len(jobs):
                    give_back(jobs[len(done) :])
                    jobs = done
                if failures < 2:
                    try:
                        self._finish([job.value[1] for job in done if job.value], recorded)
                    except (LostConnectionError, TransientError):
                        raise
                    except Exception:
                        # Whose rows failed is only known when each unit finishes in its own savepoint.
                        self._transaction.rollback()
                        failures = 2
                        continue
                self._commit(done, recorded)
            except (TransientError, LostConnectionError) as error:
                self._transaction.rollback()
                transient += 1
                if transient > self._limits.transient_retries:
                    self._refuse(jobs, error)
                    return
                time.sleep(min(0.001 * 2**transient, 0.1))
                continue
            except Exception as error:
                self._transaction.rollback()
                self._refuse(jobs, error)
            return

    def _commit(self, done: list[Job], recorded: list[RecordedEvent]) -> None:
        """Commit, answer the callers and hand on the events; returns only if the batch is durable."""
        order = self._listeners.order
        turn = order.take() if recorded else None
        tell: Callable[[], None] | None = None
        try:
            try:
                self._transaction.commit()
            except LostConnectionError as lost:
                if not self._committed_after_loss():
                    raise TransientError("the connection was lost before the commit") from lost
            for job in done:
                if job.value:
                    job.value, uow = job.value
                    job.hooks = uow.hooks
                    job.signals = uow.signals
            answer(done, self._listeners)
            tell = partial(deliver, done, recorded, self._listeners)
        finally:
            if turn is not None:
                order.finish(turn, tell)

    def _committed_after_loss(self) -> bool:
        try:
            return self._transaction.committed_after_loss()
        except LostConnectionError as error:
            raise OutcomeUnknownError from error

    def _run_units(
        self, jobs: list[Job], done: list[Job], recorded: list[RecordedEvent], *, savepoints: bool
    ) -> Job | None:
        """Run units until the end or the time limit. Returns the job whose failure spoils the batch."""
        began = time.monotonic()
        until = {Lane.INTERACTIVE: began + self._limits.milliseconds / 1000}
        now_ms = self._transaction.now_ms(self._clock)
        for job in jobs:
            now = time.monotonic()
            if job.lane is Lane.BACKGROUND and job.lane not in until:
                # From the first of them on: a long run of interactive units before it is not theirs.
                until[job.lane] = now + self._limits.background_milliseconds / 1000
            if done and now > until[job.lane]:
                break
            job.value = job.error = None
            if savepoints:
                self._transaction.savepoint()
            elif self._rehearse:
                self._run_once_for_nothing(job, now_ms)
            uow = self._transaction.unit_of_work(now_ms, self._ids)
            try:
                value = job.unit(uow)
                self._check_intact()
                if savepoints:
                    self._finish([uow], recorded)
            except (LostConnectionError, TransientError):
                raise
            except BaseException as error:
                # Whatever a unit raises belongs to its caller; it must not end the writer's thread.
                if isinstance(error, VitrineError) and not uow.wrote and self._transaction.intact():
                    job.error = error
                    if savepoints:
                        self._transaction.rollback_to_savepoint()
                    done.append(job)
                    continue
                job.error = error
                if self._strict and isinstance(error, VitrineError):
                    job.error = UnitMisuseError(f"refused after writing: {error}")
                    job.error.__cause__ = error
                if not savepoints:
                    return job
                self._transaction.rollback_to_savepoint()
                done.append(job)
                continue
            if savepoints:
                self._transaction.release_savepoint()
            job.value = (value, uow)
            done.append(job)
        return None

    def _check_intact(self) -> None:
        """On PostgreSQL a commit after a failed statement rolls back without an error: never get there."""
        if not self._transaction.intact():
            raise UnitMisuseError("the unit swallowed an error of the database")

    def _run_once_for_nothing(self, job: Job, now_ms: int) -> None:
        """Test mode: a unit that leaves anything behind when it is rolled back shows on its second run."""
        self._transaction.savepoint()
        try:
            job.unit(self._transaction.unit_of_work(now_ms, self._ids))
        except (LostConnectionError, TransientError):
            raise
        except BaseException:
            # The second run raises it again, and that one counts.
            self._transaction.rollback_to_savepoint()
            return
        self._transaction.rollback_to_savepoint()

    def _finish(self, units: list[UnitOfWork], recorded: list[RecordedEvent]) -> None:
        """Insert what the units appended, one statement per table, then number their events."""
        if not units:
            return
        first = units[0]
        appended = first.appended
        if len(units) > 1:
            appended = {}
            for uow in units:
                for statement, rows in uow.appended.items():
                    appended.setdefault(statement, []).extend(rows)
        for statement, rows in appended.items():
            first.run_many(statement, rows)
        events = [happened for uow in units for happened in uow.events]
        if events:
            assert self._listeners.event_log is not None, "this store has no event log"
            recorded.extend(self._listeners.event_log.number(first, events))

    def _refuse(self, jobs: list[Job], error: BaseException) -> None:
        for job in jobs:
            job.value = None
            job.error = UnavailableError(
                "store.unavailable",
                "The database did not confirm the change; send the same request again with its key.",
                retry_after_ms=1000,
            )
            job.error.__cause__ = error
        answer(jobs, self._listeners)
