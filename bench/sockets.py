"""Room for many connections in a process of the benchmark."""

from __future__ import annotations

import resource


def allow_many_sockets() -> None:
    """Raise this process's limit of open files as far as it may go."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
