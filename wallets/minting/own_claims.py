"""Claiming mints on merchants' own contracts: each in a transaction of its own.

A foreign call fails as a whole, so neighbours in it would fail together.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import bindparam, select, update

from gateway.kernel.documents import decode
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import UnitOfWork
from wallets.minting import gas
from wallets.minting.claims import (
    BatchBounds,
    LaneKey,
    insert_tx,
    mark_claimed,
    next_affordable,
    purchase_numbers,
    take_nonce,
)
from wallets.minting.contract.own_tokens import encode_own
from wallets.minting.model import MintState, OnClaimed, Receiver, TxId, TxKind
from wallets.minting.own_calls import Placeholder, describe
from wallets.minting.tables import mint, own_contract, token_item

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
        token_item.c.first_token_id,
        own_contract.c.address,
        own_contract.c.standard,
        own_contract.c.call,
        own_contract.c.arguments,
        own_contract.c.data,
        own_contract.c.gas,
    )
    .select_from(
        mint.join(token_item, token_item.c.item_number == mint.c.item_number).join(
            own_contract, own_contract.c.contract_id == token_item.c.own_contract_id
        )
    )
    .where(
        mint.c.state == MintState.QUEUED.value,
        mint.c.receiver == Receiver.OWN.value,
        # A contract on another chain is nothing to this installation; its mints wait.
        own_contract.c.chain_id == bindparam("chain_id"),
        own_contract.c.address != bindparam("ours"),
    )
    .order_by(mint.c.queued_at_ms)
    .limit(1)
    .with_for_update(skip_locked=True, of=mint)
)
_NAME_TOKEN = Statement(
    update(mint).where(mint.c.leg_id == bindparam("leg_id_")).values(token_id=bindparam("token"))
)


def claim_own_mint(
    uow: UnitOfWork,
    lane: LaneKey,
    ours: str,
    present: Collection[str],
    bounds: BatchBounds,
    on_claimed: OnClaimed,
) -> TxId | None:
    """Claim the oldest queued mint on a merchant's own contract; None if there is none.

    ``ours`` is the installation's contract, which no merchant may call. ``present`` are the addresses that
    have code; a mint at another one waits until it was looked at (`wallets.minting.own_code`).
    """
    asked = {"chain_id": lane.chain_id, "ours": ours}
    queued = next_affordable(uow, _QUEUE, asked, bounds, single=_gas_limit)
    if not queued:
        return None
    (row,) = queued
    if row.address not in present:
        return None
    numbers = purchase_numbers(uow, queued)
    number = numbers[row.leg_id]
    description = describe(row.standard, row.call, decode(row.arguments), bytes(row.data))
    token_id = own_token_id(row)
    calldata = encode_own(
        description,
        {
            Placeholder.TO: row.recipient,
            Placeholder.ID: token_id,
            Placeholder.AMOUNT: row.amount,
            Placeholder.DATA: description.data,
            Placeholder.SERIAL: row.serial or 0,
            Placeholder.PURCHASE_NUMBER: number,
        },
    )
    # Below the least no node ever takes it, and its nonce would stop the lane; so it fails on the chain.
    most = max(_gas_limit(row), gas.least(calldata))
    shares = {row.merchant_id: most}
    nonce = take_nonce(uow, lane)
    tx_id = insert_tx(uow, lane, TxKind.OWN_MINT, row.address, calldata, most, nonce, shares)
    if description.names_id and row.token_id != str(token_id):
        uow.run(_NAME_TOKEN, {"leg_id_": row.leg_id, "token": str(token_id)})
    mark_claimed(uow, queued, numbers, tx_id, on_claimed)
    return tx_id


def own_token_id(row: Any) -> int:
    """Return the id we give a token: the edition's first one, and the copies of a numbered edition follow it.

    An edition that names none has the same ids as on our own contract.
    """
    if row.first_token_id is None:
        return int(row.token_id)
    return int(row.first_token_id) + (row.serial - 1 if row.serial else 0)


def _gas_limit(row: Any) -> int:
    return int(row.gas or gas.OWN_CALL)
