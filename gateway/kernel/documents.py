"""JSON text for the columns and messages that hold documents: one encoder for the whole program."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json, to_json


def encode(document: Any) -> str:
    """Return compact JSON with raw UTF-8. Raises ValueError for a value that has no form in JSON."""
    return to_json(document, inf_nan_mode="strings").decode()


def decode(text: str) -> Any:
    """Return the value of JSON text that we wrote ourselves."""
    return from_json(text)
