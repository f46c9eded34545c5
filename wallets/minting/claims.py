"""Claiming: one unit that fixes what a transaction does. Nonce, purchase numbers and calldata stand before
any signing.

A claimed transaction is carried out whatever happens to the process: it is signed again with the same nonce
and the same calldata until its bytes are stored. A claim and a cancel meet on the mint's state; one of them
wins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select, update

from gateway.kernel.documents import encode
from gateway.kernel.store.statements import Statement, insert_into
from gateway.kernel.store.unit import Reader, UnitOfWork
from wallets.minting import budget, gas
from wallets.minting.contract.calls import (
    OPEN_EDITION,
    Definition,
    MintItem,
    SignedReturn,
    encode_define_many,
    encode_mint,
    encode_mint_many,
    encode_return_many,
)
from wallets.minting.model import (
    ItemState,
    MintState,
    OnClaimed,
    Receiver,
    ReturnState,
    TxId,
    TxKind,
    TxState,
)
from wallets.minting.moves import item_move, mint_move, return_move
from wallets.minting.tables import chain_tx, mint, mint_lane, mint_sequence, token_item

PURCHASE_NUMBERS = "purchase"
MOST_RETURNS = 100
MOST_DEFINITIONS = 100
_MOST_HOLDS = 5

_TAKE_NONCE = Statement(
    update(mint_lane)
    .where(mint_lane.c.lane == bindparam("lane_"))
    .values(next_nonce=mint_lane.c.next_nonce + 1)
    .returning(mint_lane.c.next_nonce)
)
_TAKE_NUMBERS = Statement(
    update(mint_sequence)
    .where(mint_sequence.c.name == PURCHASE_NUMBERS)
    .values(next_number=mint_sequence.c.next_number + bindparam("count"))
    .returning(mint_sequence.c.next_number)
)
_INSERT_TX = insert_into(chain_tx)
# Row locks that skip what others hold: on SQLite there is one writer and the clause is left out.
_QUEUE = Statement(
    select(
        mint.c.leg_id,
        mint.c.merchant_id,
        mint.c.recipient,
        mint.c.item_number,
        mint.c.serial,
        mint.c.token_id,
        mint.c.amount,
        mint.c.purchase_number,
    )
    .select_from(mint.join(token_item, token_item.c.item_number == mint.c.item_number))
    .where(
        mint.c.state == MintState.QUEUED.value,
        mint.c.receiver == bindparam("receiver"),
        token_item.c.state == ItemState.DEFINED.value,
    )
    .order_by(mint.c.queued_at_ms)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True, of=mint)
)
_CLAIM_MINT = mint_move(
    MintState.QUEUED,
    MintState.CLAIMED,
    mint.c.leg_id == bindparam("leg_id_"),
    purchase_number=bindparam("number"),
    tx_id=bindparam("tx"),
    claimed_at_ms=bindparam("at"),
)
_UNDEFINED = Statement(
    select(token_item)
    .where(token_item.c.state == ItemState.NEW.value)
    .order_by(token_item.c.item_number)
    .limit(MOST_DEFINITIONS)
    .with_for_update(skip_locked=True)
)
_CLAIM_ITEM = item_move(
    ItemState.NEW, ItemState.SENT, token_item.c.item_number == bindparam("item"), tx_id=bindparam("tx")
)
_REQUESTED = (
    select(
        mint.c.leg_id,
        mint.c.purchase_number,
        mint.c.recipient,
        mint.c.token_id,
        mint.c.amount,
        mint.c.holder_key,
    )
    .where(mint.c.return_state == ReturnState.REQUESTED.value)
    .order_by(mint.c.leg_id)
    .limit(MOST_RETURNS)
)
_RETURNS = Statement(_REQUESTED)
_RETURNS_TO_CLAIM = Statement(_REQUESTED.with_for_update(skip_locked=True))
_CLAIM_RETURN = return_move(
    ReturnState.REQUESTED,
    ReturnState.SENT,
    mint.c.leg_id == bindparam("leg_id_"),
    return_tx_id=bindparam("tx"),
)


@dataclass(frozen=True, slots=True)
class LaneKey:
    """One minter key on one chain: the owner of a line of nonces. ``name`` is the lane's primary key."""

    key_ref: str
    address: str
    chain_id: int

    @property
    def name(self) -> str:
        return f"{self.chain_id}:{self.key_ref}"


