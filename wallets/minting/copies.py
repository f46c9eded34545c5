"""How an edition and its copies stand, for what is told of them to anybody. Reading only.

Nothing is told that the chain does not tell: a copy that is not in a transaction does not exist here, nor one
on a contract of its merchant's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import bindparam, select

from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader
from wallets.minting.model import MintState, Receiver, ReturnState
from wallets.minting.tables import mint

_ON_THE_CHAIN = [MintState.SENT.value, MintState.MINTED.value, MintState.FINAL.value]
_VIEW = select(mint.c.leg_id, mint.c.state, mint.c.return_state).where(mint.c.receiver != Receiver.OWN.value)
_OF_COPY = Statement(
    _VIEW.where(
        mint.c.item_number == bindparam("item_number"),
        mint.c.serial == bindparam("serial"),
        mint.c.state.in_(_ON_THE_CHAIN),
    )
    .order_by(mint.c.leg_id.desc())
    .limit(1)
)
_OF_EDITION = Statement(
    _VIEW.where(
        mint.c.item_number == bindparam("item_number"),
        mint.c.serial.is_(None),
        mint.c.state.in_([MintState.MINTED.value, MintState.FINAL.value]),
    ).limit(1)
)
_UNDER_WAY = Statement(
    _VIEW.where(
        mint.c.item_number == bindparam("item_number"),
        mint.c.serial.is_(None),
        mint.c.state == MintState.SENT.value,
    ).limit(1)
)
_ANY = Statement(select(mint.c.leg_id).where(mint.c.item_number == bindparam("item_number")).limit(1))


class CopyState(StrEnum):
    """What anybody may know of a copy."""

    MINTING = "minting"
    """Its transaction is signed and may be in a block already."""
    MINTED = "minted"
    RETURNING = "returning"
    RETURNED = "returned"
    """Back at the treasury."""


@dataclass(frozen=True, slots=True)
class Standing:
    """``leg_id`` is the purchase of a numbered copy, and None for an edition: it has many."""

    leg_id: str | None
    state: CopyState


def standing(reader: Reader, item_number: int, serial: int | None) -> Standing | None:
    """Return how a numbered copy stands, or an edition without numbers; None before it is on the chain."""
    asked = {"item_number": item_number, "serial": serial}
    if serial is None:
        if reader.row(_OF_EDITION, asked) is not None:
            return Standing(None, CopyState.MINTED)
        return None if reader.row(_UNDER_WAY, asked) is None else Standing(None, CopyState.MINTING)
    row = reader.row(_OF_COPY, asked)
    return None if row is None else Standing(row.leg_id, _state(row.state, row.return_state))


def was_sold(reader: Reader, item_number: int) -> bool:
    """Whether a copy was ever to be minted."""
    return reader.row(_ANY, {"item_number": item_number}) is not None


def _state(state: str, return_state: str) -> CopyState:
    if state == MintState.SENT:
        return CopyState.MINTING
    match ReturnState(return_state):
        case ReturnState.NONE | ReturnState.FAILED:
            return CopyState.MINTED
        case ReturnState.REQUESTED | ReturnState.SENT:
            return CopyState.RETURNING
        case ReturnState.RETURNED:
            return CopyState.RETURNED
