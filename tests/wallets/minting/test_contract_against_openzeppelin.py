"""Our ERC-1155 contract does what OpenZeppelin's does, step by step, but for a closed list of differences."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.chance import seeds
from tests.wallets.minting.contract_world import calldata
from tests.wallets.minting.two_contracts import Outcome, TwoContracts, interface_id, transfers, two_contracts
from wallets.minting.chain.deploy import ZERO_ADDRESS
from wallets.minting.contract import calls
from wallets.minting.contract.calls import MintItem

STEPS = 250
EDITIONS = [0, 7, calls.MAX_EDITION]
IDS = [*EDITIONS, calls.numbered_token_id(7, 1), 404, 2**256 - 1]
HUGE = 2**256 - 1

SINGLE = "safeTransferFrom(address,address,uint256,uint256,bytes)"
BATCH = "safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)"
APPROVE = "setApprovalForAll(address,bool)"
BALANCE = "balanceOf(address,uint256)"
BALANCES = "balanceOfBatch(address[],uint256[])"
APPROVED = "isApprovedForAll(address,address)"
SUPPORTS = "supportsInterface(bytes4)"
ROYALTY = "royaltyInfo(uint256,uint256)"

ERC_1155 = interface_id(SINGLE, BATCH, APPROVE, BALANCE, BALANCES, APPROVED)
ERC_1155_URI = interface_id("uri(uint256)")
ERC_2981 = interface_id(ROYALTY)
ERC_165 = interface_id(SUPPORTS)
ERC_721 = bytes.fromhex("80ac58cd")


class Story:
    """Steps by chance. After each the outcomes are equal, and everything both can be asked is equal."""

    def __init__(self, both: TwoContracts, chance: random.Random) -> None:
        self.both = both
        self.chance = chance
        self.succeeded = self.refused = 0
        self._steps: list[Callable[[], Awaitable[tuple[Outcome, Outcome]]]] = [
            self._mint, self._mint_batch, self._transfer, self._transfer, self._transfer,
            self._transfer_batch, self._transfer_batch, self._approve,
        ]  # fmt: skip

    async def step(self) -> None:
        ours, theirs = await self.chance.choice(self._steps)()
        assert ours.seen == theirs.seen
        self.succeeded += ours.succeeded
        self.refused += not ours.succeeded
        await self.compare_balances()

    async def compare_balances(self) -> None:
        holders = self.both.holders
        asked: list[tuple[str, list[Any]]] = [
            (BALANCES, [holders, [token_id] * len(holders)]) for token_id in IDS
        ]
        # All pairs of people, and those with code who have been chosen for one step.
        owners = [*self.both.people, self.chance.choice(holders)]
        asked += [(APPROVED, [owner, operator]) for owner in owners for operator in owners]
        asked += [self._question() for _ in range(4)]
        ours, theirs = await self.both.ask_both(asked)
        for (signature, arguments), our_answer, their_answer in zip(asked, ours, theirs, strict=True):
            assert our_answer == their_answer, (signature, arguments)

    def _question(self) -> tuple[str, list[Any]]:
        number = self.chance.choice([*IDS, self.chance.randrange(2**256)])
        price = self.chance.choice([0, 1, 9_999, 10_001, 2**128, HUGE, self.chance.randrange(2**256)])
        known = [ERC_165, ERC_1155, ERC_1155_URI, ERC_2981, ERC_721, b"\xff" * 4, bytes(4)]
        return self.chance.choice(
            [
                (BALANCE, [self.chance.choice([*self.both.holders, ZERO_ADDRESS]), number]),
                (BALANCES, [self.both.people[:2], IDS[: self.chance.randrange(4)]]),
                (SUPPORTS, [self.chance.choice([*known, self.chance.randbytes(4)])]),
                (ROYALTY, [number, price]),
                ("uri(uint256)", [number]),
            ]
        )

    # Steps

    async def _mint(self) -> tuple[Outcome, Outcome]:
        to = self.chance.choice([*self.both.holders, ZERO_ADDRESS])
        return await self.both.mint(to, self.chance.choice(EDITIONS), self.chance.randint(1, 9))

    async def _mint_batch(self) -> tuple[Outcome, Outcome]:
        """Several purchases of one customer in one transaction; the events tell the same, ours one by one."""
        to = self.chance.choice(self.both.people)
        ids = self.chance.choices(EDITIONS, k=self.chance.randint(1, 6))
        amounts = [self.chance.randint(1, 9) for _ in ids]
        numbers = self.both.purchase_numbers(len(ids))
        items = [MintItem(number, to, *pair) for number, *pair in zip(numbers, ids, amounts, strict=True)]
        ours = await self.both.to_ours(self.both.minter, calls.encode_mint_many(items))
        signature = "mintBatch(address,uint256[],uint256[])"
        theirs = await self.both.to_theirs(self.both.minter, calldata(signature, to, ids, amounts))
        assert transfers(ours) == transfers(theirs)
        return theirs, theirs

    async def _transfer(self) -> tuple[Outcome, Outcome]:
        operator, owner, to = await self._parties()
        token_id = self.chance.choice(IDS)
        return await self.both.to_both(
            operator, SINGLE, owner, to, token_id, await self._amount(owner, token_id), self._data()
        )

    async def _transfer_batch(self) -> tuple[Outcome, Outcome]:
        operator, owner, to = await self._parties()
        # With one id the two differ, see below.
        ids = self.chance.choices(IDS[:3], k=self.chance.choice([0, 2, 2, 3, 5, 64]))
        most = 2 if len(ids) < 9 else 0
        amounts = [self.chance.randint(0, most) for _ in ids]
        if self.chance.random() < 0.1:
            amounts.append(0)
        return await self.both.to_both(operator, BATCH, owner, to, ids, amounts, self._data())

    async def _approve(self) -> tuple[Outcome, Outcome]:
        owner, operator = self.chance.choices(self.both.holders, k=2)
        return await self.both.to_both(owner, APPROVE, operator, self.chance.random() < 0.7)

    async def _parties(self) -> tuple[str, str, str]:
        owner = self.chance.choice(self.both.holders)
        operator = owner if self.chance.random() < 0.7 else self.chance.choice(self.both.holders)
        return operator, owner, self.chance.choice([*self.both.holders, owner, ZERO_ADDRESS])

    async def _amount(self, owner: str, token_id: int) -> int:
        held = await self.both.held(owner, token_id)
        return self.chance.choice([0, 1, held, held, held + 1, HUGE, self.chance.randint(0, held)])

    def _data(self) -> bytes:
        return self.chance.randbytes(self.chance.choice([0, 0, 1, 32, 33, 1024]))


@pytest.mark.parametrize("seed", seeds())
async def test_random_steps_end_alike_on_both(tmp_path: Path, seed: int) -> None:
    async with two_contracts(tmp_path, EDITIONS) as both:
        story = Story(both, random.Random(seed))
        for _ in range(STEPS):
            await story.step()
        assert min(story.succeeded, story.refused) > STEPS // 10
