"""Ids of items as worlds know them."""

from __future__ import annotations

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.orders.item_ids import item_id_of, leg_id_of

KEY, OTHER = "00" * 16, "01" * 16
LEGS = st.binary(min_size=14, max_size=14).map(lambda data: f"leg_{data.hex()}")


@given(LEGS)
def test_an_id_leads_back_to_its_leg_with_its_key_alone(leg_id: str) -> None:
    item_id = item_id_of(KEY, leg_id)
    assert leg_id_of(KEY, item_id) == leg_id
    assert leg_id_of(OTHER, item_id) != leg_id
    assert item_id_of(OTHER, leg_id) != item_id


def test_neighbours_have_nothing_in_common() -> None:
    one, two = (item_id_of(KEY, f"leg_{'0' * 27}{last}") for last in "12")
    assert one[4:12] != two[4:12]


@pytest.mark.parametrize("item_id", ["", "itm_", "leg_" + "0" * 28, "itm_" + "g" * 32, "itm_" + "0" * 31])
def test_what_is_no_id_leads_nowhere(item_id: str) -> None:
    assert leg_id_of(KEY, item_id) is None


def test_a_guessed_id_leads_nowhere() -> None:
    assert sum(leg_id_of(KEY, f"itm_{secrets.token_hex(16)}") is not None for _ in range(300)) < 3
