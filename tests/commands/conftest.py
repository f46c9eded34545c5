"""A gateway whose work a test does step by step."""

from __future__ import annotations

from tests.support.stepped_gateway import plain_seed

__all__ = ["plain_seed"]
