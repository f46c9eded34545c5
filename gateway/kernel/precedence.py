"""People before machines, in a whole process: while a customer waits for an outcome, other work makes way.

What a customer waits for goes through several databases and the event loop in turn, and all of them share
one interpreter. So it is not enough that each queue puts people first: work that nobody waits for is not even
begun meanwhile, for a moment that is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

MAKES_WAY_S = 0.020
"""For so long at most; what nobody waits for goes on then, whoever waits."""


class Precedence:
    """Counts what is waited for. Changed and awaited on one event loop; `is_taken` is read by any thread."""

    def __init__(self) -> None:
        self._waited_for = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._listeners: list[Callable[[], None]] = []

    @property
    def is_taken(self) -> bool:
        """Whether somebody waits."""
        return self._waited_for > 0

    def on_quiet(self, listener: Callable[[], None]) -> None:
        """Have ``listener`` called whenever nobody waits any more. Quick, and thread safe on its own."""
        self._listeners.append(listener)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """While the body runs, somebody waits for what it does."""
        self._waited_for += 1
        self._quiet.clear()
        try:
            yield
        finally:
            self._waited_for -= 1
            if not self._waited_for:
                self._quiet.set()
                for listener in self._listeners:
                    listener()

    async def make_way(self) -> None:
        """Return when nobody waits, or after `MAKES_WAY_S`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(MAKES_WAY_S):
                # Who waits next may come before this one wakes.
                while self.is_taken:
                    await self._quiet.wait()
