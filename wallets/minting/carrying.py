"""Carrying out what a lane claimed: signing, sending in nonce order, and settling what is in blocks."""

from __future__ import annotations

import asyncio

import structlog

from wallets.minting.chain.port import ChainClient
from wallets.minting.claims import LaneKey
from wallets.minting.model import MintingSettings, TxState
from wallets.minting.records import TxView
from wallets.minting.sender import FeeLimitReachedError, Sender, StoredBytes
from wallets.minting.settle import Settler
from wallets.minting.waiting import Waiting

log = structlog.get_logger(__name__)

_FIRST_LOOK_S = 0.016
"""So long after something was sent the chain is asked about it for the first time; each further pause is
three times as long as what has passed, up to the usual one. Some chains have a block at once."""
_ENDED_AFTER_S = 10.0
"""What was sent so long ago and is not open is no more than a look behind: it ended."""


class Carrier:
    """Carries out the transactions of one lane. `sign` and `send_signed` may run beside the other methods."""

    def __init__(
        self, client: ChainClient, settings: MintingSettings, key: LaneKey, sender: Sender, settler: Settler
    ) -> None:
        self._client = client
        self._settings = settings
        self._key = key
        self._sender = sender
        self._settler = settler
        self._fresh: dict[str, StoredBytes] = {}
        """What this process signed and has not sent."""
        self._sent_at: dict[str, float] = {}
        """When this process last sent a transaction. Empty at first, so a start sends what is open."""
        self._polled_at = float("-inf")
        # The port leaves it open when a node answers; the embedded chain says that it has the block then.
        self._has_pool = not getattr(client, "mines_on_send", False)

    def pause_s(self, view: Waiting) -> float:
        """Return how long nothing needs to be asked of the chain, unless something is signed."""
        return max(self._next_at(view) - asyncio.get_running_loop().time(), 0.001)

    async def sign(self, view: Waiting) -> bool:
        """Sign what is claimed, in nonce order; says whether there was any."""
        claimed = [tx for tx in view.txs if tx.state is TxState.CLAIMED]
        for tx in claimed:
            stored = await self._sender.sign(tx.tx_id)
            # The other work may have found the bytes in their rows and sent them meanwhile.
            if stored is not None and tx.tx_id not in self._sent_at:
                self._fresh[tx.tx_id] = stored
        return bool(claimed)

    async def send_signed(self, view: Waiting) -> None:
        """Send what `sign` has just signed, in nonce order, if all before it was sent.

        Only to a node with a pool, which answers before it has made a block: so it makes one while the last
        is settled. A node that answers with the block is sent to between settlements, which it would hold up.
        """
        for tx in view.txs if self._has_pool else ():
            if tx.state is TxState.MINED or tx.tx_id in self._sent_at:
                continue
            stored = self._fresh.pop(tx.tx_id, None)
            if stored is None or not await self._send(stored):
                return

    async def send_and_settle(self, view: Waiting) -> bool:
        """Send what is due, then settle; says whether anything was settled."""
        if not self._is_time(view):
            return False
        await self._send_due(view)
        return await self._settle(view)

    async def settle_and_send(self, view: Waiting) -> bool:
        """Settle what was sent before, then send what is due; says whether anything was settled.

        So a node makes a block of one batch while the next is prepared, and is not asked about it before.
        """
        if not self._is_time(view):
            return False
        settled = await self._settle(view)
        await self._send_due(view)
        return settled

    def _is_time(self, view: Waiting) -> bool:
        now = asyncio.get_running_loop().time()
        known = {tx.tx_id: tx.state for tx in view.txs}
        # What is in a block or ended needs no sending; should it be reopened, it is sent again at once.
        self._sent_at = {
            tx_id: at
            for tx_id, at in self._sent_at.items()
            if known.get(tx_id) is not TxState.MINED and (tx_id in known or at > now - _ENDED_AFTER_S)
        }
        # Another process may have sent what this one signed, and seen it in a block. What was signed after
        # the look is not in it yet.
        self._fresh = {
            tx_id: stored
            for tx_id, stored in self._fresh.items()
            if known.get(tx_id, TxState.MINED) is not TxState.MINED
            or (tx_id not in known and stored.created_at_ms >= view.now_ms)
        }
        return self._next_at(view) <= now

    def _next_at(self, view: Waiting) -> float:
        """Return when something is to be sent, or the chain to be asked about what was sent."""
        poll_s = self._settings.poll_ms / 1000
        first_s = min(poll_s, _FIRST_LOOK_S)
        polled_at = self._polled_at
        times = [float("inf")]
        for tx in view.txs:
            sent_at = self._sent_at.get(tx.tx_id)
            if tx.state is TxState.CLAIMED:
                continue
            if tx.tx_id in self._fresh:
                return 0.0
            if sent_at is None:
                times.append(polled_at + poll_s)
            elif polled_at < sent_at + first_s:
                times.append(sent_at + first_s)
            else:
                times.append(polled_at + min(poll_s, 3 * (polled_at - sent_at)))
        return min(times)

    async def _settle(self, view: Waiting) -> bool:
        sent = [tx for tx in view.txs if tx.state is not TxState.CLAIMED and tx.tx_id not in self._fresh]
        if not sent:
            return False
        nonce = await self._client.nonce(self._key.address)
        self._polled_at = asyncio.get_running_loop().time()
        return await self._settler.settle(sent, nonce, view.now_ms)

    async def _send_due(self, view: Waiting) -> None:
        """Send what this process has not sent lately, in nonce order."""
        nonce: int | None = None
        for tx in view.txs:
            if tx.state is TxState.CLAIMED:
                # Its bytes come first.
                return
            if tx.state is not TxState.SIGNED or not self._is_due(tx):
                continue
            fresh = self._fresh.pop(tx.tx_id, None)
            if fresh is not None:
                accepted = await self._send(fresh)
            else:
                # It may be in a block already, or be what holds up the others.
                nonce = await self._client.nonce(self._key.address) if nonce is None else nonce
                accepted = nonce > tx.nonce or await self._send_again(tx, nonce, view.now_ms)
            if not accepted:
                return

    def _is_due(self, tx: TxView) -> bool:
        last = self._sent_at.get(tx.tx_id)
        now = asyncio.get_running_loop().time()
        return last is None or now - last >= self._settings.rebroadcast_after_ms / 1000

    async def _send(self, stored: StoredBytes) -> bool:
        self._fresh.pop(stored.tx_id, None)
        self._sent_at[stored.tx_id] = asyncio.get_running_loop().time()
        accepted = False
        try:
            accepted = await self._sender.send(stored)
        finally:
            if not accepted:
                self._sent_at.pop(stored.tx_id, None)
        return accepted

    async def _send_again(self, tx: TxView, nonce: int, now_ms: int) -> bool:
        """Send what was signed before, or was sent and is in no block; raise the fee of what is stuck."""
        was_sent = tx.tx_id in self._sent_at
        stored = await self._sender.latest(tx.tx_id)
        is_stuck = now_ms - stored.created_at_ms >= self._settings.stuck_after_ms
        if tx.nonce == nonce and was_sent and is_stuck:
            try:
                stored = await self._sender.bump(stored) or stored
            except FeeLimitReachedError as error:
                log.warning("mint.fee_limit", lane=self._key.name, nonce=tx.nonce, error=str(error))
        return await self._send(stored)
