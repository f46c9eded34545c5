"""Every state of orders, legs, intents, attempts and operations: its moves, its end, its classification."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import pytest

from gateway.orders.model import (
    LEG_MOVES,
    ORDER_MOVES,
    LegState,
    OrderState,
    holds_goods,
    needs_money,
)
from gateway.payments.model import (
    ATTEMPT_MOVES,
    INTENT_MOVES,
    OPERATION_MOVES,
    AttemptState,
    IntentState,
    OperationState,
    intent_is_open,
    operation_is_final,
)

MACHINES = [
    (OrderState, ORDER_MOVES, OrderState.PLACED),
    (LegState, LEG_MOVES, LegState.RESERVED),
    (IntentState, INTENT_MOVES, IntentState.AUTHORIZING),
    (AttemptState, ATTEMPT_MOVES, AttemptState.AUTHORIZING),
    (OperationState, OPERATION_MOVES, OperationState.CREATED),
]


@pytest.mark.parametrize(
    ("states", "moves", "first"), MACHINES, ids=lambda value: getattr(value, "__name__", "")
)
def test_every_state_is_in_the_table_and_can_be_reached(
    states: type[StrEnum], moves: Mapping[StrEnum, frozenset[StrEnum]], first: StrEnum
) -> None:
    assert set(moves) == set(states)
    reached, frontier = {first}, [first]
    while frontier:
        for target in moves[frontier.pop()]:
            if target not in reached:
                reached.add(target)
                frontier.append(target)
    assert reached == set(states)


@pytest.mark.parametrize(
    ("states", "moves", "first"), MACHINES, ids=lambda value: getattr(value, "__name__", "")
)
def test_every_state_leads_to_an_end(
    states: type[StrEnum], moves: Mapping[StrEnum, frozenset[StrEnum]], first: StrEnum
) -> None:
    ends = {state for state in states if not moves[state]}
    assert ends
    for state in states:
        seen, frontier = {state}, [state]
        while frontier:
            for target in moves[frontier.pop()]:
                if target not in seen:
                    seen.add(target)
                    frontier.append(target)
        assert seen & ends, state


@pytest.mark.parametrize("state", LegState)
def test_a_leg_either_may_need_money_or_has_ended(state: LegState) -> None:
    if needs_money(state):
        # Whatever still needs money can get to an end where it does not.
        assert LEG_MOVES[state]
        assert not holds_goods(state)
    if state in (LegState.CANCELED, LegState.FAILED, LegState.RETURNED):
        assert not LEG_MOVES[state]
        assert not needs_money(state)


@pytest.mark.parametrize("state", IntentState)
def test_an_intent_is_open_exactly_while_it_can_move(state: IntentState) -> None:
    assert intent_is_open(state) == bool(INTENT_MOVES[state])


@pytest.mark.parametrize("state", OperationState)
def test_an_operation_is_final_exactly_when_it_cannot_move(state: OperationState) -> None:
    assert operation_is_final(state) == (not OPERATION_MOVES[state])


def test_an_unknown_operation_can_only_become_an_answer() -> None:
    assert OPERATION_MOVES[OperationState.UNKNOWN] == {
        OperationState.REQUIRES_ACTION,
        OperationState.SUCCEEDED,
        OperationState.DECLINED,
        OperationState.FAILED,
    }
