"""A mint lane: one minter key, one line of nonces, one loop.

    claim (nonce, numbers, calldata: one unit) -> sign -> store the bytes -> broadcast -> settle -> claim ...

Everything the loop goes by is in rows, so a process may end at any line: the next one signs what was claimed,
sends again what was signed, in nonce order, and settles what is in blocks. While transactions wait for their
blocks, the queue collects the next batch, and while one is being sent or settled, the next is claimed and
signed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

import structlog

from gateway.kernel.errors import VitrineError
from gateway.kernel.store.unit import Lane, Store, Unit
from wallets.minting import budget, claims
from wallets.minting.carrying import Carrier
from wallets.minting.chain.port import ChainClient
from wallets.minting.claims import BatchBounds, LaneKey
from wallets.minting.contract.calls import SignedReturn, return_digest
from wallets.minting.model import (
    MintingSettings,
    OnClaimed,
    OnOutcomes,
    Receiver,
    TxId,
)
from wallets.minting.own_claims import claim_own_mint
from wallets.minting.own_code import OwnCode
from wallets.minting.recipients import Recipients
from wallets.minting.sender import FeeLimitReachedError, Sender
from wallets.minting.settle import Settler
from wallets.minting.waiting import LaneDuties, Waiting, what_waits
from wallets.signer import Signer

log = structlog.get_logger(__name__)

_IDLE_S = 2.0
"""Look at the queue at least so often: another node's requests make no signal here."""
_RELEASE_S = 1.0
_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 30.0
_CLAIMING, _SENDING = "claiming", "sending"


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
        self._settler = Settler(client, store, settings, key, on_outcomes)
        sender = Sender(client, signer, store, settings, key)
        self._carrier = Carrier(client, settings, key, sender, self._settler)
        self._recipients = Recipients(client, store)
        self._own_code = OwnCode(client, store, key.chain_id, on_outcomes)
        self._bounds = BatchBounds(settings.batch_items, settings.batch_gas, settings.gas_per_day)
        self._collecting_since: float | None = None
        self._claims_not_before = 0.0
        self._returns_not_before = 0.0
        self._release_not_before = 0.0
        self._turn = 0
        self._errors: dict[str, str] = {}
        """What each of the two works of `run` is backing off from."""
        self._wake = asyncio.Event()
        self._signed = asyncio.Event()
        self._settled = asyncio.Event()
        self._stopped = asyncio.Event()
        self._stopping = False
        self.contract: str | None = None
        """Set once the contract stands and this lane's key may mint; until then nothing is claimed."""

    @property
    def last_error(self) -> str | None:
        """What the lane is backing off from."""
        return next(iter(self._errors.values()), None)

    def wake(self) -> None:
        """Something may have been queued."""
        if self._collecting_since is None:
            self._collecting_since = asyncio.get_running_loop().time()
        self._wake.set()

    def stop(self) -> None:
        """End `run` after the step at hand."""
        self._stopping = True
        for event in (self._stopped, self._wake, self._signed, self._settled):
            event.set()

    async def run(self) -> None:
        """Work until `stop`. Failures of the chain, the signer or the store slow it down and lose nothing.

        Two works at once: one claims and signs, the other settles and sends what is signed.
        """
        await asyncio.gather(
            self._repeat(_CLAIMING, self._claim_and_sign, self._wake, self._settled),
            self._repeat(_SENDING, self._settle_and_send, self._signed, self._signed),
        )

    async def step(self) -> tuple[float, bool]:
        """Do what can be done now. Returns the longest wait in seconds and whether a wake-up ends it."""
        view = await self._look()
        if await self._carrier.sign(view):
            view = await self._look()
        if await self._carrier.send_and_settle(view):
            self._slow_down()
            view = await self._look()
        return await self._claim_or_wait(view)

    async def _repeat(
        self,
        name: str,
        work: Callable[[], Awaitable[tuple[float, bool]]],
        wake: asyncio.Event,
        moved: asyncio.Event,
    ) -> None:
        """Do one of the works until `stop`. A pause ends with ``wake`` if it is wakeable, else ``moved``."""
        failures = 0
        while not self._stopping:
            wake.clear()
            moved.clear()
            try:
                wait_s, wakeable = await work()
                failures = 0
                self._errors.pop(name, None)
            except Exception as error:
                failures += 1
                self._errors[name] = repr(error)
                expected = isinstance(error, VitrineError | FeeLimitReachedError)
                log.warning(
                    "mint.lane_waits",
                    lane=self.key.name,
                    failures=failures,
                    error=repr(error),
                    exc_info=not expected,
                )
                await self._pause(_delay_s(failures), self._stopped)
            else:
                await self._pause(wait_s, wake if wakeable else moved)

    async def _claim_and_sign(self) -> tuple[float, bool]:
        view = await self._look()
        if await self._carrier.sign(view):
            try:
                view = await self._look()
                await self._carrier.send_signed(view)
            finally:
                self._signed.set()
        return await self._claim_or_wait(view)

    async def _settle_and_send(self) -> tuple[float, bool]:
        view = await self._store.read(lambda reader: what_waits(reader, self.key.name, None, 0))
        if await self._carrier.settle_and_send(view):
            self._slow_down()
            # There may be room for another claim.
            self._settled.set()
            self._wake.set()
            return 0.0, True
        return min(self._carrier.pause_s(view), _IDLE_S), True

    def _slow_down(self) -> None:
        """Do not burn gas in a tight loop on a paused contract, or on a batch that cannot run."""
        if self._settler.reverted:
            now = asyncio.get_running_loop().time()
            self._claims_not_before = now + _delay_s(self._settler.reverted)

    async def _claim_or_wait(self, view: Waiting) -> tuple[float, bool]:
        if view.unsorted and await self._recipients.sort():
            return 0.0, False
        if view.held and await self._release():
            return 0.0, False
        if await self._claim(view):
            return 0.0, False
        return self._until_next(view)

    async def _look(self) -> Waiting:
        duties = None if self.contract is None else self._duties
        return await self._store.read(
            lambda reader: what_waits(reader, self.key.name, duties, self._bounds.items)
        )

    # Claiming what waits

    async def _claim(self, view: Waiting) -> bool:
        """Claim one transaction if there is room and reason; says whether it did."""
        contract = self.contract
        now = asyncio.get_running_loop().time()
        if view.plain and self._collecting_since is None:
            self._collecting_since = now
        elif not view.plain:
            self._collecting_since = None
        if contract is None or not self._may_claim(view, now):
            return False
        # In turns: however much there is of one kind, it does not keep the others from their nonces.
        turns = (
            self._claim_definitions,
            self._claim_returns,
            self._claim_with_code,
            self._claim_own,
            self._claim_batch,
        )
        for step in range(len(turns)):
            turn = (self._turn + step) % len(turns)
            if await turns[turn](contract, view, now):
                self._turn = turn + 1
                return True
        return False

    async def _claim_definitions(self, contract: str, view: Waiting, now: float) -> bool:
        most, key = self._bounds.gas, self.key
        return view.new_items and await self._write(
            lambda uow: claims.claim_definitions(uow, key, contract, most)
        )

    async def _claim_with_code(self, contract: str, view: Waiting, now: float) -> bool:
        return view.with_code and await self._claim_mints(contract, Receiver.CODE)

    async def _claim_own(self, contract: str, view: Waiting, now: float) -> bool:
        if not view.own:
            return False
        if await self._own_code.look():
            # Something was done: the queue is another one now.
            return True
        key, bounds, on_claimed = self.key, self._bounds, self._on_claimed
        present = self._own_code.present
        return await self._write(lambda uow: claim_own_mint(uow, key, contract, present, bounds, on_claimed))

    async def _claim_batch(self, contract: str, view: Waiting, now: float) -> bool:
        full = view.plain >= self._bounds.items
        if not view.plain or not (full or self._window_left_s(now) <= 0):
            return False
        self._collecting_since = now if full else None
        return await self._claim_mints(contract, Receiver.PLAIN)

    async def _claim_mints(self, contract: str, receiver: Receiver) -> bool:
        key, bounds, on_claimed = self.key, self._bounds, self._on_claimed
        return await self._write(
            lambda uow: claims.claim_mints(uow, key, contract, receiver, bounds, on_claimed)
        )

    def _may_claim(self, view: Waiting, now: float) -> bool:
        """Say whether there is room. While sending fails, mints stay where they can be canceled."""
        return (
            view.in_flight < self._settings.open_transactions
            and now >= self._claims_not_before
            and _SENDING not in self._errors
        )

    async def _release(self) -> bool:
        """Let mints go on whose merchants have gas again; asked once a second."""
        now = asyncio.get_running_loop().time()
        if now < self._release_not_before:
            return False
        self._release_not_before = now + _RELEASE_S
        bounds = self._bounds
        released = await self._store.write(
            lambda uow: budget.release(uow, bounds.gas_per_day, bounds.items), lane=Lane.BACKGROUND
        )
        return released > 0

    async def _write(self, unit: Unit[TxId | None]) -> bool:
        """Run a claim; says whether it claimed anything."""
        return await self._store.write(unit, lane=Lane.BACKGROUND) is not None

    async def _claim_returns(self, contract: str, view: Waiting, now: float) -> bool:
        """Have the holders' keys sign, then claim: a signature that is not used in time just expires."""
        if not view.returns or now < self._returns_not_before:
            return False
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
        if not claimed:
            self._returns_not_before = asyncio.get_running_loop().time() + _LONGEST_DELAY_S
        return claimed

    # Waiting

    def _window_left_s(self, now: float) -> float:
        since = now if self._collecting_since is None else self._collecting_since
        return since + self._settings.window_ms / 1000 - now

    def _collecting_s(self, plain: int, now: float) -> float:
        """Return when to look next whether the batch is full: when it should be, at the pace so far.

        Not at every commit, and at the end of the window at the latest.
        """
        left_s = self._window_left_s(now)
        window_s = self._settings.window_ms / 1000
        expected_s = (self._bounds.items - plain) * (window_s - left_s) / plain
        return max(min(left_s, max(expected_s, window_s / 16)), 0.001)

    def _until_next(self, view: Waiting) -> tuple[float, bool]:
        now = asyncio.get_running_loop().time()
        may_claim = self._may_claim(view, now)
        if view.plain and may_claim:
            return self._collecting_s(view.plain, now), False
        if view.txs:
            return self._settings.poll_ms / 1000, may_claim
        return min(_IDLE_S, max(self._claims_not_before - now, 0.05)) if view.plain else _IDLE_S, True

    async def _pause(self, wait_s: float, event: asyncio.Event) -> None:
        if wait_s <= 0 or self._stopping:
            await asyncio.sleep(0)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await event.wait()


def _delay_s(failures: int) -> float:
    """Exponential back-off with jitter."""
    longest = min(_FIRST_DELAY_S * float(1 << min(failures, 16)), _LONGEST_DELAY_S)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  # jitter, not a secret
