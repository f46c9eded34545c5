"""A process of the benchmark ends with the one that started it, however that one ended."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable


def on_end_of_input(stop: Callable[[], object]) -> None:
    """Call ``stop`` once the standard input is closed: its other end is the process that started this one."""
    loop = asyncio.get_running_loop()
    source = sys.stdin.fileno()

    def read() -> None:
        if not os.read(source, 4096):
            loop.remove_reader(source)
            stop()

    loop.add_reader(source, read)
