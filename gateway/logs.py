"""Logging: one named event with ids per line, as JSON or for a terminal. Tracebacks without local variables.

A traceback that prints the variables of its frames prints card numbers and tokens with them; so nothing that
formats exceptions here looks at variables (PCI DSS 3.3.1, ASVS 16.2.5).
"""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import Processor


def configure(*, json: bool | None = None) -> None:
    """Set up structlog and the standard library's logging for this process.

    ``json`` None: JSON unless standard error is a terminal.
    """
    as_json = not sys.stderr.isatty() if json is None else json
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        else [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    )
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # Looked up at every line: whoever redirects standard error gets what follows.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")


def ensure_configured() -> None:
    """Configure logging unless the embedding program has: the library's default prints variables."""
    if not structlog.is_configured():
        configure()
