"""Reading a GLB container: two chunks, and a JSON document that is bounded before it is parsed.

Source: glTF 2.0 specification, section 4 (GLB file format specification).
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from typing import Any, NoReturn

from gateway.kernel.errors import InvalidError

MAX_JSON_BYTES = 4 * 1024 * 1024
MAX_JSON_DEPTH = 64
_MARKS = re.compile(rb'[\[\]{}"\\]')
_JSON_CHUNK, _BINARY_CHUNK = 0x4E4F534A, 0x004E4942


@dataclass(frozen=True, slots=True)
class Glb:
    """The document of a GLB and its binary chunk (empty if it has none)."""

    document: dict[str, Any]
    binary: memoryview


def refuse(reason: str, message: str) -> NoReturn:
    """Refuse a model with the code ``model.<reason>``."""
    raise InvalidError(f"model.{reason}", message)


def read_glb(data: bytes) -> Glb:
    """Split a GLB into its chunks.

    Raises InvalidError ``model.not_glb``, ``model.version``, ``model.truncated``, ``model.json_too_large``,
    ``model.json_depth`` or ``model.json_invalid``.
    """
    if len(data) < 12 or data[:4] != b"glTF":
        refuse("not_glb", "The file is not a binary glTF (GLB).")
    _, version, length = struct.unpack_from("<4sII", data)
    if version != 2:
        refuse("version", f"The file is GLB version {version}; only version 2 is taken.")
    if length != len(data):
        refuse("truncated", f"The header says {length} bytes, the file has {len(data)}.")
    chunks = []
    offset = 12
    while offset < length:
        if length - offset < 8:
            refuse("truncated", "A chunk header is cut off.")
        size, kind = struct.unpack_from("<II", data, offset)
        offset += 8
        if size > length - offset:
            refuse("truncated", "A chunk is longer than the file.")
        chunks.append((kind, memoryview(data)[offset : offset + size]))
        offset += size
        if len(chunks) > 16:
            refuse("json_invalid", "The file has too many chunks.")
    if not chunks or chunks[0][0] != _JSON_CHUNK:
        refuse("json_invalid", "The first chunk is not the JSON document.")
    binary = chunks[1][1] if len(chunks) > 1 and chunks[1][0] == _BINARY_CHUNK else memoryview(b"")
    return Glb(_parse(bytes(chunks[0][1])), binary)


def _parse(text: bytes) -> dict[str, Any]:
    if len(text) > MAX_JSON_BYTES:
        refuse("json_too_large", f"The JSON document has {len(text)} bytes; {MAX_JSON_BYTES} are the most.")
    _check_depth(text)
    try:
        document = json.loads(text, parse_constant=_no_constants)
    except (ValueError, RecursionError):
        refuse("json_invalid", "The JSON document cannot be read.")
    if not isinstance(document, dict):
        refuse("json_invalid", "The JSON document is not an object.")
    return document


def _check_depth(text: bytes) -> None:
    """Refuse deep nesting in one pass, before a recursive parser sees it."""
    depth = 0
    in_string = False
    skip_to = -1
    for mark in _MARKS.finditer(text):
        at = mark.start()
        if at < skip_to:
            continue
        sign = mark.group()
        if sign == b"\\":
            skip_to = at + 2
        elif sign == b'"':
            in_string = not in_string
        elif in_string:
            continue
        elif sign in b"[{":
            depth += 1
            if depth > MAX_JSON_DEPTH:
                refuse("json_depth", f"The JSON document is nested deeper than {MAX_JSON_DEPTH}.")
        else:
            depth -= 1


def _no_constants(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
