"""Recording what became of a transaction: one unit each, guarded by compare-and-set on the transaction's
state.

The unit moves the transaction, its mints, returns, editions or lanes, and hands the outcomes to whoever turns
them into facts. If another node recorded it first, the unit changes nothing and answers False.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import and_, bindparam, case, select, update

from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader, UnitOfWork
from wallets.minting import budget
from wallets.minting.chain.port import Receipt
from wallets.minting.model import (
    ContractState,
    ItemState,
    LaneState,
    MintOutcome,
    MintState,
    OnOutcomes,
    OutcomeKind,
    Receiver,
    ReturnState,
    SkipCode,
    TxKind,
    TxState,
)
from wallets.minting.moves import contract_move, item_move, lane_move, mint_move, return_move, tx_move
from wallets.minting.tables import chain_tx, mint, mint_lane, token_contract, token_item

_BLOCK: dict[str, Any] = {
    "mined_hash": bindparam("mined_hash"),
    "block_number": bindparam("block_number"),
    "block_hash": bindparam("block_hash"),
}
_THIS_TX = chain_tx.c.tx_id == bindparam("tx")
_MINED = tx_move(TxState.SIGNED, TxState.MINED, _THIS_TX, **_BLOCK)
_REOPENED = tx_move(TxState.MINED, TxState.SIGNED, _THIS_TX, **_BLOCK)
_MOVED = Statement(update(chain_tx).where(_THIS_TX, chain_tx.c.state == TxState.MINED.value).values(_BLOCK))
_ENDED = {
    (origin, to): tx_move(
        origin,
        to,
        _THIS_TX,
        failure=bindparam("failure"),
        ended_at_ms=bindparam("at"),
        gas_used=bindparam("gas_used"),
        **_BLOCK,
    )
    for origin in (TxState.SIGNED, TxState.MINED)
    for to in (TxState.FINAL, TxState.FAILED)
}

_OF_TX = mint.c.tx_id == bindparam("tx")
_LEG = mint.c.leg_id == bindparam("leg")
MINT_COLUMNS = (
    mint.c.leg_id,
    mint.c.order_id,
    mint.c.recipient,
    mint.c.item_number,
    mint.c.token_id,
    mint.c.serial,
    mint.c.amount,
    mint.c.state,
    mint.c.purchase_number,
    mint.c.attempts,
)
"""What settling needs to know of a mint."""
_MINTS = Statement(select(*MINT_COLUMNS).where(_OF_TX).order_by(mint.c.purchase_number))
_MINTED_ALL = mint_move(MintState.SENT, MintState.MINTED, _OF_TX, minted_at_ms=bindparam("at"))
_MINTED_ONE = mint_move(MintState.SENT, MintState.MINTED, _LEG, minted_at_ms=bindparam("at"))
_UNMINTED = mint_move(MintState.MINTED, MintState.SENT, _OF_TX, minted_at_ms=bindparam("none"))
_FINAL_ALL = mint_move(
    MintState.SENT, MintState.FINAL, _OF_TX, minted_at_ms=bindparam("at"), ended_at_ms=bindparam("at")
)
_FINAL_ONE = mint_move(
    MintState.SENT, MintState.FINAL, _LEG, minted_at_ms=bindparam("at"), ended_at_ms=bindparam("at")
)
_CONFIRMED = mint_move(MintState.MINTED, MintState.FINAL, _OF_TX, ended_at_ms=bindparam("at"))
_SKIPPED = mint_move(
    MintState.SENT, MintState.SKIPPED, _LEG, skip_reason=bindparam("reason"), ended_at_ms=bindparam("at")
)
_REQUEUED = mint_move(
    MintState.SENT,
    MintState.QUEUED,
    _LEG,
    tx_id=bindparam("none"),
    attempts=mint.c.attempts + 1,
    # An outside wallet may have got code meanwhile; it is asked about again.
    receiver=case(
        (and_(mint.c.holder_key.is_(None), mint.c.receiver != Receiver.OWN.value), Receiver.UNKNOWN.value),
        else_=mint.c.receiver,
    ),
)
_PARKED = mint_move(MintState.SENT, MintState.PARKED, _LEG)
_NAMED = Statement(update(mint).where(_LEG).values(token_id=bindparam("token")))

_RETURNS = Statement(
    select(
        mint.c.leg_id,
        mint.c.order_id,
        mint.c.recipient,
        mint.c.token_id,
        mint.c.serial,
        mint.c.amount,
        mint.c.purchase_number,
        mint.c.return_attempts,
    )
    .where(mint.c.return_tx_id == bindparam("tx"))
    .order_by(mint.c.purchase_number)
)
_RETURNED = return_move(ReturnState.SENT, ReturnState.RETURNED, _LEG, returned_at_ms=bindparam("at"))
_RETURN_FAILED = return_move(ReturnState.SENT, ReturnState.FAILED, _LEG, return_tx_id=bindparam("none"))
_RETURN_AGAIN = return_move(
    ReturnState.SENT,
    ReturnState.REQUESTED,
    _LEG,
    return_tx_id=bindparam("none"),
    return_attempts=mint.c.return_attempts + 1,
)

_ITEMS = Statement(select(token_item.c.item_number).where(token_item.c.tx_id == bindparam("tx")))
_DEFINED = item_move(ItemState.SENT, ItemState.DEFINED, token_item.c.tx_id == bindparam("tx"))
_UNDEFINED = item_move(ItemState.SENT, ItemState.NEW, token_item.c.tx_id == bindparam("tx"))
_LANES = Statement(select(mint_lane.c.address).where(mint_lane.c.tx_id == bindparam("tx")))
_ENABLED = lane_move(LaneState.SENT, LaneState.ENABLED, mint_lane.c.tx_id == bindparam("tx"))
_NOT_ENABLED = lane_move(LaneState.SENT, LaneState.NEW, mint_lane.c.tx_id == bindparam("tx"))
_DEPLOYED = contract_move(
    ContractState.DEPLOYING, ContractState.DEPLOYED, token_contract.c.tx_id == bindparam("tx")
)
_NOT_DEPLOYED = contract_move(
    ContractState.DEPLOYING, ContractState.FAILED, token_contract.c.tx_id == bindparam("tx")
)


@dataclass(frozen=True, slots=True)
class TxView:
    """An open transaction as the lane sees it. Hashes are 0x hex."""

    tx_id: str
    chain_id: int
    nonce: int
    kind: str
    contract: str
    state: TxState
    mined_hash: str | None
    block_number: int | None
    block_hash: str | None
    signed_at_ms: int | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the chain says about the mints or returns of a transaction, row by row."""

    done: list[Any] = field(default_factory=list)
    refused: list[tuple[Any, SkipCode]] = field(default_factory=list)
    again: list[Any] = field(default_factory=list)
    parked: list[Any] = field(default_factory=list)
    """On a merchant's own contract, and nothing tells whether it was minted."""


