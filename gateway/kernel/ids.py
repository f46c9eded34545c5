"""Typed ids that sort by the time they were made.

An id is ``<prefix>_<12 hex digits of milliseconds><16 hex digits>``: 48 bits of time, then 64 bits that
start random and count up within a millisecond, so ids of one process sort in the order they were made
(the layout of UUID version 7, RFC 9562, without its fixed bits). Ids are names, not secrets.
"""

from __future__ import annotations

import itertools
import re
import secrets
import threading
from typing import ClassVar, Protocol, Self, TypeVar

from gateway.kernel.clock import Clock

_SHAPE = re.compile(r"([a-z]{2,8})_([0-9a-f]{28})")


class Id(str):
    """Base of the typed ids; a subclass states its prefix. Being `str`, it is stored and sent as text."""

    prefix: ClassVar[str]
    _kinds: ClassVar[dict[str, type[Id]]] = {}

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        taken = Id._kinds.setdefault(cls.prefix, cls)
        assert taken.__qualname__ == cls.__qualname__, f"id prefix {cls.prefix!r} is used twice"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the id; raises ValueError when the prefix or the shape is not this type's."""
        match = _SHAPE.fullmatch(text)
        if match is None or match.group(1) != cls.prefix:
            raise ValueError(f"not an id of the form {cls.prefix}_...: {text[:64]!r}")
        return cls(text)


IdT = TypeVar("IdT", bound=Id)


class IdSource(Protocol):
    """Makes new ids."""

    def new(self, kind: type[IdT]) -> IdT: ...


class TimeSortedIds:
    """Ids from the clock and the system's random source, strictly increasing within one source."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._at_ms = 0
        self._tail = 0

    def new(self, kind: type[IdT]) -> IdT:
        with self._lock:
            now = self._clock.now_ms()
            if now > self._at_ms:
                self._at_ms = now
                # The top bit stays free so that counting up cannot overflow 64 bits.
                self._tail = secrets.randbits(63)
            else:
                self._tail += 1
            return kind(f"{kind.prefix}_{self._at_ms:012x}{self._tail:016x}")


class CountingIds:
    """Ids 1, 2, 3 ... for tests that compare whole documents."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def new(self, kind: type[IdT]) -> IdT:
        return kind(f"{kind.prefix}_{next(self._numbers):028x}")
