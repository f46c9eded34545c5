"""Whether there is a contract where a merchant says that its own one is.

A call to an address without code succeeds and does nothing, so a mint there would be paid for and never be.
It is looked at before a mint is claimed: what is skipped then was not sent, and its money goes back.
"""

from __future__ import annotations

import asyncio
import functools

import structlog
from sqlalchemy import bindparam, select

from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Lane, Store, UnitOfWork
from wallets.minting.chain.port import ChainClient
from wallets.minting.model import (
    MintOutcome,
    MintState,
    OnOutcomes,
    OutcomeKind,
    Receiver,
    SkipCode,
)
from wallets.minting.moves import mint_move
from wallets.minting.tables import mint, own_contract, token_item

log = structlog.get_logger(__name__)

_GOOD_FOR_S = 600.0
"""How long code that was seen is taken to be there still. Its absence is never remembered."""
_AT_ONCE = 50
_AHEAD = 20
"""Mints looked at before one is claimed: the oldest may be held for its merchant's gas."""

_of_contract = mint.join(token_item, token_item.c.item_number == mint.c.item_number).join(
    own_contract, own_contract.c.contract_id == token_item.c.own_contract_id
)
_waiting = (
    (mint.c.state == MintState.QUEUED.value)
    & (mint.c.receiver == Receiver.OWN.value)
    & (own_contract.c.chain_id == bindparam("chain_id"))
)
_OLDEST = Statement(
    select(own_contract.c.address)
    .select_from(_of_contract)
    .where(_waiting)
    .order_by(mint.c.queued_at_ms)
    .limit(_AHEAD)
)
_THERE = Statement(
    select(mint.c.leg_id, mint.c.order_id, mint.c.token_id, mint.c.serial)
    .select_from(_of_contract)
    .where(_waiting, own_contract.c.address == bindparam("address"))
    .order_by(mint.c.queued_at_ms)
    .limit(_AT_ONCE)
    .with_for_update(skip_locked=True, of=mint)
)
_SKIP = mint_move(
    MintState.QUEUED,
    MintState.SKIPPED,
    mint.c.leg_id == bindparam("leg"),
    skip_reason=bindparam("reason"),
    ended_at_ms=bindparam("at"),
)


class OwnCode:
    """Looks at the contracts of queued mints, for one lane."""

    def __init__(self, client: ChainClient, store: Store, chain_id: int, on_outcomes: OnOutcomes) -> None:
        self._client = client
        self._store = store
        self._chain_id = chain_id
        self._on_outcomes = on_outcomes
        self._seen: dict[str, float] = {}

    @property
    def present(self) -> frozenset[str]:
        """The addresses where code was seen."""
        return frozenset(self._seen)

    async def look(self) -> int:
        """Look at the contracts of the oldest queued mints; returns how many mints were skipped.

        Raises what the chain raises: nothing is skipped without its answer.
        """
        oldest = await self._store.read(lambda reader: reader.rows(_OLDEST, {"chain_id": self._chain_id}))
        skipped = 0
        for address in {row.address for row in oldest}:
            if not await self._has_code(address):
                skip = functools.partial(self._skip, address=address)
                skipped += await self._store.write(skip, lane=Lane.BACKGROUND)
        return skipped

    async def _has_code(self, address: str) -> bool:
        now = asyncio.get_running_loop().time()
        at = self._seen.get(address)
        if at is not None and now - at < _GOOD_FOR_S:
            return True
        if not await self._client.code(address):
            self._seen.pop(address, None)
            return False
        self._seen[address] = now
        return True

    def _skip(self, uow: UnitOfWork, address: str) -> int:
        rows = uow.rows(_THERE, {"chain_id": self._chain_id, "address": address})
        reason = SkipCode.CONTRACT_MISSING
        uow.run_many(_SKIP, [{"leg": row.leg_id, "reason": reason.value, "at": uow.now_ms} for row in rows])
        if rows:
            log.error("mint.contract_missing", contract=address, chain_id=self._chain_id, mints=len(rows))
            self._on_outcomes(
                uow,
                [
                    MintOutcome(
                        row.leg_id,
                        row.order_id,
                        OutcomeKind.SKIPPED,
                        int(row.token_id),
                        row.serial,
                        address,
                        self._chain_id,
                        skip_reason=reason,
                        final=True,
                    )
                    for row in rows
                ],
            )
        return len(rows)
