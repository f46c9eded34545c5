"""How the interpreter is set in a process that serves."""

from __future__ import annotations

import gc
import sys


def tune(*, turn_s: float | None = None) -> None:
    """Fit the garbage collector to a server; called once everything is built.

    It makes many short-lived objects and few cycles: with the default thresholds an eighth of its time goes
    into looking at the same long-lived objects again, so what was built at the start is kept out of
    collections, and they are rarer.

    ``turn_s`` is how long a thread may keep others waiting for the interpreter; None leaves it at 5 ms.
    Shorter turns pay nowhere: SQLite lets go of the interpreter at every statement, and to ask for it back
    ten times as often cost a gateway a fifth more CPU per purchase and made none faster.
    """
    if turn_s is not None:
        sys.setswitchinterval(turn_s)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
