from __future__ import annotations

import itertools

import pytest

from fulfillment.states import ALLOWED_MOVES, FulfillmentState, moves_to

S = FulfillmentState


def test_every_state_has_its_moves() -> None:
    assert set(ALLOWED_MOVES) == set(S)
    assert {state for state in S if state.terminal} == {S.DELIVERED, S.CANCELED, S.REFUSED}
    assert {state for state in S if state.left_the_house} == {S.DISPATCHED, S.DELIVERED}


def test_every_state_is_reached_from_created() -> None:
    reached, grown = {S.CREATED}, True
    while grown:
        more = reached.union(*(ALLOWED_MOVES[state] for state in reached))
        grown, reached = more != reached, more
    assert reached == set(S)


@pytest.mark.parametrize(("now", "told"), list(itertools.product(S, S)))
def test_moves_are_allowed_ones_and_end_where_they_should(now: S, told: S) -> None:
    steps = moves_to(now, told)
    if steps is None:
        assert now.left_the_house != told.left_the_house
        assert {now, told} & {S.CANCELED, S.REFUSED}
        return
    state = now
    for step in steps:
        assert step in ALLOWED_MOVES[state]
        state = step
    if steps:
        assert state == told
        # Told again, it is known.
        assert moves_to(state, told) == ()


def test_a_delivery_that_arrives_first_implies_the_dispatch() -> None:
    assert moves_to(S.ACCEPTED, S.DELIVERED) == (S.DISPATCHED, S.DELIVERED)
    assert moves_to(S.CREATED, S.DISPATCHED) == (S.SENT, S.ACCEPTED, S.DISPATCHED)


def test_old_news_moves_nothing() -> None:
    assert moves_to(S.DELIVERED, S.ACCEPTED) == ()
    assert moves_to(S.CANCELED, S.ACCEPTED) == ()


def test_shipped_and_not_shipped_contradict_each_other() -> None:
    assert moves_to(S.CANCELED, S.DISPATCHED) is None
    assert moves_to(S.DELIVERED, S.REFUSED) is None
