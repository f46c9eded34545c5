"""Several endpoints of one chain: who may be asked, in which order, and what two or more of them say."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TypeVar

import structlog

from wallets.minting.chain import agreement
from wallets.minting.chain.agreement import AGREE, Said
from wallets.minting.chain.endpoint import Ask, Endpoint
from wallets.minting.chain.port import (
    CallReverted,
    ChainClient,
    ChainError,
    ChainRefused,
    ChainUnavailable,
)

log = structlog.get_logger(__name__)

AnswerT = TypeVar("AnswerT")

_SPREAD_AFTER_S = 1.0
"""A line longer than this makes the next endpoint the better one to ask."""
_SHORT_WAIT_S = 1.0
"""So long a request waits when all are set aside."""
_WARN_EVERY_S = 60.0
_DIFFERENCE_PASSES_S = 15.0
"""News of a block takes a moment from node to node; a difference that lasts longer is told."""


class Endpoints:
    """The endpoints in the order of preference, and the chain they must be of."""

    def __init__(
        self,
        clients: Sequence[ChainClient],
        *,
        remembered: int | None,
        patience_s: float,
        stale_after_s: float,
    ) -> None:
        """See FailoverChain."""
        assert clients, "a chain has an endpoint"
        self.all = [Endpoint(f"endpoint {index}", client) for index, client in enumerate(clients, 1)]
        self._remembered = remembered
        self._chain_id: int | None = None
        self._finding = asyncio.Lock()
        self._patience_s = patience_s
        self._stale_after_s = stale_after_s
        self._warned_at: dict[str, float] = {}
        self._differing_since: float | None = None
        self._is_closing = False

    # Which chain

    async def chain_id(self) -> int:
        """Return the id that most endpoints name. Those of another chain are never asked again.

        Raises ChainRefused if as many name one chain as another: the list is wrong, and nothing is signed.
        """
        if self._chain_id is None:
            async with self._finding:
                self._chain_id = self._chain_id or await self._find_chain()
        return self._chain_id

    async def _find_chain(self) -> int:
        said = await self.ask_all(self.all, lambda client: client.chain_id())
        found = agreement.answers(said)
        if not found and self._remembered is None:
            raise agreement.why_not(said)
        if not found or (len(found) == 1 < len(self.all) and self._remembered is not None):
            # None answers, or one alone of several: it is not asked for another chain than before.
            chosen = self._remembered
        else:
            chosen = max(found, key=found.count)
        assert chosen is not None
        if any(found.count(other) == found.count(chosen) for other in found if other != chosen):
            names = {one.endpoint.name: one.answer for one in said}
            raise ChainRefused(f"the endpoints are of different chains: {names}")
        for one in said:
            if one.answer is not None:
                one.endpoint.named(one.answer, chosen)
        return chosen

    # Who may be asked

    def well(self) -> list[Endpoint]:
        """Return who is not set aside, by preference."""
        now = asyncio.get_running_loop().time()
        return [one for one in self.all if one.may_be_asked(now)]

    def _proofs(self, chain_id: int) -> list[asyncio.Task[None]]:
        """Let those prove themselves who must; what they are asked for that is under way."""
        proofs = (one.prove(chain_id, self._patience_s) for one in self.all)
        return [proof for proof in proofs if proof is not None]

    def usable(self) -> list[Endpoint]:
        """Return who may be asked: first those that nothing speaks against, each by preference.

        One that is long behind the others is left out while there is another.
        """
        now = asyncio.get_running_loop().time()
        well = self.well()
        fresh = [
            one for one in well if one.behind_since is None or now - one.behind_since < self._stale_after_s
        ]
        return sorted(
            fresh or well,
            key=lambda one: one.doubted_until > now or one.pace.wait_s(now) > _SPREAD_AFTER_S,
        )

    async def someone(self) -> list[Endpoint]:
        """Return who may be asked, at least one; waits a little for one that is set aside."""
        chain_id = await self.chain_id()
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + _SHORT_WAIT_S
        while True:
            proofs = self._proofs(chain_id)
            found = self.usable()
            if found:
                return found
            left = give_up_at - loop.time()
            opens_in_s = min(one.opens_in_s(loop.time()) for one in self.all)
            if self._is_closing or left <= 0 or opens_in_s > left:
                raise ChainUnavailable(f"no endpoint of chain {chain_id} answers")
            if proofs:
                await asyncio.wait(proofs, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(opens_in_s)

    # Asking

    async def read(self, ask: Ask[AnswerT], asked: set[Endpoint] | None = None) -> AnswerT:
        """Return the answer of the first that may be asked and answers. ``asked`` is told which one it is."""
        tried: set[Endpoint] = set()
        candidates = await self.someone()
        while True:
            endpoint, *others = candidates
            tried.add(endpoint)
            try:
                # With others at hand it need not be waited for.
                answer = await endpoint.ask(ask, within_s=self._patience_s, patient=not others)
            except CallReverted:
                raise
            except ChainError:
                # Another one may know: this one is away, behind, or keeps less of the past.
                candidates = [one for one in self.usable() if one not in tried]
                if not candidates:
                    raise
            else:
                if asked is not None:
                    asked.add(endpoint)
                return answer

    async def ask_several(self, ask: Ask[AnswerT]) -> list[Said[AnswerT]]:
        """Ask the first two at once, and then one more at a time until two have said the same."""
        order = await self.someone()
        said = await self.ask_all(order[:AGREE], ask)
        for endpoint in order[AGREE:]:
            if agreement.most_said(said)[1] >= AGREE:
                break
            said.append(await self.say(endpoint, ask))
        return said

    async def ask_all(self, endpoints: Sequence[Endpoint], ask: Ask[AnswerT]) -> list[Said[AnswerT]]:
        """Ask these at once."""
        return list(await asyncio.gather(*(self.say(endpoint, ask) for endpoint in endpoints)))

    async def say(self, endpoint: Endpoint, ask: Ask[AnswerT]) -> Said[AnswerT]:
        """Ask one, with patience."""
        try:
            answer = await endpoint.ask(ask, within_s=self._patience_s, patient=True)
            return Said(endpoint, answer=answer)
        except ChainError as error:
            return Said(endpoint, error=error)

    def needed(self, said: Sequence[Said[Any]]) -> int:
        """Return how many must agree, given who answered when asked."""
        return agreement.needed(len(self.all), sum(not one.is_away for one in said))

    async def look_at_heads(self, endpoints: Sequence[Endpoint]) -> None:
        """Ask for the newest blocks, and see who is behind what enough have reached."""
        said = await self.ask_all(endpoints, lambda client: client.head())
        now = asyncio.get_running_loop().time()
        for one in said:
            if one.answer is not None:
                one.endpoint.saw_head(one.answer, now)
        known = [one for one in self.all if one.head_at > float("-inf")]
        if not known:
            return
        # Of three, a head that one makes up leaves nobody behind.
        count = min(len(known), AGREE if len(self.all) > AGREE else 1)
        reached = agreement.reached([one.head for one in known], count)
        for endpoint in known:
            if endpoint.head >= reached:
                endpoint.behind_since = None
            elif endpoint.behind_since is None:
                endpoint.behind_since = now

    def differ(self, said: Sequence[Said[Any]] | None) -> None:
        """Note that endpoints gave different numbers, None that they gave the same."""
        now = asyncio.get_running_loop().time()
        if said is None:
            self._differing_since = None
            return
        if self._differing_since is None:
            self._differing_since = now
        elif now - self._differing_since > _DIFFERENCE_PASSES_S:
            self.warn("chain.endpoints_differ", said={one.endpoint.name: one.answer for one in said})

    def warn(self, event: str, **what: Any) -> None:
        """Log it, at most once in a while: the lanes ask several times a second."""
        now = asyncio.get_running_loop().time()
        if now - self._warned_at.get(event, float("-inf")) > _WARN_EVERY_S:
            self._warned_at[event] = now
            log.warning(event, **what)

    # The end

    def hurry(self) -> None:
        """Let no request wait for its turn any more."""
        self._is_closing = True
        for endpoint in self.all:
            endpoint.pace.hurry()

    async def close(self) -> None:
        """Release the connections."""
        for endpoint in self.all:
            await endpoint.close()
