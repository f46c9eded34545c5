"""Questions to guardians: states, and decisions by one move each."""

from __future__ import annotations

import itertools

import pytest

from gateway.payments.guardians_model import GUARDIAN_MOVES, GuardianState, is_approved, shown_state

S = GuardianState


def test_the_walk_over_every_state() -> None:
    assert GUARDIAN_MOVES.keys() == set(S)
    reached = {S.PENDING}
    for state, target in itertools.product(S, S):
        if target in GUARDIAN_MOVES[state]:
            reached.add(target)
            assert target is not S.PENDING, "what was decided is never asked again"
    assert reached == set(S)


@pytest.mark.parametrize("state", [state for state in S if state is not S.PENDING])
def test_a_guardians_word_is_never_turned_round(state: GuardianState) -> None:
    for target in GUARDIAN_MOVES[state]:
        assert is_approved(state) and is_approved(target)


def test_clients_see_what_was_decided_and_not_how_far_the_vault_was_told() -> None:
    assert {shown_state(state) for state in S} == {"pending", "approved", "declined", "expired", "ended"}
    assert shown_state(S.DONE) == shown_state(S.REFUSED) == "approved"
