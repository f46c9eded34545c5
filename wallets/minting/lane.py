"""A mint lane: one minter key, one line of nonces, one loop.

    claim (nonce, numbers, calldata: one unit) -> sign -> store the bytes -> broadcast -> settle -> claim ...

Everything the loop goes by is in rows, so a process may end at any line: the next one signs what was claimed,
sends again what was signed, in nonce order, and settles what is in blocks. While transactions wait for their
blocks, the queue collects the next batch.
"""

from __future__ import annotations

import asyncio
import contextlib
import random

import structlog

from gateway.kernel.errors import VitrineError
from gateway.kernel.store.unit import Lane, Store, Unit
from wallets.minting import claims
from wallets.minting.chain.port import ChainClient
from wallets.minting.claims import BatchBounds, LaneKey
from wallets.minting.contract.calls import SignedReturn, return_digest
from wallets.minting.model import (
    MintingSettings,
    OnClaimed,
    OnOutcomes,
    Receiver,
    TxId,
    TxState,
)
from wallets.minting.recipients import Recipients
from wallets.minting.records import TxView
from wallets.minting.sender import FeeLimitReachedError, Sender, StoredBytes
from wallets.minting.settle import Settler
from wallets.minting.waiting import LaneDuties, Waiting, what_waits
from wallets.signer import Signer

log = structlog.get_logger(__name__)

_IDLE_S = 2.0
"""Look at the queue at least so often: another node's requests make no signal here."""
_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 30.0


