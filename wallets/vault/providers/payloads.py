"""What the payloads of wallets have in common: JSON objects with encoded parts, from strangers."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any


class PayloadRefusedError(Exception):
    """A wallet's payload that must not be used. The text names the check, never the content."""


@dataclass(frozen=True, slots=True)
class CheckedPayload:
    """A wallet's payload whose signatures hold."""

    identity: bytes
    """The same for every copy of it."""
    refused_from_ms: int
    """From when on its own dates have it refused: until then only our record of it keeps a copy out."""


def read_object(text: str, what: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise PayloadRefusedError(f"{what} is not JSON") from None
    if not isinstance(document, dict):
        raise PayloadRefusedError(f"{what} is no object")
    return document


def read_text(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise PayloadRefusedError("a part is missing")
    return value


def read_base64(value: Any) -> bytes:
    if not isinstance(value, str) or not value:
        raise PayloadRefusedError("a part is missing")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise PayloadRefusedError("a part is not base64") from None


def read_hex(value: Any) -> bytes:
    if not isinstance(value, str):
        raise PayloadRefusedError("a part is missing")
    try:
        return bytes.fromhex(value)
    except ValueError:
        raise PayloadRefusedError("a part is not hexadecimal") from None
