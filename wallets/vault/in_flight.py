"""One caller at a time per operation id, within this process.

This saves work and waiting: a repeat that arrives while the first is at the provider gets the first one's
answer instead of asking. Correctness does not rest on it; the database and the provider's idempotency do.
"""

from __future__ import annotations

import asyncio


class InFlight:
    """Operation ids that are being worked on."""

    def __init__(self) -> None:
        self._waited_for: dict[str, asyncio.Future[None] | None] = {}

    def turn(self, operation_id: str) -> _Turn:
        """``async with in_flight.turn(id):`` waits for the id to be free and holds it."""
        return _Turn(self._waited_for, operation_id)


class _Turn:
    __slots__ = ("_operation_id", "_waited_for")

    def __init__(self, waited_for: dict[str, asyncio.Future[None] | None], operation_id: str) -> None:
        self._waited_for = waited_for
        self._operation_id = operation_id

    async def __aenter__(self) -> None:
        while self._operation_id in self._waited_for:
            future = self._waited_for[self._operation_id]
            if future is None:
                future = asyncio.get_running_loop().create_future()
                self._waited_for[self._operation_id] = future
            # Shielded: one waiter that gives up must not wake the others.
            await asyncio.shield(future)
        self._waited_for[self._operation_id] = None

    async def __aexit__(self, *_: object) -> None:
        future = self._waited_for.pop(self._operation_id)
        if future is not None:
            future.set_result(None)