def mints_of_tx(reader: Reader, tx_id: str) -> list[Any]:
    """Return the mints of a transaction by purchase number."""
    return reader.rows(_MINTS, {"tx": tx_id})


def returns_of_tx(reader: Reader, tx_id: str) -> list[Any]:
    """Return the mints whose return a transaction carries, by purchase number."""
    return reader.rows(_RETURNS, {"tx": tx_id})


def items_of_tx(reader: Reader, tx_id: str) -> list[int]:
    """Return the item numbers a transaction defines."""
    return [row.item_number for row in reader.rows(_ITEMS, {"tx": tx_id})]


def minters_of_tx(reader: Reader, tx_id: str) -> list[str]:
    """Return the addresses that a transaction allows to mint."""
    return [row.address for row in reader.rows(_LANES, {"tx": tx_id})]


def record_mined(
    uow: UnitOfWork, tx: TxView, receipt: Receipt, minted: Sequence[Any], of: int, on_outcomes: OnOutcomes
) -> bool:
    """The transaction is in a block, not yet deep enough; of its ``of`` mints these rows are minted."""
    block = _block(receipt)
    if not uow.run(_MINED, {"tx": tx.tx_id, **block}):
        return False
    fresh = [row for row in minted if row.state == MintState.SENT]
    _name_tokens(uow, tx, fresh)
    if fresh and len(fresh) == of:
        uow.run(_MINTED_ALL, {"tx": tx.tx_id, "at": uow.now_ms})
    else:
        uow.run_many(_MINTED_ONE, [{"leg": row.leg_id, "at": uow.now_ms} for row in fresh])
    if fresh:
        on_outcomes(uow, [_outcome(tx, row, OutcomeKind.MINTED, block) for row in fresh])
    return True


def record_moved(uow: UnitOfWork, tx: TxView, receipt: Receipt) -> bool:
    """A reorganisation put the transaction into another block, with the same result."""
    return uow.run(_MOVED, {"tx": tx.tx_id, **_block(receipt)}) == 1


def record_reopened(uow: UnitOfWork, tx: TxView, mints: Sequence[Any], on_outcomes: OnOutcomes) -> bool:
    """The block that held the transaction is gone; its bytes stand and are sent again."""
    nowhere = _block(None)
    if not uow.run(_REOPENED, {"tx": tx.tx_id, **nowhere}):
        return False
    undone = [row for row in mints if row.state == MintState.MINTED]
    if undone:
        uow.run(_UNMINTED, {"tx": tx.tx_id, "none": None})
        on_outcomes(uow, [_outcome(tx, row, OutcomeKind.REOPENED, nowhere) for row in undone])
    return True


