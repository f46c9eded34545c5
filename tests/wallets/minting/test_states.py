from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import pytest
from sqlalchemy import bindparam

from wallets.minting.contract.calls import numbered_token_id
from wallets.minting.model import (
    CONTRACT_MOVES,
    ITEM_MOVES,
    LANE_MOVES,
    MINT_MOVES,
    RETURN_MOVES,
    TX_MOVES,
    ContractState,
    ItemState,
    LaneState,
    MintState,
    ReturnState,
    TxState,
    token_id_of,
)
from wallets.minting.moves import (
    contract_move,
    item_move,
    lane_move,
    mint_move,
    return_move,
    tx_move,
)
from wallets.minting.tables import mint

MACHINES: list[tuple[type[StrEnum], Mapping[Any, frozenset[Any]], Any, Any]] = [
    (MintState, MINT_MOVES, mint_move, MintState.QUEUED),
    (ReturnState, RETURN_MOVES, return_move, ReturnState.NONE),
    (TxState, TX_MOVES, tx_move, TxState.CLAIMED),
    (ItemState, ITEM_MOVES, item_move, ItemState.NEW),
    (ContractState, CONTRACT_MOVES, contract_move, ContractState.DEPLOYING),
    (LaneState, LANE_MOVES, lane_move, LaneState.NEW),
]


@pytest.mark.parametrize(("states", "moves", "move", "first"), MACHINES)
def test_every_state_has_its_moves_and_can_be_reached(
    states: type[StrEnum], moves: Mapping[Any, frozenset[Any]], move: Any, first: StrEnum
) -> None:
    assert set(moves) == set(states)
    reached, frontier = {first}, [first]
    while frontier:
        for to in moves[frontier.pop()]:
            if to not in reached:
                reached.add(to)
                frontier.append(to)
    assert reached == set(states)


@pytest.mark.parametrize(("states", "moves", "move", "first"), MACHINES)
def test_only_moves_of_the_table_can_be_built(
    states: type[StrEnum], moves: Mapping[Any, frozenset[Any]], move: Any, first: StrEnum
) -> None:
    for origin in states:
        for to in states:
            if to in moves[origin]:
                text = move(origin, to).sql("sqlite")
                assert f"= '{origin}'" in text
                assert f"state='{to}'" in text
            else:
                with pytest.raises(AssertionError):
                    move(origin, to)


def test_terminal_states_of_a_mint_are_the_ones_a_customer_is_told() -> None:
    assert {state for state in MintState if state.is_terminal} == {
        MintState.FINAL,
        MintState.SKIPPED,
        MintState.CANCELED,
    }


def test_what_a_move_changes_beside_the_state_is_named() -> None:
    text = mint_move(
        MintState.QUEUED, MintState.CLAIMED, mint.c.leg_id == bindparam("leg"), tx_id=bindparam("tx")
    ).sql("sqlite")
    assert text == (
        "UPDATE mint SET state='claimed', tx_id=:tx WHERE mint.state = 'queued' AND mint.leg_id = :leg"
    )


def test_token_ids_are_the_contracts() -> None:
    assert token_id_of(5, None) == 5
    for serial in (1, 77, 2**63 - 1):
        assert token_id_of(5, serial) == numbered_token_id(5, serial)
    for item_number, serial in ((0, None), (1 << 63, None), (5, 0), (5, 1 << 63)):
        with pytest.raises(ValueError, match=r"item numbers|serials"):
            token_id_of(item_number, serial)