@dataclass(frozen=True, slots=True)
class BatchBounds:
    """Most mints in one transaction, by number and by estimated gas."""

    items: int
    gas: int
    gas_per_day: int = 0
    """Gas that the mints of one merchant may use in a day, unless it has a limit of its own; 0: any."""


def insert_tx(
    uow: UnitOfWork,
    lane: LaneKey,
    kind: TxKind,
    contract: str,
    calldata: bytes,
    gas_limit: int,
    nonce: int,
    gas_shares: Mapping[str, int] | None = None,
) -> TxId:
    """Write a transaction as claimed; ``gas_shares``, merchants' parts of its limit, are set aside."""
    tx_id = uow.new_id(TxId)
    if gas_shares:
        budget.reserve(uow, gas_shares)
    uow.run(
        _INSERT_TX,
        {
            "tx_id": tx_id,
            "chain_id": lane.chain_id,
            "lane": lane.name,
            "nonce": nonce,
            "kind": kind.value,
            "contract": contract,
            "calldata": calldata,
            "gas": gas_limit,
            "state": TxState.CLAIMED.value,
            "failure": None,
            "mined_hash": None,
            "block_number": None,
            "block_hash": None,
            "created_at_ms": uow.now_ms,
            "signed_at_ms": None,
            "ended_at_ms": None,
            "gas_shares": encode(dict(gas_shares)) if gas_shares else None,
            "gas_used": None,
        },
    )
    return tx_id


def take_nonce(uow: UnitOfWork, lane: LaneKey) -> int:
    """Use up the lane's next nonce and return it. Its transaction must be written in the same unit."""
    taken = uow.row(_TAKE_NONCE, {"lane_": lane.name})
    assert taken is not None, f"lane {lane.name} has no row"
    return int(taken.next_nonce) - 1


def claim_mints(
    uow: UnitOfWork,
    lane: LaneKey,
    contract: str,
    receiver: Receiver,
    bounds: BatchBounds,
    on_claimed: OnClaimed,
) -> TxId | None:
    """Claim the oldest queued mints of defined items into one transaction; None if there are none.

    Those whose merchants have used up their gas of the day are held. ``on_claimed`` is told the legs that are
    claimed for the first time.
    """
    single = gas.SINGLE_WITH_CODE if receiver is Receiver.CODE else None
    asked = {"receiver": receiver.value, "limit": bounds.items if single is None else 1}
    queued = next_affordable(uow, _QUEUE, asked, bounds, single=lambda row: single)
    if not queued:
        return None
    if single is not None:
        batch, gas_limit = queued, single
        shares = {batch[0].merchant_id: single}
    else:
        batch, gas_limit = gas.fill(queued, bounds.gas)
        shares = gas.apportion(gas_limit, gas.weights(batch))
        # Neighbours of one edition share its storage words.
        batch.sort(key=lambda row: (row.item_number, row.serial or 0))
    numbers = purchase_numbers(uow, batch)
    items = [MintItem(numbers[row.leg_id], row.recipient, int(row.token_id), row.amount) for row in batch]
    calldata = encode_mint(items[0]) if len(items) == 1 else encode_mint_many(items)
    tx_id = insert_tx(uow, lane, TxKind.MINT, contract, calldata, gas_limit, take_nonce(uow, lane), shares)
    mark_claimed(uow, batch, numbers, tx_id, on_claimed)
    return tx_id


