"""How the interpreter is set in a process that serves."""

from __future__ import annotations

import gc


def tune() -> None:
    """Fit the garbage collector to a server; called once everything is built.

    It makes many short-lived objects and few cycles: with the default thresholds an eighth of its time goes
    into looking at the same long-lived objects again, so what was built at the start is kept out of
    collections, and they are rarer.

    The turns of threads stay at the interpreter's 5 ms: SQLite lets go of it at every statement, and to ask
    for it back ten times as often cost a gateway a fifth more CPU per purchase and made none faster.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
