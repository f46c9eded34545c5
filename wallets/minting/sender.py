"""Signing, storing and broadcasting the transactions of one lane, and raising the fee of a stuck one.

Bytes are stored before they are sent, by compare-and-set, so that whatever may be at a node is known here.
Bytes that lost the race for the row are thrown away unsent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import bindparam, select

from gateway.kernel.store.statements import Statement, insert_into, insert_new
from gateway.kernel.store.unit import Lane, Reader, Store, UnitOfWork
from wallets.minting.chain.port import AlreadyKnown, ChainClient, Fees, FeeTooLow, NonceTooHigh, NonceTooLow
from wallets.minting.claims import LaneKey
from wallets.minting.model import MintingSettings, MintState, TxKind, TxState
from wallets.minting.moves import mint_move, tx_move
from wallets.minting.tables import chain_tx, chain_tx_bytes, mint
from wallets.signer import SignedTransaction, Signer

log = structlog.get_logger(__name__)

_SIGNED = tx_move(
    TxState.CLAIMED, TxState.SIGNED, chain_tx.c.tx_id == bindparam("tx"), signed_at_ms=bindparam("at")
)
_MINTS_SENT = mint_move(MintState.CLAIMED, MintState.SENT, mint.c.tx_id == bindparam("tx"))
_INSERT_BYTES = insert_into(chain_tx_bytes)
_INSERT_BUMP = insert_new(chain_tx_bytes)
_CALL = Statement(
    select(
        chain_tx.c.tx_id,
        chain_tx.c.nonce,
        chain_tx.c.kind,
        chain_tx.c.contract,
        chain_tx.c.gas,
        chain_tx.c.calldata,
    ).where(chain_tx.c.tx_id == bindparam("tx"))
)
_LATEST = Statement(
    select(chain_tx_bytes)
    .where(chain_tx_bytes.c.tx_id == bindparam("tx"))
    .order_by(chain_tx_bytes.c.attempt.desc())
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class StoredBytes:
    """What may be sent for a transaction: ``attempt`` counts its fee bumps from 0."""

    tx_id: str
    attempt: int
    raw: bytes
    fees: Fees
    created_at_ms: int


class FeeLimitReachedError(Exception):
    """The chain asks for more than the settings allow; the transaction waits."""


class Sender:
    """Speaks for one key. ``address`` is the key's."""

    def __init__(
        self, client: ChainClient, signer: Signer, store: Store, settings: MintingSettings, lane: LaneKey
    ) -> None:
        self._client = client
        self._signer = signer
        self._store = store
        self._settings = settings
        self._lane = lane

    async def sign(self, tx_id: str) -> StoredBytes | None:
        """Sign a claimed transaction and store its bytes. None if another node stored its own first."""
        call = await self._store.read(lambda reader: reader.row(_CALL, {"tx": tx_id}))
        assert call is not None
        fees = self._within_limit(await self._client.fees())
        signed = await self._sign_call(call, fees)

        def store_bytes(uow: UnitOfWork) -> StoredBytes | None:
            if not uow.run(_SIGNED, {"tx": tx_id, "at": uow.now_ms}):
                return None
            stored = StoredBytes(tx_id, 0, signed.raw, fees, uow.now_ms)
            uow.run(_INSERT_BYTES, _bytes_row(stored, signed))
            if call.kind in (TxKind.MINT, TxKind.OWN_MINT):
                uow.run(_MINTS_SENT, {"tx": tx_id})
            return stored

        return await self._store.write(store_bytes, lane=Lane.BACKGROUND)

    async def latest(self, tx_id: str) -> StoredBytes:
        """Return the newest stored bytes of a signed transaction."""
        return await self._store.read(lambda reader: _latest(reader, tx_id))

    async def send(self, stored: StoredBytes) -> bool:
        """Broadcast stored bytes. False if the node keeps no queue and an earlier nonce must come first.

        Sending again is harmless: the same bytes have the same hash.
        """
        while True:
            try:
                await self._client.send_raw(stored.raw)
            except (AlreadyKnown, NonceTooLow):
                # In the pool or in a block; if another transaction took the nonce, the settling finds out.
                return True
            except NonceTooHigh:
                return False
            except FeeTooLow:
                bumped = await self.bump(stored)
                if bumped is None:
                    return True
                stored = bumped
                continue
            return True

    async def bump(self, stored: StoredBytes) -> StoredBytes | None:
        """Sign the same nonce and calldata with a higher fee. None if another node did so first.

        Nodes replace a queued transaction only for at least 10 % more on both fees (geth's price bump); we
        give an eighth, or what the chain asks for now if that is more. Raises FeeLimitReachedError at the
        settings' limit.
        """
        call = await self._store.read(lambda reader: reader.row(_CALL, {"tx": stored.tx_id}))
        assert call is not None
        now = await self._client.fees()
        most = self._settings.most_fee_wei
        fees = Fees(
            max_fee=max(min(now.max_fee, most), _eighth_more(stored.fees.max_fee)),
            priority_fee=max(min(now.priority_fee, most), _eighth_more(stored.fees.priority_fee)),
        )
        if fees.max_fee > most:
            raise FeeLimitReachedError(f"a fee of {fees.max_fee} wei per gas is above the limit of {most}")
        signed = await self._sign_call(call, fees)

        def store_bytes(uow: UnitOfWork) -> StoredBytes | None:
            bumped = StoredBytes(stored.tx_id, stored.attempt + 1, signed.raw, fees, uow.now_ms)
            return bumped if uow.run(_INSERT_BUMP, _bytes_row(bumped, signed)) else None

        bumped = await self._store.write(store_bytes, lane=Lane.BACKGROUND)
        if bumped is not None:
            log.info("mint.fee_bumped", lane=self._lane.name, nonce=call.nonce, attempt=bumped.attempt)
        return bumped

    async def _sign_call(self, call: Any, fees: Fees) -> SignedTransaction:
        fields: dict[str, Any] = {
            "type": 2,
            "chainId": self._lane.chain_id,
            "nonce": call.nonce,
            "gas": call.gas,
            "maxFeePerGas": fees.max_fee,
            "maxPriorityFeePerGas": fees.priority_fee,
            "value": 0,
            "data": bytes(call.calldata),
        }
        if call.kind != TxKind.DEPLOY:
            fields["to"] = call.contract
        return await self._signer.sign_transaction(self._lane.key_ref, fields)

    def _within_limit(self, fees: Fees) -> Fees:
        most = self._settings.most_fee_wei
        return Fees(min(fees.max_fee, most), min(fees.priority_fee, most))


def _eighth_more(fee: int) -> int:
    return fee + fee // 8 + 1


def _bytes_row(stored: StoredBytes, signed: SignedTransaction) -> dict[str, Any]:
    return {
        "tx_id": stored.tx_id,
        "attempt": stored.attempt,
        "tx_hash": "0x" + signed.hash.hex(),
        "raw": signed.raw,
        "max_fee": str(stored.fees.max_fee),
        "priority_fee": str(stored.fees.priority_fee),
        "created_at_ms": stored.created_at_ms,
    }


def _latest(reader: Reader, tx_id: str) -> StoredBytes:
    row = reader.row(_LATEST, {"tx": tx_id})
    assert row is not None, "a signed transaction has bytes"
    fees = Fees(int(row.max_fee), int(row.priority_fee))
    return StoredBytes(row.tx_id, row.attempt, bytes(row.raw), fees, row.created_at_ms)
