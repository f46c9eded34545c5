"""One endpoint among several: whether it may be asked, how fast, and how far its chain has come."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from wallets.minting.chain.pacing import Pace
from wallets.minting.chain.port import ChainClient, ChainError, ChainUnavailable, Throttled

log = structlog.get_logger(__name__)

AnswerT = TypeVar("AnswerT")
Ask = Callable[[ChainClient], Awaitable[AnswerT]]

_FIRST_ASIDE_S = 0.5
_LONGEST_ASIDE_S = 15.0
_USED_UP_ASIDE_S = 60.0


class Endpoint:
    """A node and what is known of it. ``name`` says its place in the list: its address may hold a key."""

    def __init__(self, name: str, client: ChainClient) -> None:
        self.name = name
        self.client = client
        self.pace = Pace()
        self.is_foreign = False
        """It is on another chain: it is never asked again."""
        self.head = 0
        """The newest block it told, and in the next two: when it last told, and since when it is behind."""
        self.head_at = float("-inf")
        self.behind_since: float | None = None
        self.doubted_until = float("-inf")
        """Others are asked first: it was behind them, or lied."""
        self._is_proven = False
        """It has named its chain since it failed last, and the request for that while it is under way."""
        self._proof: asyncio.Task[None] | None = None
        self._aside_until = float("-inf")
        self._failures = 0

    def may_be_asked(self, now: float) -> bool:
        """Say whether it has proven to be of the chain, and has not failed since."""
        return self._is_proven and now >= self._aside_until

    def opens_in_s(self, now: float) -> float:
        """Return the seconds until it may prove itself; infinity for an endpoint of another chain."""
        return float("inf") if self.is_foreign else max(0.0, self._aside_until - now)

    async def ask(self, ask: Ask[AnswerT], *, within_s: float, patient: bool) -> AnswerT:
        """Return its answer.

        A patient question that is refused as one too many waits for its next turn, and is asked again, within
        ``within_s`` seconds: it had no effect. Raises what the client raises.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while True:
            try:
                async with self.pace.turn(max(0.0, deadline - loop.time())):
                    if loop.time() < self._aside_until:
                        raise ChainUnavailable(f"{self.name} was set aside")
                    answer = await ask(self.client)
            except Throttled:
                if not patient:
                    raise
                if loop.time() >= deadline:
                    if loop.time() - self.pace.answered_at > within_s:
                        # A quota that is used up: the others go on without it.
                        self.set_aside(_USED_UP_ASIDE_S, "too many requests, for too long")
                    raise
            except ChainUnavailable as error:
                self._failed(error, loop.time())
                raise
            except ChainError:
                self._failures = 0  # a refusal is an answer
                raise
            else:
                self._failures = 0
                return answer

    def prove(self, chain_id: int, within_s: float) -> asyncio.Task[None] | None:
        """Have it name its chain if it must and may, in the background: nobody else waits for it if it hangs.

        Returns the task while it is under way.
        """
        if self._proof is not None and not self._proof.done():
            return self._proof
        if self._is_proven or self.opens_in_s(asyncio.get_running_loop().time()) > 0:
            return None
        self._proof = asyncio.create_task(self._prove(chain_id, within_s))
        return self._proof

    async def _prove(self, chain_id: int, within_s: float) -> None:
        try:
            found = await self.ask(lambda client: client.chain_id(), within_s=within_s, patient=True)
        except ChainUnavailable:
            return  # it is set aside again
        except ChainError as error:
            self.set_aside(_LONGEST_ASIDE_S, f"it does not name its chain: {error.message}")
            return
        self.named(found, chain_id)

    def named(self, found: int, wanted: int) -> None:
        """Note the chain it named and the one it must be on."""
        self._is_proven = found == wanted
        if found != wanted and not self.is_foreign:
            self.is_foreign = True
            log.error("chain.endpoint_of_another_chain", endpoint=self.name, wanted=wanted, found=found)

    def set_aside(self, for_s: float, why: str) -> None:
        """Do not ask it for a while; before it is asked again it must name its chain."""
        self._aside_until = asyncio.get_running_loop().time() + for_s
        self._is_proven = False
        log.warning("chain.endpoint_set_aside", endpoint=self.name, for_s=round(for_s, 1), why=why)

    async def close(self) -> None:
        """Release its connections."""
        if self._proof is not None:
            self._proof.cancel()
            await asyncio.gather(self._proof, return_exceptions=True)
        await self.client.close()

    def saw_head(self, head: int, now: float) -> None:
        """Note the newest block it told."""
        if head > self.head:
            self.behind_since = None
        self.head, self.head_at = head, now

    def _failed(self, error: ChainUnavailable, now: float) -> None:
        if self.pace.is_hurried or now < self._aside_until:
            return  # the end, or requests that were under way with the first that failed
        longest = min(_FIRST_ASIDE_S * float(1 << min(self._failures, 8)), _LONGEST_ASIDE_S)
        self._failures += 1
        self.set_aside(longest * random.uniform(0.75, 1.0), error.message)  # noqa: S311  # jitter