class MintLane:
    """Drive it with `run`, or by single `step`s."""

    def __init__(
        self,
        client: ChainClient,
        signer: Signer,
        store: Store,
        settings: MintingSettings,
        key: LaneKey,
        duties: LaneDuties,
        *,
        on_outcomes: OnOutcomes,
        on_claimed: OnClaimed,
    ) -> None:
        self._client = client
        self._signer = signer
        self._store = store
        self._settings = settings
        self.key = key
        self._duties = duties
        self._on_claimed = on_claimed
        self._sender = Sender(client, signer, store, settings, key)
        self._settler = Settler(client, store, settings, key, on_outcomes)
        self._recipients = Recipients(client, store)
        self._bounds = BatchBounds(settings.batch_items, settings.batch_gas)
        self._sent_at: dict[str, float] = {}
        """When this process last sent a transaction. Empty at first, so a start sends what is open."""
        self._collecting_since: float | None = None
        self._claims_not_before = 0.0
        self._returns_not_before = 0.0
        self._polled_at = 0.0
        self._failures = 0
        self._wake = asyncio.Event()
        self._stopped = asyncio.Event()
        self._stopping = False
        self.contract: str | None = None
        """Set once the contract stands and this lane's key may mint; until then nothing is claimed."""
        self.last_error: str | None = None

    def wake(self) -> None:
        """Something may have been queued."""
        if self._collecting_since is None:
            self._collecting_since = asyncio.get_running_loop().time()
        self._wake.set()

    def stop(self) -> None:
        """End `run` after the step at hand."""
        self._stopping = True
        self._stopped.set()
        self._wake.set()

    async def run(self) -> None:
        """Work until `stop`. Failures of the chain, the signer or the store slow it down and lose nothing."""
        while not self._stopping:
            self._wake.clear()
            try:
                wait_s, wakeable = await self.step()
                self._failures = 0
                self.last_error = None
            except Exception as error:
                self._failures += 1
                self.last_error = repr(error)
                expected = isinstance(error, VitrineError | FeeLimitReachedError)
                log.warning(
                    "mint.lane_waits",
                    lane=self.key.name,
                    failures=self._failures,
                    error=repr(error),
                    exc_info=not expected,
                )
                wait_s, wakeable = _delay_s(self._failures), False
            await self._pause(wait_s, wakeable)

    async def step(self) -> tuple[float, bool]:
        """Do what can be done now. Returns the longest wait in seconds and whether a wake-up ends it."""
        view = await self._look()
        if view.txs and await self._carry_out(view):
            view = await self._look()
        if view.unsorted and await self._recipients.sort():
            return 0.0, False
        if await self._claim(view):
            return 0.0, False
        return self._until_next(view)

    async def _look(self) -> Waiting:
        duties = None if self.contract is None else self._duties
        return await self._store.read(
            lambda reader: what_waits(reader, self.key.name, duties, self._bounds.items)
        )

    # Carrying out what was claimed

    async def _carry_out(self, view: Waiting) -> bool:
        """Sign, send and settle open transactions in nonce order; says whether anything changed."""
        now = asyncio.get_running_loop().time()
        claimed = any(tx.state is TxState.CLAIMED for tx in view.txs)
        if not claimed and now - self._polled_at < self._settings.poll_ms / 1000:
            return False
        self._polled_at = now
        # What is in a block or ended needs no sending; should it be reopened, it is sent again at once.
        signed = {tx.tx_id for tx in view.txs if tx.state is TxState.SIGNED}
        self._sent_at = {tx_id: at for tx_id, at in self._sent_at.items() if tx_id in signed}
        nonce = await self._client.nonce(self.key.address)
        accepted = True
        for tx in view.txs:
            if tx.state is TxState.CLAIMED:
                stored = await self._sender.sign(tx.tx_id)
                if stored is not None and accepted:
                    accepted = await self._send(stored)
            elif tx.state is TxState.SIGNED and nonce <= tx.nonce and accepted:
                accepted = await self._send_again(tx, nonce, view.now_ms)
        if claimed:
            view = await self._look()
        sent = [tx for tx in view.txs if tx.state is not TxState.CLAIMED]
        settled = await self._settler.settle(sent, await self._client.nonce(self.key.address), view.now_ms)
        if settled and self._settler.reverted:
            # A paused contract, or a batch that cannot run: do not burn gas on it in a tight loop.
            self._claims_not_before = now + _delay_s(self._settler.reverted)
        return claimed or settled

    async def _send(self, stored: StoredBytes) -> bool:
        accepted = await self._sender.send(stored)
        if accepted:
            self._sent_at[stored.tx_id] = asyncio.get_running_loop().time()
        return accepted

    async def _send_again(self, tx: TxView, nonce: int, now_ms: int) -> bool:
        """Send what this process has not sent lately; raise the fee of what is stuck in front."""
        last = self._sent_at.get(tx.tx_id)
        now = asyncio.get_running_loop().time()
        if last is not None and now - last < self._settings.rebroadcast_after_ms / 1000:
            return True
        stored = await self._sender.latest(tx.tx_id)
        is_stuck = now_ms - stored.created_at_ms >= self._settings.stuck_after_ms
        if tx.nonce == nonce and last is not None and is_stuck:
            try:
                stored = await self._sender.bump(stored) or stored
            except FeeLimitReachedError as error:
                log.warning("mint.fee_limit", lane=self.key.name, nonce=tx.nonce, error=str(error))
        return await self._send(stored)

    # Claiming what waits

    async def _claim(self, view: Waiting) -> bool:
        """Claim one transaction if there is room and reason; says whether it did."""
        contract = self.contract
        now = asyncio.get_running_loop().time()
        if view.plain and self._collecting_since is None:
            self._collecting_since = now
        elif not view.plain:
            self._collecting_since = None
        if (
            contract is None
            or view.in_flight >= self._settings.open_transactions
            or now < self._claims_not_before
        ):
            return False
        key = self.key
        if view.new_items and await self._write(
            lambda uow: claims.claim_definitions(uow, key, contract, self._bounds.gas)
        ):
            return True
        if view.returns and now >= self._returns_not_before and await self._claim_returns(contract, view):
            return True
        if view.with_code and await self._write(
            lambda uow: claims.claim_mints(uow, key, contract, Receiver.CODE, self._bounds, self._on_claimed)
        ):
            return True
        full = view.plain >= self._bounds.items
        if not view.plain or not (full or self._window_left_s(now) <= 0):
            return False
        self._collecting_since = now if full else None
        claimed = await self._write(
            lambda uow: claims.claim_mints(uow, key, contract, Receiver.PLAIN, self._bounds, self._on_claimed)
        )
        return claimed is not None

    async def _write(self, unit: Unit[TxId | None]) -> TxId | None:
        return await self._store.write(unit, lane=Lane.BACKGROUND)

    async def _claim_returns(self, contract: str, view: Waiting) -> bool:
        """Have the holders' keys sign, then claim: a signature that is not used in time just expires."""
        deadline_s = view.now_ms // 1000 + self._settings.return_valid_s
        signed: dict[str, SignedReturn] = {}
        for row in await self._store.read(claims.waiting_returns):
            number, token_id = row.purchase_number, int(row.token_id)
            digest = return_digest(
                self.key.chain_id,
                contract,
                purchase_id=number,
                token_id=token_id,
                amount=row.amount,
                deadline_s=deadline_s,
            )
            try:
                v, r, s = await self._signer.sign_digest(row.holder_key, digest)
            except VitrineError as error:
                # One holder whose key is missing must not hold up the others.
                log.error("mint.return_not_signed", leg_id=row.leg_id, code=error.code)
                continue
            signed[row.leg_id] = SignedReturn(
                number, row.recipient, token_id, row.amount, deadline_s, v, r, s
            )
        claimed = await self._write(lambda uow: claims.claim_returns(uow, self.key, contract, signed))
        if claimed is None:
            self._returns_not_before = asyncio.get_running_loop().time() + _LONGEST_DELAY_S
        return claimed is not None

    # Waiting

    def _window_left_s(self, now: float) -> float:
        since = now if self._collecting_since is None else self._collecting_since
        return since + self._settings.window_ms / 1000 - now

    def _until_next(self, view: Waiting) -> tuple[float, bool]:
        now = asyncio.get_running_loop().time()
        has_room = view.in_flight < self._settings.open_transactions
        if view.plain and has_room and now >= self._claims_not_before:
            # Look once during the window whether the batch is full; not at every commit.
            window_s = self._settings.window_ms / 1000
            return max(min(self._window_left_s(now), window_s / 2), 0.001), False
        if view.txs:
            return self._settings.poll_ms / 1000, has_room
        return min(_IDLE_S, max(self._claims_not_before - now, 0.05)) if view.plain else _IDLE_S, True

    async def _pause(self, wait_s: float, wakeable: bool) -> None:
        if wait_s <= 0 or self._stopping:
            await asyncio.sleep(0)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await (self._wake if wakeable else self._stopped).wait()


def _delay_s(failures: int) -> float:
    """Exponential back-off with jitter."""
    longest = min(_FIRST_DELAY_S * float(1 << min(failures, 16)), _LONGEST_DELAY_S)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  # jitter, not a secret
