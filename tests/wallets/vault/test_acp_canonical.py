"""Canonical JSON (RFC 8785) and strict reading of it."""

from __future__ import annotations

import json
import math
import struct
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallets.vault.acp_canonical import NotJsonError, canonical, number, read


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        # RFC 8785, appendix B.
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("8000000000000001", "-5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("ffefffffffffffff", "-1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("c340000000000000", "-9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("44b52d02c7e14af7", "1.0000000000000001e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef4f", "999999999999999900000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"),
        ("41b3de4355555554", "333333333.33333325"),
        ("41b3de4355555555", "333333333.3333333"),
        ("41b3de4355555556", "333333333.3333334"),
        ("41b3de4355555557", "333333333.33333343"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
        ("43143ff3c1cb0959", "1424953923781206.2"),
    ],
)
def test_v21_numbers_are_written_as_the_standard_says(bits: str, text: str) -> None:
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert number(value) == text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_of_json_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not a number"):
        number(value)


def test_v21_the_example_of_the_standard() -> None:
    """RFC 8785, section 3.2.2 and 3.2.3."""
    given_text = (
        '{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],'
        '"string":"\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/",'
        '"literals":[null,true,false]}'
    )
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical(read(given_text.encode())).decode() == expected


def test_v21_members_are_sorted_by_utf_16() -> None:
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    text = canonical(dict.fromkeys(names, 0)).decode()
    assert list(json.loads(text)) == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ('{"a":1,"b":2}', '{ "b" : 2.0, "a" : 1e0 }', True),
        ('{"a":1}', '{"a":1,"b":null}', False),
        ("[1,2]", "[2,1]", False),
        ('{"a":"\\u0041"}', '{"a":"A"}', True),
        ('{"a":1}', '{"a":"1"}', False),
        ('{"a":true}', '{"a":1}', False),
        ('{"a":-0.0}', '{"a":0}', True),
        ("9007199254740993", "9007199254740992", True),
        ("0.1", "0.10000000000000001", True),
    ],
)
def test_v21_equal_values_have_one_form(one: str, other: str, equal: bool) -> None:
    assert (canonical(read(one.encode())) == canonical(read(other.encode()))) is equal


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b'{"a":1,"a":2}',
        b"NaN",
        b"[Infinity]",
        b"1e999",
        b'"\\ud800"',
        b'{"\\udfff":1}',
        b"\xff",
        b"[" * 40 + b"]" * 40,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'"' + b'\\"' * 30_000,
        b"{} {}",
        b"1" * 5_000,
    ],
)
def test_what_has_no_one_meaning_is_refused(text: bytes) -> None:
    with pytest.raises(NotJsonError) as caught:
        read(text)
    assert caught.value.__cause__ is None


def test_deep_json_is_refused_before_the_parser_sees_it() -> None:
    """Where a library has raised the interpreter's limit, the parser would run out of stack."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000_000)
    try:
        with pytest.raises(NotJsonError):
            read(b"[" * 1_000_000)
    finally:
        sys.setrecursionlimit(limit)
    assert read(b"[" * 32 + b"]" * 32) is not None
    assert read(b'["' + b"[" * 1_000 + b'\\"["]')[0].endswith('["[')


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abcé€😀", max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON)
def test_v21_the_canonical_form_reads_back_as_the_same_value_and_is_stable(value: Any) -> None:
    text = canonical(value)
    # A number is a double, however it is written.
    assert json.loads(text, parse_int=float) == value
    assert canonical(read(text)) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_v21_every_double_survives(value: float) -> None:
    assert float(number(value)) == value
