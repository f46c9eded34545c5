"""The one way a state changes: conditional updates, checked against the tables of allowed moves when they are
built.

The row count of such an update says who won, so two nodes, or a cancel and a claim, settle a race here.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import Column, ColumnElement, Table, update

from gateway.kernel.store.statements import Statement
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
)
from wallets.minting.tables import chain_tx, mint, mint_lane, token_contract, token_item

StateT = TypeVar("StateT", bound=StrEnum)


def allowed(moves: Mapping[StateT, frozenset[StateT]], origin: StateT, to: StateT) -> bool:
    """Say whether a move is in its table."""
    return to in moves[origin]


def _move(
    table: Table,
    column: Column[Any],
    moves: Mapping[StateT, frozenset[StateT]],
    origin: StateT,
    to: StateT,
    where: tuple[ColumnElement[bool], ...],
    sets: Mapping[str, Any],
) -> Statement:
    assert allowed(moves, origin, to), f"{table.name}: {origin} cannot become {to}"
    return Statement(
        update(table).where(column == origin.value, *where).values({column.name: to.value, **sets})
    )


def mint_move(origin: MintState, to: MintState, *where: ColumnElement[bool], **sets: Any) -> Statement:
    """Build the statement that moves mints; ``where`` names which, ``sets`` what else changes."""
    return _move(mint, mint.c.state, MINT_MOVES, origin, to, where, sets)


def return_move(origin: ReturnState, to: ReturnState, *where: ColumnElement[bool], **sets: Any) -> Statement:
    """Build the statement that moves returns of mints."""
    return _move(mint, mint.c.return_state, RETURN_MOVES, origin, to, where, sets)


def tx_move(origin: TxState, to: TxState, *where: ColumnElement[bool], **sets: Any) -> Statement:
    """Build the statement that moves transactions."""
    return _move(chain_tx, chain_tx.c.state, TX_MOVES, origin, to, where, sets)


def item_move(origin: ItemState, to: ItemState, *where: ColumnElement[bool], **sets: Any) -> Statement:
    """Build the statement that moves editions."""
    return _move(token_item, token_item.c.state, ITEM_MOVES, origin, to, where, sets)


def contract_move(
    origin: ContractState, to: ContractState, *where: ColumnElement[bool], **sets: Any
) -> Statement:
    """Build the statement that moves a contract."""
    return _move(token_contract, token_contract.c.state, CONTRACT_MOVES, origin, to, where, sets)


def lane_move(origin: LaneState, to: LaneState, *where: ColumnElement[bool], **sets: Any) -> Statement:
    """Build the statement that moves a lane."""
    return _move(mint_lane, mint_lane.c.state, LANE_MOVES, origin, to, where, sets)
