"""Several endpoints of one chain as one ChainClient: the first that is well is asked, and no single one is
believed in what cannot be taken back.

Reads go to the first endpoint of the list that is well (`endpoints`). One that times out, disconnects, or
answers with something else than JSON-RPC is set aside, with growing pauses, and must name its chain before it
is asked again. One that says "too many requests" is asked more slowly (`pacing`).

Signed bytes go to all endpoints: the same bytes twice have no effect, and an endpoint that takes them and
keeps them to itself then holds up nothing.

An endpoint may also lie, or lag behind. What a lie can do, and what is done about it:

    answer                      a lie would                        so
    chain id                    have us sign for another chain     most must agree; the odd one is never used
    head, nonce of an account   make final what is not             only as high as two endpoints say
    state of the contract       mint for nothing, or not at all    two endpoints must say the same
    code at an address          hide or invent the contract        two endpoints must say the same
    fees                        burn money, or delay               the lower of two, the middle of three
    a receipt, made up          name a wrong reason                nonce and contract decide, not the receipt
    a receipt, missing, or      have a merchant's contract called  the others are asked too, success wins;
      that says reverted        again, or delay                    of three or more two must answer
    bytes taken and kept        delay                              the others have them
    balance, block hash         stop a first start; nothing        it is believed

With one endpoint it is believed in everything. With two, both must agree; while one is away, or has been
behind without moving for two minutes, the other is believed alone. With three or more, two must always agree,
so that one may lie or be away at any time; with fewer to ask, nothing becomes final until they are back. A
disagreement that no third endpoint settles is ChainUnavailable: it delays, and is logged.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, Self, TypeVar

from wallets.minting.chain import agreement
from wallets.minting.chain.agreement import Said
from wallets.minting.chain.endpoint import Ask, Endpoint
from wallets.minting.chain.endpoints import Endpoints
from wallets.minting.chain.port import AlreadyKnown, ChainClient, ChainUnavailable, Fees, Receipt

AnswerT = TypeVar("AnswerT")

_HEAD_GOOD_FOR_S = 0.2
_OTHER_HEADS_GOOD_FOR_S = 1.0
_FEES_GOOD_FOR_S = 1.0
_NONCE_GOOD_FOR_S = 5.0
"""So long one endpoint is asked for a nonce that enough have confirmed, unless it says something else."""
_DOUBTED_FOR_S = 10.0
_LIAR_ASIDE_S = 60.0
_REMEMBERED = 1_000


class FailoverChain:
    """A ChainClient over other clients, the preferred first. It owns them: `close` closes them."""

    def __init__(
        self,
        clients: Sequence[ChainClient],
        *,
        remembered: int | None = None,
        patience_s: float = 30.0,
        stale_after_s: float = 120.0,
    ) -> None:
        """``remembered`` is the chain's id where it is known from before: it is used if no endpoint answers.

        ``patience_s`` is how long a request waits for an endpoint that wants fewer requests;
        ``stale_after_s`` how long one may be behind the others without moving before it is as good as away.
        """
        self._several = Endpoints(
            clients, remembered=remembered, patience_s=patience_s, stale_after_s=stale_after_s
        )
        self._head = 0
        self._nonces: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """The nonces that enough endpoints have confirmed, and when."""
        self._shared: dict[Hashable, tuple[float, asyncio.Future[Any]]] = {}
        self._under_way: set[asyncio.Task[Any]] = set()

    @classmethod
    def of(cls, addresses: Sequence[str], *, remembered: int | None = None) -> Self:
        """Return the chain behind JSON-RPC endpoints at these addresses, the preferred first."""
        from wallets.minting.chain.jsonrpc import JsonRpcChain

        return cls([JsonRpcChain(address) for address in addresses], remembered=remembered)

    async def chain_id(self) -> int:
        """See ChainClient. The id that most endpoints name; those of another chain are never asked again.

        Raises ChainRefused if as many name one chain as another: the list is wrong, and nothing is signed.
        """
        return await self._several.chain_id()

    # Reading

    async def head(self) -> int:
        """See ChainClient. The newest block that enough endpoints have.

        The last such one while too few answer: then nothing becomes final, and minting goes on.
        """
        return await self._once("head", _HEAD_GOOD_FOR_S, self._agreed_head)

    async def block_hash(self, number: int) -> bytes | None:
        """See ChainClient."""
        return await self._several.read(lambda client: client.block_hash(number))

    async def nonce(self, address: str, block: int | None = None) -> int:
        """See ChainClient. No higher than enough endpoints say."""
        if block is not None:
            return await self._reached(lambda client: client.nonce(address, block))
        # Asked at every turn of a lane, so mostly of one endpoint.
        found = await self._several.read(lambda client: client.nonce(address))
        if len(self._several.all) == 1:
            return found
        now = asyncio.get_running_loop().time()
        confirmed, at = self._nonces.get(address, (-1, now))
        if found != confirmed or now - at > _NONCE_GOOD_FOR_S:
            found = await self._reached(lambda client: client.nonce(address))
            self._nonces[address] = found, now
            self._nonces.move_to_end(address)
            if len(self._nonces) > _REMEMBERED:
                self._nonces.popitem(last=False)
        return found

    async def balance(self, address: str) -> int:
        """See ChainClient."""
        return await self._several.read(lambda client: client.balance(address))

    async def call(self, to: str | None, data: bytes, block: int | None = None) -> bytes:
        """See ChainClient. As enough endpoints say."""
        return await self._same(lambda client: client.call(to, data, block), is_deep=block is not None)

    async def code(self, address: str) -> bytes:
        """See ChainClient. As enough endpoints say."""
        return await self._same(lambda client: client.code(address), is_deep=False)

    async def receipt(self, tx_hash: bytes) -> Receipt | None:
        """See ChainClient. One word is enough: who asks believes account and contract more than a receipt.

        But where one endpoint has none, or says that the transaction was reverted, another may know better,
        and of three or more that one is not believed alone.
        """
        asked: set[Endpoint] = set()
        found = await self._several.read(lambda client: client.receipt(tx_hash), asked)
        answering = 1
        for endpoint in self._several.usable():
            if found is not None and found.succeeded:
                return found
            if endpoint not in asked:
                said = await self._several.say(endpoint, lambda client: client.receipt(tx_hash))
                answering += said.error is None
                found = said.answer if found is None or (said.answer and said.answer.succeeded) else found
        is_success = found is not None and found.succeeded
        if not is_success and answering < agreement.needed(len(self._several.all), answering):
            raise ChainUnavailable("too few endpoints tell what became of a transaction")
        return found

    async def fees(self) -> Fees:
        """See ChainClient. The lower offer of two endpoints, the middle one of three.

        Too low a fee is raised when the transaction does not get into a block; too high a one is gone.
        """
        return await self._once("fees", _FEES_GOOD_FOR_S, self._middle_fees)

    async def _middle_fees(self) -> Fees:
        if len(self._several.all) == 1:
            return await self._several.read(lambda client: client.fees())
        some = (await self._several.someone())[:3]
        said = await self._several.ask_all(some, lambda client: client.fees())
        offers = sorted(agreement.answers(said), key=lambda fees: fees.max_fee)
        if not offers:
            raise agreement.why_not(said)
        return offers[(len(offers) - 1) // 2]

    # Sending

    async def send_raw(self, raw: bytes) -> bytes:
        """See ChainClient. To every endpoint that is well; returns when one of them has taken it.

        The others are not waited for. The refusals of all are needed before it counts as refused.
        """
        await self._several.someone()
        tasks = {
            asyncio.create_task(self._several.say(endpoint, lambda client: client.send_raw(raw)))
            for endpoint in self._several.well()
        }
        self._under_way |= tasks
        for task in tasks:
            task.add_done_callback(self._under_way.discard)
        said: list[Said[bytes]] = []
        for finished in asyncio.as_completed(tasks):
            one = await finished
            if one.answer is not None:
                return one.answer
            if isinstance(one.error, AlreadyKnown):
                raise one.error
            said.append(one)
        raise agreement.refusal(said)

    # The end

    def hurry(self) -> None:
        """Let no request wait for its turn any more: the gateway stops."""
        self._several.hurry()

    async def close(self) -> None:
        """Release the connections."""
        self.hurry()
        waiting = [*self._under_way, *(task for _, task in self._shared.values())]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        self._shared.clear()
        await self._several.close()

    # One answer out of several

    async def _agreed_head(self) -> int:
        loop = asyncio.get_running_loop()
        preferred, *others = await self._several.someone()
        await self._several.look_at_heads(
            [preferred, *(one for one in others if loop.time() - one.head_at > _OTHER_HEADS_GOOD_FOR_S)]
        )
        heads = [one.head for one in self._several.usable() if one.head_at > float("-inf")]
        needed = agreement.needed(len(self._several.all), len(heads))
        if len(heads) >= needed:
            self._head = agreement.reached(heads, needed)
        else:
            self._several.warn("chain.head_not_agreed", answering=len(heads), needed=needed)
        return self._head

    async def _reached(self, ask: Ask[int]) -> int:
        """Return the highest number that enough endpoints have reached."""
        said = await self._several.ask_several(ask)
        numbers = agreement.answers(said)
        needed = self._several.needed(said)
        if len(numbers) < needed:
            raise agreement.why_not(said)
        found = agreement.reached(numbers, needed)
        if len(set(numbers)) == 1:
            self._several.differ(None)
            return found
        # One lags or lies. Of three it is known which; of two, only time tells.
        self._several.differ(said)
        for one in said:
            if one.answer is not None and one.answer < found:
                one.endpoint.doubted_until = asyncio.get_running_loop().time() + _DOUBTED_FOR_S
        await self._several.look_at_heads(self._several.usable())
        return found

    async def _same(self, ask: Ask[bytes], *, is_deep: bool) -> bytes:
        """Return the answer that enough endpoints give, or raise CallReverted if that is what they say."""
        said = await self._several.ask_several(ask)
        chosen, votes = agreement.most_said(said)
        voters = [one for one in said if one.verdict is not None]
        if votes < self._several.needed(said):
            if len(voters) > 1:
                self._several.warn(
                    "chain.endpoints_disagree", endpoints=[one.endpoint.name for one in voters]
                )
                raise ChainUnavailable("the endpoints disagree about the state of the contract")
            raise agreement.why_not(said)
        for one in voters:
            # The newest state may differ for a moment; that of an earlier block may not.
            if is_deep and one.verdict != chosen:
                one.endpoint.set_aside(_LIAR_ASIDE_S, "it disagrees with the others about an earlier block")
        winner = next(one for one in voters if one.verdict == chosen)
        if winner.answer is None:
            assert winner.error is not None
            raise winner.error
        return winner.answer

    async def _once(
        self, key: Hashable, good_for_s: float, work: Callable[[], Awaitable[AnswerT]]
    ) -> AnswerT:
        """Do once what many lanes ask for at a time, and let them share the answer for a moment."""
        now = asyncio.get_running_loop().time()
        at, task = self._shared.get(key, (float("-inf"), None))
        if task is None or (task.done() and (now - at > good_for_s or not _has_answer(task))):
            task = asyncio.ensure_future(work())
            self._shared[key] = now, task
        answer: AnswerT = await asyncio.shield(task)
        return answer


def _has_answer(task: asyncio.Future[Any]) -> bool:
    return not task.cancelled() and task.exception() is None
