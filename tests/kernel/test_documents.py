from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.kernel.documents import decode, encode

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(plain)
def test_a_document_comes_back_as_it_was(document):
    assert decode(encode(document)) == document


def test_text_is_compact_raw_utf_8():
    assert encode({"name": "Zoë 椅子", "parts": [1, 2]}) == '{"name":"Zoë 椅子","parts":[1,2]}'


def test_amounts_beyond_a_double_stay_exact():
    assert encode([2**53 + 1]) == "[9007199254740993]"
    assert decode("[9007199254740993]") == [2**53 + 1]


def test_what_json_cannot_say_is_never_written_bare():
    assert encode([float("nan"), float("inf")]) == '["NaN","Infinity"]'


@pytest.mark.parametrize("value", [object(), {"a": object()}, [lambda: None]])
def test_a_value_without_a_form_in_json_is_refused(value):
    with pytest.raises(ValueError, match="serialize"):
        encode(value)
