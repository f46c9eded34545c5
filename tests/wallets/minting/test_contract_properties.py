"""Properties of the contract under steps by chance: the model in Python predicts every outcome and balance.

What holds after every step: no supply above its cap, the sum of balances is what was minted, a number mints
and returns at most once, a serial exists once, only roles do what only they may, nothing moves while paused.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from tests.wallets.minting.contract_model import (
    AS_BOUGHT,
    EDITIONS,
    FORGED,
    HOLDERS,
    IDS,
    KEYS,
    LAST_COPY,
    NO_IDS,
    NUMBERS,
    RECIPIENTS,
    Comparison,
)
from tests.wallets.minting.contract_world import HOLDER, MINTER, OWNER, address_of, person

OPEN = 2**128 - 1
KEY = st.sampled_from(KEYS)
USUALLY_MINTER = st.sampled_from([MINTER, MINTER, MINTER, *KEYS])
USUALLY_OWNER = st.sampled_from([OWNER, OWNER, *KEYS])
USUALLY_HOLDER = st.sampled_from([b"", b"", *KEYS])
NUMBER, PLACE = st.sampled_from(NUMBERS), st.integers(0, 30)
TO = st.sampled_from([*HOLDERS, *HOLDERS, *RECIPIENTS])
TOKENS = st.sampled_from([*IDS, *IDS, *IDS, *NO_IDS])
AMOUNTS = st.sampled_from([1, 1, 1, 1, 2, 3, 0, 2**128, 2**256 - 1])
CAPS = st.sampled_from([1, 3, OPEN, 0, 2**128])
ITEMS = st.lists(st.tuples(NUMBER, TO, TOKENS, AMOUNTS), min_size=1, max_size=8)
RETURNS = st.lists(
    st.tuples(PLACE, st.sampled_from([AS_BOUGHT] * 4 + list(range(AS_BOUGHT, FORGED + 1))), NUMBER),
    min_size=1,
    max_size=4,
)
ACTS = st.one_of(
    st.tuples(st.just("set_paused(bool)"), st.sampled_from([True, False, False])),
    st.tuples(st.just("set_minter(address,bool)"), KEY, st.booleans()),
    st.tuples(st.just("set_treasury(address)"), st.sampled_from(["", person(1), "accepts"])),
    st.tuples(st.just("transfer_ownership(address)"), KEY),
)
MOVES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), max_size=4)
STEPS = st.one_of(
    st.tuples(st.just(Comparison.mint), st.just(MINTER), ITEMS),
    st.tuples(st.just(Comparison.mint), USUALLY_MINTER, ITEMS),
    st.tuples(st.just(Comparison.take_back), USUALLY_MINTER, RETURNS, st.booleans()),
    st.tuples(st.just(Comparison.transfer), TO, PLACE, st.sampled_from([0, 0, 1, -1]), USUALLY_HOLDER),
    st.tuples(st.just(Comparison.transfer_batch), TO, PLACE, MOVES, USUALLY_HOLDER),
    st.tuples(st.just(Comparison.approve), KEY, KEY, st.booleans()),
    st.tuples(st.just(Comparison.define), USUALLY_MINTER, st.sampled_from([*EDITIONS, 2**191]), CAPS),
    st.tuples(
        st.just(Comparison.define_many),
        USUALLY_MINTER,
        st.lists(st.tuples(st.sampled_from(EDITIONS), CAPS), max_size=4),
    ),
    st.tuples(st.just(Comparison.administer), USUALLY_OWNER, ACTS, USUALLY_HOLDER),
)


# A failure is made small first, which may take minutes.
@pytest.mark.timeout(600)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    caps=st.lists(st.sampled_from([1, 3, 9, OPEN]), min_size=2, max_size=3),
    first=st.lists(st.tuples(NUMBER, st.sampled_from(list(HOLDERS)), TOKENS, AMOUNTS), min_size=3),
    steps=st.lists(STEPS, min_size=12, max_size=30),
)
# Tokens that go to their own holder twice in one transfer are counted one move after the other.
@example(
    caps=[1, 1],
    first=[(0, address_of(HOLDER), IDS[0], 1)],
    steps=[(Comparison.transfer_batch, address_of(HOLDER), 0, [(0, 1), (0, 1)], b"")],
)
# The largest token id is a numbered copy like any other.
@example(
    caps=[1, 1, OPEN],
    first=[(0, address_of(HOLDER), LAST_COPY, 1), (1, address_of(HOLDER), LAST_COPY, 1)],
    steps=[],
)
def test_contract_does_what_the_model_predicts(
    caps: list[int], first: list[tuple[int, str, int, int]], steps: list[tuple[Any, ...]]
) -> None:
    comparison = Comparison(caps)
    comparison.mint(MINTER, first)
    for act, *arguments in steps:
        act(comparison, *arguments)
        comparison.look()
    comparison.look_at_everything()
    for outcome in comparison.outcomes:
        event(outcome)  # told by pytest --hypothesis-show-statistics
