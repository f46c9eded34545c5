"""What the chain says about who holds tokens of ours, for those who must not wait for it.

A token in a wallet that somebody else controls may have left it without our knowing. Whoever shows such items
asks here: answers are kept for a short while, a question has a second or two, and a node that did not answer
is left alone for some seconds. What nobody answered is simply missing.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.crypto import keccak
from sqlalchemy import bindparam, select

from gateway.kernel.clock import Clock
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Store
from wallets.minting.chain.port import CallReverted, ChainClient, ChainError, ChainRefused
from wallets.minting.own_calls import Standard
from wallets.minting.tables import own_contract

Holding = tuple[int, str, str, int]
"""Chain id, contract, wallet and token id."""

_FRESH_MS = 15_000
"""An answer so old is as good as a new one."""
_USABLE_MS = 10 * 60_000
"""An older one still tells more than none, while the node does not answer; it says of when it is."""
_TIMEOUT_S = 1.5
_QUIET_MS = 5_000
_KEPT = 20_000
_AT_ONCE = 8
_BATCH = 100

_BALANCES = keccak(b"balanceOfBatch(address[],uint256[])")[:4]
_OWNER = keccak(b"ownerOf(uint256)")[:4]
_STANDARDS = Statement(
    select(own_contract.c.address, own_contract.c.standard).where(
        own_contract.c.chain_id == bindparam("chain_id")
    )
)


@dataclass(frozen=True, slots=True)
class Held:
    """How many of a token a wallet holds, and of when that is."""

    amount: int
    at_ms: int


class Holdings:
    """Asks one chain, for one process."""

    def __init__(self, client: ChainClient, chain_id: int, store: Store, clock: Clock) -> None:
        self._client = client
        self._chain_id = chain_id
        self._store = store
        self._clock = clock
        self._known: OrderedDict[Holding, Held] = OrderedDict()
        self._quiet_until_ms = 0
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def held(self, asked: Iterable[Holding]) -> dict[Holding, Held]:
        """Return what is known, within about a second and a half. What is on another chain, and what the
        node does not answer, is missing. Raises nothing that the chain raises."""
        now_ms = self._clock.now_ms()
        ours = {one for one in asked if one[0] == self._chain_id}
        stale = [one for one in ours if not self._is_known(one, now_ms - _FRESH_MS)]
        if stale and now_ms >= self._quiet_until_ms:
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    await self._ask(sorted(stale))
            except (TimeoutError, ChainError):
                self._quiet_until_ms = self._clock.now_ms() + _QUIET_MS
        return {one: self._known[one] for one in ours if self._is_known(one, now_ms - _USABLE_MS)}

    def _is_known(self, one: Holding, since_ms: int) -> bool:
        found = self._known.get(one)
        return found is not None and found.at_ms >= since_ms

    async def _ask(self, asked: list[Holding]) -> None:
        rows = await self._store.read(lambda reader: reader.rows(_STANDARDS, {"chain_id": self._chain_id}))
        single = {row.address.lower() for row in rows if row.standard == Standard.ERC721}
        by_contract: dict[str, list[Holding]] = {}
        for one in asked:
            by_contract.setdefault(one[1], []).append(one)
        questions = []
        for contract, its in by_contract.items():
            if contract.lower() in single:
                questions += [self._owner(one) for one in its]
            else:
                pages = [its[at : at + _BATCH] for at in range(0, len(its), _BATCH)]
                questions += [self._balances(contract, page) for page in pages]
        answers = await asyncio.gather(*questions, return_exceptions=True)
        for answer in answers:
            # One contract that refuses tells nothing of the others; a node that is away does.
            if isinstance(answer, BaseException) and not isinstance(answer, ChainRefused):
                raise answer

    async def _balances(self, contract: str, its: list[Holding]) -> None:
        """ERC-1155: one call for many wallets and tokens."""
        arguments = [[one[2] for one in its], [one[3] for one in its]]
        data = _BALANCES + encode(["address[]", "uint256[]"], arguments)
        async with self._places:
            answer = await self._client.call(contract, data)
        try:
            (amounts,) = decode(["uint256[]"], answer)
        except (DecodingError, OverflowError):
            return  # no such contract there, whatever it is
        if len(amounts) == len(its):
            for one, amount in zip(its, amounts, strict=True):
                self._note(one, amount)

    async def _owner(self, one: Holding) -> None:
        """ERC-721: who has this token. For one that was burned the contract refuses: nobody has it."""
        try:
            async with self._places:
                answer = await self._client.call(one[1], _OWNER + encode(["uint256"], [one[3]]))
            (owner,) = decode(["address"], answer)
        except CallReverted:
            owner = ""
        except (DecodingError, OverflowError):
            return
        self._note(one, int(owner.lower() == one[2].lower()))

    def _note(self, one: Holding, amount: int) -> None:
        self._known[one] = Held(amount, self._clock.now_ms())
        self._known.move_to_end(one)
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
