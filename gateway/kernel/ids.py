"""Typed ids that sort by the time they were made.

An id is ``<prefix>_<12 hex digits of milliseconds><16 hex digits>``: 48 bits of time, then 64 bits that
start random and count up within a millisecond, so ids of one process sort in the order they were made
(the layout of UUID version 7, RFC 9562, without its fixed bits). Ids are names, not secrets.
"""

from __future__ import annotations

import itertools
import random
import re
import secrets
import threading
from collections.abc import Iterator
from itertools import count
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
    """Ids from the clock and a generator that the system's random source seeds.

    They are unique over all threads, and strictly increasing within each thread.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._random = random.Random(secrets.randbits(256))  # noqa: S311  # ids are names, not secrets
        self._stamp: tuple[int, str, Iterator[int]] = (0, f"{0:012x}", count())

    def new(self, kind: type[IdT]) -> IdT:
        at_ms, head, tail = self._stamp
        now = self._clock.now_ms()
        if now > at_ms:
            _, head, tail = self._turn(now)
        # Counting up is one step of the interpreter, so it needs no lock.
        return kind(f"{kind.prefix}_{head}{next(tail):016x}")

    def _turn(self, now: int) -> tuple[int, str, Iterator[int]]:
        """Begin a new millisecond, unless another thread has begun it meanwhile."""
        with self._lock:
            if now > self._stamp[0]:
                # The top bit stays free so that counting up cannot overflow 64 bits.
                self._stamp = (now, f"{now:012x}", count(self._random.getrandbits(63)))
            return self._stamp


class CountingIds:
    """Ids 1, 2, 3 ... for tests that compare whole documents."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def new(self, kind: type[IdT]) -> IdT:
        return kind(f"{kind.prefix}_{next(self._numbers):028x}")
