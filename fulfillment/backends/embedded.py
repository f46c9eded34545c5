"""The default order backend: a small warehouse of its own beside the gateway, in its own database file.

It accepts orders at once and works them by itself after the delays it is given, many in one unit; or, with
automatic working off, waits for an operator to pick, dispatch and deliver. Everything it promised or did is
in its file: after a crash it goes on where it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import structlog

from fulfillment.backends import embedded_work as work
from fulfillment.backends.embedded_work import Effect, Pace, WorkState
from fulfillment.backends.port import (
    BackendOrder,
    BackendReceipt,
    BackendUnavailableError,
    BackendUpdate,
    CancelAnswer,
    UpdateKind,
)
from gateway.kernel.clock import Clock
from gateway.kernel.documents import decode
from gateway.kernel.errors import UnavailableError
from gateway.kernel.ids import IdSource
from gateway.kernel.migrate import upgrade_sqlite
from gateway.kernel.precedence import Precedence
from gateway.kernel.store.sqlite import SqliteStore
from gateway.kernel.store.unit import Lane, Query, Reader, Store, Unit, UnitOfWork

log = structlog.get_logger(__name__)
T = TypeVar("T")
_PAGE = 1_000


_MIGRATIONS = Path(__file__).parent / "embedded_migrations"


class EmbeddedBackend:
    """`OrderBackend` on its own store. Make it with `open`; `start` begins automatic work."""

    def __init__(
        self, store: Store, clock: Clock, pace: Pace, on_update: Callable[[], None] | None = None
    ) -> None:
        self.name = "embedded"
        self._store = store
        self._clock = clock
        self._pace = pace
        self._wake = asyncio.Event()
        self._planned_ms: int | None = None
        self._worker: asyncio.Task[None] | None = None
        self.on_update: Callable[[], None] = on_update or (lambda: None)
        """Called on the event loop after new updates are durable. Often; it should only set a flag."""

    @classmethod
    def open(
        cls,
        path: Path,
        clock: Clock,
        ids: IdSource,
        *,
        pace: Pace | None = None,
        on_update: Callable[[], None] | None = None,
        precedence: Precedence | None = None,
        rehearse: bool = False,
        strict: bool = False,
    ) -> EmbeddedBackend:
        """Open or create the backend's database file."""
        upgrade_sqlite(path, _MIGRATIONS)
        store = SqliteStore(path, clock, ids, precedence=precedence, rehearse=rehearse, strict=strict)
        return cls(store, clock, pace or Pace(), on_update)

    def start(self) -> None:
        """Begin working by itself on the running event loop, unless its pace is manual."""
        if self._pace.automatic and self._worker is None:
            self._worker = asyncio.create_task(self._keep_working(), name="embedded-backend")

    async def close(self) -> None:
        """Stop working and close the database."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
            self._worker = None
        await self._store.close()

    async def create(self, order: BackendOrder) -> BackendReceipt:
        text = work.order_text(order)

        def unit(uow: UnitOfWork) -> BackendReceipt:
            receipt, due = work.take(uow, order, text, self._pace)
            self._tell_after(uow, due)
            return receipt

        return await self._write(unit)

    async def find(self, reference: str) -> BackendReceipt | None:
        return await self._read(lambda reader: work.receipt(reader, reference))

    async def cancel(self, reference: str) -> CancelAnswer:
        def unit(uow: UnitOfWork) -> CancelAnswer:
            answer = work.cancel(uow, reference)
            self._tell_after(uow, None)
            return answer

        return await self._write(unit)

    async def updates(self, after: str, limit: int) -> list[BackendUpdate]:
        return await self._read(lambda reader: work.updates(reader, after, limit))

    async def pick(self, reference: str) -> None:
        """An operator took the goods from the shelf: from now on cancelling is too late."""
        await self._operate(reference, WorkState.PICKED)

    async def dispatch(self, reference: str) -> None:
        """An operator handed the parcel to the carrier."""
        await self._operate(reference, WorkState.DISPATCHED)

    async def deliver(self, reference: str) -> None:
        """The carrier handed the parcel over. ConflictError ``backend.move_refused`` before dispatch."""
        await self._operate(reference, WorkState.DELIVERED)

    async def refuse(self, reference: str, reason: str) -> None:
        """An operator cannot ship it: not found, broken, address not served."""
        await self._operate(reference, WorkState.REFUSED, reason)

    async def work(self) -> int:
        """Do everything that is due now and return how many moves that were."""
        moves = 0
        while True:
            moved = await self._write(self._work_due, Lane.BACKGROUND)
            moves += moved
            if moved < self._pace.batch:
                return moves

    async def effects(self) -> list[Effect]:
        """Return everything the backend took and did, by reference: for comparing both sides in tests."""
        announced: dict[str, list[UpdateKind]] = {}
        cursor = ""
        while page := await self.updates(cursor, _PAGE):
            cursor = page[-1].cursor
            for told in page:
                announced.setdefault(told.reference, []).append(told.kind)
        effects: list[Effect] = []
        last = ""

        def page_of_orders(reader: Reader) -> list[Any]:
            return work.orders(reader, last, _PAGE)

        while rows := await self._read(page_of_orders):
            last = rows[-1].reference
            effects += [
                Effect(
                    row.reference,
                    row.backend_reference,
                    decode(row.document),
                    WorkState(row.state),
                    tuple(announced.get(row.reference, ())),
                )
                for row in rows
            ]
        return effects

    def _work_due(self, uow: UnitOfWork) -> int:
        moved = work.work_due(uow, self._pace)
        if moved:
            self._tell_after(uow, None)
        return moved

    async def _operate(self, reference: str, to: WorkState, reason: str | None = None) -> None:
        def unit(uow: UnitOfWork) -> None:
            self._tell_after(uow, work.operate(uow, reference, to, self._pace, reason))

        await self._write(unit)

    def _tell_after(self, uow: UnitOfWork, due_at_ms: int | None) -> None:
        """Once the unit is durable: tell the gateway, and wake the worker if it looks too late."""

        def told() -> None:
            self.on_update()
            if due_at_ms is not None and (self._planned_ms is None or due_at_ms < self._planned_ms):
                self._wake.set()

        uow.after_commit(told)

    async def _keep_working(self) -> None:
        while True:
            self._wake.clear()
            self._planned_ms = None
            try:
                await self.work()
                self._planned_ms = await self._read(work.next_due_ms)
            except BackendUnavailableError as error:
                # What is due stays due: the next round does it.
                log.warning("backend.work_failed", backend=self.name, code=error.code)
                self._wake.set()
            await asyncio.sleep(self._pace.pause_ms / 1000)
            await self._until_due()

    async def _until_due(self) -> None:
        wait_s = None
        if self._planned_ms is not None:
            wait_s = max(0, self._planned_ms - self._clock.now_ms()) / 1000
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _write(self, unit: Unit[T], lane: Lane = Lane.INTERACTIVE) -> T:
        try:
            return await self._store.write(unit, lane=lane)
        except UnavailableError as error:
            raise _unavailable() from error

    async def _read(self, query: Query[T]) -> T:
        try:
            return await self._store.read(query)
        except UnavailableError as error:
            raise _unavailable() from error


def _unavailable() -> BackendUnavailableError:
    return BackendUnavailableError("fulfillment.unavailable", "The order backend did not answer.")