def next_affordable(
    uow: UnitOfWork,
    queue: Statement,
    asked: Mapping[str, Any],
    bounds: BatchBounds,
    *,
    single: Callable[[Any], int | None],
) -> list[Any]:
    """Return the first queued mints whose merchants have gas, and hold those before them.

    ``single`` gives the gas limit of a mint that has a transaction to itself.
    """
    for _ in range(_MOST_HOLDS):
        queued = uow.rows(queue, asked)
        if not queued:
            return []
        kept, held = budget.affordable(uow, queued, bounds.gas_per_day, single=single)
        budget.hold(uow, held)
        if kept:
            return kept
    # The rest of the queue is looked at in the lane's next step.
    return []


def mark_claimed(
    uow: UnitOfWork, batch: Sequence[Any], numbers: Mapping[str, int], tx_id: TxId, on_claimed: OnClaimed
) -> None:
    """Make queued mints part of a transaction, and tell of those that are claimed for the first time."""
    at = uow.now_ms
    uow.run_many(
        _CLAIM_MINT,
        [{"leg_id_": row.leg_id, "number": numbers[row.leg_id], "tx": tx_id, "at": at} for row in batch],
    )
    fresh = [row.leg_id for row in batch if row.purchase_number is None]
    if fresh:
        on_claimed(uow, fresh)


def claim_definitions(uow: UnitOfWork, lane: LaneKey, contract: str, most_gas: int) -> TxId | None:
    """Claim editions the contract does not know yet into one transaction; None if there are none."""
    chosen: list[Any] = []
    total = gas.BASE
    for item in uow.rows(_UNDEFINED):
        total += gas.definition(item.uri)
        if chosen and total > most_gas:
            total -= gas.definition(item.uri)
            break
        chosen.append(item)
    if not chosen:
        return None
    calldata = encode_define_many(
        [
            Definition(item.item_number, OPEN_EDITION if item.cap is None else int(item.cap), item.uri)
            for item in chosen
        ]
    )
    tx_id = insert_tx(uow, lane, TxKind.DEFINE, contract, calldata, total, take_nonce(uow, lane))
    uow.run_many(_CLAIM_ITEM, [{"item": item.item_number, "tx": tx_id} for item in chosen])
    return tx_id


def waiting_returns(reader: Reader) -> list[Any]:
    """Return the requested returns to sign, oldest first, at most MOST_RETURNS."""
    return reader.rows(_RETURNS)


def claim_returns(
    uow: UnitOfWork, lane: LaneKey, contract: str, signed: Mapping[str, SignedReturn]
) -> TxId | None:
    """Claim the returns that are signed and still requested into one transaction; None if there are none."""
    legs = [row.leg_id for row in uow.rows(_RETURNS_TO_CLAIM) if row.leg_id in signed]
    if not legs:
        return None
    returns = [signed[leg_id] for leg_id in legs]
    # Always the batch call: it leaves out what cannot be returned, the single one would fail as a whole.
    calldata = encode_return_many(returns)
    gas_limit = gas.BASE + gas.RETURN * len(returns)
    tx_id = insert_tx(uow, lane, TxKind.RETURN, contract, calldata, gas_limit, take_nonce(uow, lane))
    uow.run_many(_CLAIM_RETURN, [{"leg_id_": leg_id, "tx": tx_id} for leg_id in legs])
    return tx_id


def purchase_numbers(uow: UnitOfWork, batch: Sequence[Any]) -> dict[str, int]:
    """Return the purchase number of every leg: a mint that was claimed before keeps its own."""
    numbers = {row.leg_id: row.purchase_number for row in batch}
    fresh = [leg_id for leg_id, number in numbers.items() if number is None]
    if fresh:
        taken = uow.row(_TAKE_NUMBERS, {"count": len(fresh)})
        assert taken is not None, "the sequence of purchase numbers has no row"
        first = taken.next_number - len(fresh)
        numbers.update(zip(fresh, range(first, taken.next_number), strict=True))
    return numbers
