"""Settling: what became of the transactions that were sent.

A receipt alone is not truth: under reorganisations nodes were seen to show one for a transaction whose
sender's nonce the state had not applied. So a transaction counts as included when the account's nonce is past
its own *and* there is a receipt; and what each purchase got is asked of the contract, by its number. Nothing
is final before it is as deep as the settings say, and then it is asked of the state at that depth.

A merchant's own contract knows no purchase numbers; what became of a mint there is `OwnTokens`' to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from sqlalchemy import bindparam, select

from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Lane, Store
from wallets.minting import records, supply
from wallets.minting.chain.port import ChainClient, Receipt
from wallets.minting.claims import LaneKey
from wallets.minting.contract.calls import (
    SkipReason,
    decode_flags,
    encode_are_minted,
    encode_are_returned,
    encode_is_minter,
    purchase_skips,
)
from wallets.minting.model import MintingSettings, MintState, OnOutcomes, SkipCode, TxKind, TxState
from wallets.minting.own_settling import MOST_ATTEMPTS, NO_EVENT, OwnTokens
from wallets.minting.records import TxView, Verdict
from wallets.minting.tables import chain_tx_bytes

log = structlog.get_logger(__name__)

_HASHES = Statement(
    select(chain_tx_bytes.c.tx_hash)
    .where(chain_tx_bytes.c.tx_id == bindparam("tx"))
    .order_by(chain_tx_bytes.c.attempt.desc())
)

# What a call that went through says of a purchase that is done; nothing, if it did it.
_DONE_BEFORE = (None, SkipReason.ALREADY_MINTED, SkipReason.ALREADY_RETURNED)


class Settler:
    """Settles the transactions of one lane."""

    def __init__(
        self,
        client: ChainClient,
        store: Store,
        settings: MintingSettings,
        lane: LaneKey,
        on_outcomes: OnOutcomes,
    ) -> None:
        self._client = client
        self._store = store
        self._settings = settings
        self._lane = lane
        self._on_outcomes = on_outcomes
        self._own = OwnTokens(client, store)
        self.reverted = 0
        """How many transactions in a row were reverted as a whole: the lane slows down by it."""
        self._now_ms = 0
        self._seen: tuple[int, int] | None = None
        """The newest block and the account's nonce when all was last looked at."""
        self._contradicted: str | None = None

    async def settle(self, txs: list[TxView], nonce: int, now_ms: int) -> bool:
        """Look at signed and mined transactions in nonce order. ``nonce`` is the account's newest.

        Returns whether anything was recorded.
        """
        changed = False
        self._now_ms = now_ms
        depth = self._settings.confirmations
        head = await self._client.head() if depth else 0
        seen, self._seen = self._seen, None
        for tx in txs:
            if (
                depth
                and seen == (head, nonce)
                and tx.state is TxState.MINED
                and (tx.block_number or 0) > head - depth
            ):
                continue  # no block has come that could confirm it or take it away
            receipt = await self._receipt(tx) if nonce > tx.nonce else None
            if receipt is not None:
                changed |= await self._judge(tx, receipt, None if depth == 0 else head - depth)
            elif tx.state is TxState.MINED:
                changed |= await self._reopen(tx)
            elif nonce > tx.nonce:
                changed |= await self._perhaps_lost(tx, now_ms, None if depth == 0 else head - depth)
        self._seen = (head, nonce)
        return changed

    async def _receipt(self, tx: TxView) -> Receipt | None:
        if tx.mined_hash is not None:
            receipt = await self._client.receipt(bytes.fromhex(tx.mined_hash[2:]))
            if receipt is not None:
                return receipt
        hashes = await self._store.read(lambda reader: reader.rows(_HASHES, {"tx": tx.tx_id}))
        for row in hashes:
            receipt = await self._client.receipt(bytes.fromhex(row.tx_hash[2:]))
            if receipt is not None:
                return receipt
        return None

    async def _judge(self, tx: TxView, receipt: Receipt, deep_block: int | None) -> bool:
        """Record an included transaction. ``deep_block`` is the newest final block, None for the head."""
        if tx.kind == TxKind.OWN_MINT and not await self._own.stands(receipt):
            return False  # nothing but the receipt tells of it, so its block must be one of the chain's
        deep = deep_block is None or (
            receipt.block_number <= deep_block
            and await self._client.nonce(self._lane.address, deep_block) > tx.nonce
        )
        if deep:
            return await self._end(tx, receipt, deep_block)
        if tx.state is TxState.MINED and tx.block_hash == "0x" + receipt.block_hash.hex():
            return False
        mints, flags = await self._minted(tx, receipt, None)
        if tx.state is TxState.MINED:
            # It moved to another block: nothing to tell unless the new one left out what the old one minted.
            if any(
                row.state == MintState.MINTED and not flag for row, flag in zip(mints, flags, strict=True)
            ):
                return await self._reopen(tx)
            return await self._store.write(
                lambda uow: records.record_moved(uow, tx, receipt), lane=Lane.BACKGROUND
            )
        minted = [row for row, flag in zip(mints, flags, strict=True) if flag]
        return await self._store.write(
            lambda uow: records.record_mined(uow, tx, receipt, minted, len(mints), self._on_outcomes),
            lane=Lane.BACKGROUND,
        )

    async def _reopen(self, tx: TxView) -> bool:
        log.warning("mint.reopened", lane=self._lane.name, nonce=tx.nonce, kind=tx.kind)
        mints = await self._store.read(lambda reader: records.mints_of_tx(reader, tx.tx_id))
        return await self._store.write(
            lambda uow: records.record_reopened(uow, tx, mints, self._on_outcomes), lane=Lane.BACKGROUND
        )

    async def _perhaps_lost(self, tx: TxView, now_ms: int, deep_block: int | None) -> bool:
        """The nonce is used, but no hash of ours has a receipt. After long enough it was not us."""
        if now_ms - (tx.signed_at_ms or now_ms) < self._settings.lost_after_ms:
            return False
        if await self._client.nonce(self._lane.address, deep_block) <= tx.nonce:
            return False
        log.error("mint.nonce_taken", lane=self._lane.name, nonce=tx.nonce, kind=tx.kind)
        return await self._end(tx, None, deep_block)

    async def _end(self, tx: TxView, receipt: Receipt | None, block: int | None) -> bool:
        failure = None
        if receipt is None:
            failure = "nonce_taken"
        elif not receipt.succeeded:
            failure = "reverted"
        kind = TxKind(tx.kind)
        if kind is not TxKind.OWN_MINT:
            # What a merchant's contract refuses says nothing about ours.
            self.reverted = self.reverted + 1 if failure else 0
        match kind:
            case TxKind.OWN_MINT:
                return await self._end_own(tx, receipt, failure)
            case TxKind.MINT:
                return await self._end_mints(tx, receipt, block, failure)
            case TxKind.RETURN:
                return await self._end_returns(tx, receipt, block, failure)
            case TxKind.DEFINE:
                items = await self._store.read(lambda reader: records.items_of_tx(reader, tx.tx_id))
                if (
                    failure is None
                    and items
                    and not await supply.max_supply(self._client, tx.contract, items[0])
                ):
                    return False  # the receipt says yes, the state says no: ask again
                return await self._store.write(
                    lambda uow: records.record_defined(uow, tx, receipt, failure), lane=Lane.BACKGROUND
                )
            case TxKind.SET_MINTER:
                may_mint = await self._may_mint(tx, block)
                if failure is None and not may_mint:
                    return False  # as above
                outcome = None if may_mint else failure
                return await self._store.write(
                    lambda uow: records.record_minter_set(uow, tx, receipt, outcome), lane=Lane.BACKGROUND
                )
            case TxKind.DEPLOY:
                stands = bool(await self._client.code(tx.contract))
                if failure is None and not stands:
                    return False  # as above
                outcome = None if stands else failure
                return await self._store.write(
                    lambda uow: records.record_deployed(uow, tx, receipt, outcome), lane=Lane.BACKGROUND
                )

    async def _may_mint(self, tx: TxView, block: int | None) -> bool:
        """Say whether the contract knows those as minters whom the transaction allows."""
        for address in await self._store.read(lambda reader: records.minters_of_tx(reader, tx.tx_id)):
            answer = await self._client.call(tx.contract, encode_is_minter(address), block)
            if not int.from_bytes(answer, "big"):
                return False
        return True

    async def _minted(
        self, tx: TxView, receipt: Receipt | None, block: int | None
    ) -> tuple[list[Any], list[bool]]:
        """Return the mints of a transaction and whether the contract knows each at ``block``."""
        if tx.kind == TxKind.OWN_MINT:
            return await self._own.minted(tx, receipt)
        if tx.kind != TxKind.MINT:
            return [], []
        mints = await self._store.read(lambda reader: records.mints_of_tx(reader, tx.tx_id))
        numbers = [row.purchase_number for row in mints]
        answer = await self._client.call(tx.contract, encode_are_minted(numbers), block)
        return mints, decode_flags(answer, len(numbers))

    async def _end_mints(
        self, tx: TxView, receipt: Receipt | None, block: int | None, failure: str | None
    ) -> bool:
        mints, flags = await self._minted(tx, receipt, block)
        verdict = Verdict()
        skips = _skips(tx, receipt, flags)
        if self._is_contradicted(tx, receipt, mints, flags, skips):
            return False
        for row, flag in zip(mints, flags, strict=True):
            if flag:
                verdict.done.append(row)
            elif row.state == MintState.MINTED:
                # Told as minted, and the final state does not have it: only possible if blocks changed
                # meanwhile.
                return await self._reopen(tx)
            else:
                code = await self._refusal(tx.contract, row, skips.get(row.purchase_number))
                if code is None:
                    verdict.again.append(row)
                else:
                    verdict.refused.append((row, code))
        return await self._store.write(
            lambda uow: records.record_mints_ended(uow, tx, receipt, verdict, failure, self._on_outcomes),
            lane=Lane.BACKGROUND,
        )

    def _is_contradicted(
        self,
        tx: TxView,
        receipt: Receipt | None,
        rows: list[Any],
        flags: list[bool],
        skips: Mapping[int, SkipReason],
    ) -> bool:
        """Say whether the state denies what the receipt tells, and should be asked again.

        A call that went through did its work or said why not. To send again at once what a node merely denies
        would burn gas for nothing, again and again; after long enough it is sent again.
        """
        if receipt is None or not receipt.succeeded:
            return False
        denied = [
            row.purchase_number
            for row, flag in zip(rows, flags, strict=True)
            if not flag and skips.get(row.purchase_number) in _DONE_BEFORE
        ]
        if not denied or self._now_ms - (tx.signed_at_ms or 0) >= self._settings.lost_after_ms:
            return False
        if self._contradicted != tx.tx_id:
            self._contradicted = tx.tx_id
            log.error(
                "mint.state_contradicts_receipt", lane=self._lane.name, nonce=tx.nonce, count=len(denied)
            )
        return True

    async def _end_own(self, tx: TxView, receipt: Receipt | None, failure: str | None) -> bool:
        """Only a reverted call is tried again: else a second one could mint a second token."""
        mints, flags = await self._own.minted(tx, receipt)
        if any(row.state == MintState.MINTED and not flag for row, flag in zip(mints, flags, strict=True)):
            return await self._reopen(tx)
        verdict = self._own.verdict(mints, flags, failure)
        for row in verdict.parked:
            log.error(
                "mint.parked",
                leg_id=row.leg_id,
                nonce=tx.nonce,
                contract=tx.contract,
                failure=failure or NO_EVENT,
            )
        return await self._store.write(
            lambda uow: records.record_mints_ended(uow, tx, receipt, verdict, failure, self._on_outcomes),
            lane=Lane.BACKGROUND,
        )

    async def _refusal(self, contract: str, row: Any, reason: SkipReason | None) -> SkipCode | None:
        """Return why a mint will never be, or None if it goes back to the queue."""
        if reason is SkipReason.RECEIVER_REFUSED:
            return SkipCode.RECEIVER_REFUSED
        if reason is SkipReason.SOLD_OUT:
            room = await supply.has_room(
                self._client,
                contract,
                item_number=row.item_number,
                token_id=int(row.token_id),
                amount=row.amount,
            )
            if not room or row.attempts + 1 >= MOST_ATTEMPTS:
                return SkipCode.SOLD_OUT
        return None

    async def _end_returns(
        self, tx: TxView, receipt: Receipt | None, block: int | None, failure: str | None
    ) -> bool:
        rows = await self._store.read(lambda reader: records.returns_of_tx(reader, tx.tx_id))
        numbers = [row.purchase_number for row in rows]
        flags = decode_flags(
            await self._client.call(tx.contract, encode_are_returned(numbers), block), len(rows)
        )
        skips = _skips(tx, receipt, flags)
        if self._is_contradicted(tx, receipt, rows, flags, skips):
            return False
        verdict = Verdict()
        for row, flag in zip(rows, flags, strict=True):
            reason = skips.get(row.purchase_number)
            if flag:
                verdict.done.append(row)
            elif reason is SkipReason.NOT_HELD:
                verdict.refused.append((row, SkipCode.NOT_HELD))
            elif reason is not None and row.return_attempts + 1 >= MOST_ATTEMPTS:
                verdict.refused.append((row, SkipCode.RETURN_REFUSED))
            else:
                # Past its deadline, or reverted as a whole: the holder's key signs again.
                verdict.again.append(row)
        return await self._store.write(
            lambda uow: records.record_returns_ended(uow, tx, receipt, verdict, failure, self._on_outcomes),
            lane=Lane.BACKGROUND,
        )


def _skips(tx: TxView, receipt: Receipt | None, flags: list[bool]) -> dict[int, SkipReason]:
    """Return why purchases were left out; none of it is needed where all is done."""
    return {} if receipt is None or all(flags) else purchase_skips(receipt.logs, tx.contract)
