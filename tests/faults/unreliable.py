"""An outside world that now and then does not answer: before it acted, or after."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any


class Weather:
    """Whether the outside is troubled, and how often it fails. Shared by all that fail together."""

    def __init__(self, seed: int, *, before: float = 0.15, after: float = 0.15, slow_s: float = 0.02) -> None:
        self._chance = random.Random(seed)
        self._before, self._after, self._slow_s = before, after, slow_s
        self.fair = False
        self.failures = 0

    def spoil(self, port: Any, error: Callable[[], Exception], *methods: str) -> None:
        """Make methods of an adapter fail at random, with the error that its port allows."""
        for name in methods:
            setattr(port, name, self._unreliable(getattr(port, name), error))

    def _unreliable(self, method: Callable[..., Any], error: Callable[[], Exception]) -> Callable[..., Any]:
        async def call(*given: Any, **named: Any) -> Any:
            if self.fair:
                return await method(*given, **named)
            await asyncio.sleep(self._chance.uniform(0, self._slow_s))
            if self._chance.random() < self._before:
                self.failures += 1
                raise error()
            answer = await method(*given, **named)
            if self._chance.random() < self._after:
                self.failures += 1
                raise error()
            return answer

        return call