def record_mints_ended(
    uow: UnitOfWork,
    tx: TxView,
    receipt: Receipt | None,
    verdict: Verdict,
    failure: str | None,
    on_outcomes: OnOutcomes,
) -> bool:
    """The transaction is as deep as asked: every mint of it is final, skipped or parked, or queued again."""
    if not _end(uow, tx, receipt, failure):
        return False
    at = uow.now_ms
    block = _block(receipt)
    outcomes: list[MintOutcome] = []
    waiting = [row for row in verdict.done if row.state == MintState.SENT]
    _name_tokens(uow, tx, waiting)
    others = verdict.refused or verdict.again or verdict.parked
    if waiting and not others and len(waiting) == len(verdict.done):
        uow.run(_FINAL_ALL, {"tx": tx.tx_id, "at": at})
    else:
        uow.run_many(_FINAL_ONE, [{"leg": row.leg_id, "at": at} for row in waiting])
        if len(waiting) < len(verdict.done):
            uow.run(_CONFIRMED, {"tx": tx.tx_id, "at": at})
    for row in verdict.done:
        kind = OutcomeKind.MINTED if row.state == MintState.SENT else OutcomeKind.FINAL
        outcomes.append(_outcome(tx, row, kind, block, final=True))
    uow.run_many(
        _SKIPPED, [{"leg": row.leg_id, "reason": code.value, "at": at} for row, code in verdict.refused]
    )
    outcomes.extend(
        _outcome(tx, row, OutcomeKind.SKIPPED, block, final=True, reason=code)
        for row, code in verdict.refused
    )
    uow.run_many(_REQUEUED, [{"leg": row.leg_id, "none": None} for row in verdict.again])
    uow.run_many(_PARKED, [{"leg": row.leg_id} for row in verdict.parked])
    if outcomes:
        on_outcomes(uow, outcomes)
    return True


def record_returns_ended(
    uow: UnitOfWork,
    tx: TxView,
    receipt: Receipt | None,
    verdict: Verdict,
    failure: str | None,
    on_outcomes: OnOutcomes,
) -> bool:
    """The transaction is as deep as asked: every return of it is done, refused, or asked for again."""
    if not _end(uow, tx, receipt, failure):
        return False
    block = _block(receipt)
    uow.run_many(_RETURNED, [{"leg": row.leg_id, "at": uow.now_ms} for row in verdict.done])
    uow.run_many(_RETURN_FAILED, [{"leg": row.leg_id, "none": None} for row, _ in verdict.refused])
    uow.run_many(_RETURN_AGAIN, [{"leg": row.leg_id, "none": None} for row in verdict.again])
    outcomes = [_outcome(tx, row, OutcomeKind.RETURNED, block, final=True) for row in verdict.done]
    outcomes.extend(
        _outcome(tx, row, OutcomeKind.RETURN_FAILED, block, final=True, reason=code)
        for row, code in verdict.refused
    )
    if outcomes:
        on_outcomes(uow, outcomes)
    return True


def record_defined(uow: UnitOfWork, tx: TxView, receipt: Receipt | None, failure: str | None) -> bool:
    """The editions of the transaction are on the contract, or must be sent again."""
    if not _end(uow, tx, receipt, failure):
        return False
    uow.run(_DEFINED if failure is None else _UNDEFINED, {"tx": tx.tx_id})
    return True


def record_minter_set(uow: UnitOfWork, tx: TxView, receipt: Receipt | None, failure: str | None) -> bool:
    """The lane's key may mint, or must be allowed again."""
    if not _end(uow, tx, receipt, failure):
        return False
    uow.run(_ENABLED if failure is None else _NOT_ENABLED, {"tx": tx.tx_id})
    return True


def record_deployed(uow: UnitOfWork, tx: TxView, receipt: Receipt | None, failure: str | None) -> bool:
    """The contract stands, or the deployment left nothing behind."""
    if not _end(uow, tx, receipt, failure):
        return False
    uow.run(_DEPLOYED if failure is None else _NOT_DEPLOYED, {"tx": tx.tx_id})
    return True


def _end(uow: UnitOfWork, tx: TxView, receipt: Receipt | None, failure: str | None) -> bool:
    to = TxState.FINAL if failure is None else TxState.FAILED
    used = 0 if receipt is None else receipt.gas_used
    row = {"tx": tx.tx_id, "failure": failure, "at": uow.now_ms, "gas_used": used, **_block(receipt)}
    if uow.run(_ENDED[tx.state, to], row) != 1:
        return False
    if tx.kind in (TxKind.MINT, TxKind.OWN_MINT):
        budget.settle(uow, tx.tx_id, used)
    return True


def _name_tokens(uow: UnitOfWork, tx: TxView, minted: Sequence[Any]) -> None:
    """Write down which tokens a merchant's contract made: the rows carry the ids of its events."""
    if tx.kind == TxKind.OWN_MINT:
        uow.run_many(_NAMED, [{"leg": row.leg_id, "token": row.token_id} for row in minted])


def _block(receipt: Receipt | None) -> dict[str, Any]:
    if receipt is None:
        return {"mined_hash": None, "block_number": None, "block_hash": None}
    return {
        "mined_hash": "0x" + receipt.tx_hash.hex(),
        "block_number": receipt.block_number,
        "block_hash": "0x" + receipt.block_hash.hex(),
    }


def _outcome(
    tx: TxView,
    row: Any,
    kind: OutcomeKind,
    block: dict[str, Any],
    *,
    final: bool = False,
    reason: SkipCode | None = None,
) -> MintOutcome:
    return MintOutcome(
        row.leg_id,
        row.order_id,
        kind,
        int(row.token_id),
        row.serial,
        tx.contract,
        tx.chain_id,
        block["mined_hash"],
        block["block_number"],
        reason,
        final,
    )
