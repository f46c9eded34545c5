"""JSON as ACP compares it: strict reading, and one form for equal values (RFC 8785).

Two bodies are the same request when their values are: the order of members and ``1.0`` for ``1`` do not
matter; null is not the same as absent, and arrays have an order.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

_LARGEST_EXACT = 2**53
_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\b": "\\b",
    "\t": "\\t",
    "\n": "\\n",
    "\f": "\\f",
    "\r": "\\r",
}
_MOST_DEPTH = 32
# A text as a whole, closed or not, so that brackets in it do not count; or a bracket.
_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)


class NotJsonError(ValueError):
    """The text is not JSON that has one meaning everywhere (RFC 7493). Says nothing of its content."""


def read(data: bytes) -> Any:
    """Return the value of JSON in UTF-8. Numbers without a fraction are integers, however they are written.

    Raises NotJsonError, also for a member that is there twice, a number no double can hold, unpaired
    surrogates and more than 32 levels.
    """
    # First of all: the parser recurses in C, and where the interpreter's limit was raised it crashes.
    _check_depth(data)
    try:
        value = json.loads(
            data.decode("utf-8"),
            parse_float=_number_of,
            parse_int=_integer_of,
            parse_constant=_refuse,
            object_pairs_hook=_members,
        )
    except ValueError:
        raise NotJsonError("not JSON") from None
    _check_surrogates(value)
    return value


def canonical(value: Any) -> bytes:
    """Return the canonical form of a JSON value (RFC 8785, section 3.2) in UTF-8."""
    parts: list[str] = []
    _write(value, parts)
    return "".join(parts).encode()


def _number_of(text: str) -> int | float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return int(value) if value.is_integer() and abs(value) <= _LARGEST_EXACT else value


def _integer_of(text: str) -> int | float:
    # A number is a double; a longer integer would differ between readers.
    return int(text) if len(text) < 16 else _number_of(text)


def _refuse(text: str) -> Any:
    raise ValueError


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError
    return members


def _check_depth(data: bytes) -> None:
    depth = 0
    for found in _BRACKET.finditer(data):
        if found[0] in (b"[", b"{"):
            depth += 1
            if depth > _MOST_DEPTH:
                raise NotJsonError("too deep")
        elif found[0] in (b"]", b"}"):
            depth -= 1


def _check_surrogates(value: Any) -> None:
    if isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise NotJsonError("unpaired surrogate")
    elif isinstance(value, dict):
        for name, item in value.items():
            _check_surrogates(name)
            _check_surrogates(item)
    elif isinstance(value, list):
        for item in value:
            _check_surrogates(item)


def _write(value: Any, parts: list[str]) -> None:
    match value:
        case None:
            parts.append("null")
        case True:
            parts.append("true")
        case False:
            parts.append("false")
        case str():
            parts.append(_text(value))
        case int() | float():
            parts.append(number(value))
        case list():
            parts.append("[")
            for place, item in enumerate(value):
                if place:
                    parts.append(",")
                _write(item, parts)
            parts.append("]")
        case dict():
            parts.append("{")
            # By UTF-16 code units (section 3.2.3).
            for place, name in enumerate(sorted(value, key=lambda text: text.encode("utf-16-be"))):
                if place:
                    parts.append(",")
                parts.append(f"{_text(name)}:")
                _write(value[name], parts)
            parts.append("}")
        case _:
            raise TypeError(f"{type(value).__name__} is no JSON value")


def _text(value: str) -> str:
    escaped = "".join(
        _ESCAPES.get(character) or (f"\\u{ord(character):04x}" if character < " " else character)
        for character in value
    )
    return f'"{escaped}"'


def number(value: int | float) -> str:
    """Return a number as ECMAScript writes it (section 3.2.2.3; ECMA-262, Number::toString)."""
    if not math.isfinite(value):
        raise ValueError("not a number of JSON")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    # The shortest digits that read back as the same double: Python's repr has them, in another layout.
    mantissa, _, exponent = repr(abs(float(value))).partition("e")
    whole, _, fraction = mantissa.partition(".")
    if fraction == "0":
        fraction = ""
    digits = (whole + fraction).lstrip("0")
    # The value is 0.digits times ten to the power of point.
    point = len(whole.lstrip("0")) if whole != "0" else len(fraction.lstrip("0")) - len(fraction)
    point += int(exponent or 0)
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return f"{sign}{digits}{'0' * (point - count)}"
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    power = point - 1
    tail = f".{digits[1:]}" if count > 1 else ""
    return f"{sign}{digits[0]}{tail}e{'+' if power > 0 else '-'}{abs(power)}"
