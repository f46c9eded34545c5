"""What waits for a lane: its open transactions and what is queued, read at one moment in one query."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Select, bindparam, func, select

from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader
from wallets.minting.model import ItemState, MintState, Receiver, ReturnState, TxState
from wallets.minting.records import TxView
from wallets.minting.tables import chain_tx, mint, token_item

_OPEN = Statement(
    select(
        chain_tx.c.tx_id,
        chain_tx.c.chain_id,
        chain_tx.c.nonce,
        chain_tx.c.kind,
        chain_tx.c.contract,
        chain_tx.c.state,
        chain_tx.c.mined_hash,
        chain_tx.c.block_number,
        chain_tx.c.block_hash,
        chain_tx.c.signed_at_ms,
    )
    .where(
        chain_tx.c.lane == bindparam("lane"),
        chain_tx.c.state.in_([TxState.CLAIMED.value, TxState.SIGNED.value, TxState.MINED.value]),
    )
    .order_by(chain_tx.c.nonce)
)


def _queued(receiver: Receiver) -> Select[tuple[str]]:
    return select(mint.c.leg_id).where(
        mint.c.state == MintState.QUEUED.value, mint.c.receiver == receiver.value
    )


def _waiting(receiver: Receiver) -> Statement:
    """Count what is queued, up to a limit."""
    some = _queued(receiver).limit(bindparam("limit")).subquery()
    return Statement(select(func.count().label("count")).select_from(some))


def _first_queued(receiver: Receiver) -> Statement:
    return Statement(_queued(receiver).limit(1))


_PLAIN = _waiting(Receiver.PLAIN)
_WITH_CODE = _first_queued(Receiver.CODE)
_UNSORTED = _first_queued(Receiver.UNKNOWN)
_OWN = _first_queued(Receiver.OWN)
# In the order of its index, or PostgreSQL would look for the one row in the table.
_HELD = Statement(
    select(mint.c.leg_id).where(mint.c.state == MintState.HELD.value).order_by(mint.c.merchant_id).limit(1)
)
_RETURNS = Statement(select(mint.c.leg_id).where(mint.c.return_state == ReturnState.REQUESTED.value).limit(1))
_NEW_ITEMS = Statement(
    select(token_item.c.item_number).where(token_item.c.state == ItemState.NEW.value).limit(1)
)


@dataclass(frozen=True, slots=True)
class LaneDuties:
    """What a lane takes. The ``first`` of an installation also defines, returns, sorts wallets and lets held
    mints go; the one for recipients with code also calls merchants' own contracts."""

    plain: bool = True
    code: bool = True
    first: bool = True


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits, read at one moment."""

    txs: list[TxView]
    now_ms: int
    plain: int = 0
    with_code: bool = False
    unsorted: bool = False
    returns: bool = False
    new_items: bool = False
    own: bool = False
    """On merchants' own contracts."""
    held: bool = False
    """By merchants without gas."""

    @property
    def in_flight(self) -> int:
        return sum(tx.state is not TxState.MINED for tx in self.txs)


def what_waits(reader: Reader, lane: str, duties: LaneDuties | None, most: int) -> Waiting:
    """Return what waits for a lane with these duties, None for one that may not claim yet.

    Queued plain mints are counted up to ``most``, a full batch.
    """
    txs = [
        TxView(**{**row._asdict(), "state": TxState(row.state)}) for row in reader.rows(_OPEN, {"lane": lane})
    ]
    if duties is None:
        return Waiting(txs, reader.now_ms)
    plain = reader.row(_PLAIN, {"limit": most}) if duties.plain else None
    return Waiting(
        txs,
        reader.now_ms,
        plain=0 if plain is None else plain.count,
        with_code=duties.code and reader.row(_WITH_CODE) is not None,
        unsorted=duties.first and reader.row(_UNSORTED) is not None,
        returns=duties.first and reader.row(_RETURNS) is not None,
        new_items=duties.first and reader.row(_NEW_ITEMS) is not None,
        own=duties.code and reader.row(_OWN) is not None,
        held=duties.first and reader.row(_HELD) is not None,
    )
