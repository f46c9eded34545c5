"""Our ERC-1155 contract and OpenZeppelin's on one node: the same call goes to both, the outcomes are compared.

All accounts are unlocked on the node, those with code too, so that anybody can be the sender of a transfer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_abi import decode, encode
from eth_utils import keccak, to_checksum_address

from tests.support.anvil import AnvilNode, anvil
from tests.support.openzeppelin import openzeppelin
from tests.wallets.minting.contract_world import (
    PASSES_ON,
    TRANSFER_BATCH,
    TRANSFER_SINGLE,
    calldata,
    receiver_bytecode,
)
from wallets.minting.chain.deploy import deployment_data
from wallets.minting.contract import calls
from wallets.minting.contract.artifact import load_artifact
from wallets.minting.contract.calls import Definition, MintItem

GAS = 2**24
"""The most a transaction may ask for (EIP-7825)."""
BASE_URI = "https://goods.example/{id}.json"
ROYALTY_BPS = 750

# Runtime code of recipients, by hand so that what they answer is exact. The first puts the whole call of the
# contract into a log: what a hook is told is compared, too.
_LOG_CALL = "365f5f37365fa0"
_SELECTOR = "5f3560e01c60e01b"
CODES = {
    "accepts": f"{_LOG_CALL}{_SELECTOR}5f5260205ff3",
    "accepts at length": f"{_LOG_CALL}{_SELECTOR}5f5260405ff3",
    "refuses": "5f5ffd",
    "refuses with words": "60445ffd",
    "answers nothing": "00",
    "answers one byte": "60015ff3",
    "answers wrong": "60015f5260205ff3",
    "answers with dirt behind the selector": "5f355f5260205ff3",
    "knows only the single hook": "63f23a6e6160e01b5f5260205ff3",
    "burns gas": "5b5f56",
    "breaks": "fe",
}


def _account(number: int) -> str:
    return to_checksum_address((0xC0DE << 32 | number).to_bytes(20, "big"))


@dataclass(frozen=True)
class Outcome:
    """What a call did: whether it went through, and in order every log: who wrote it, topics, data."""

    succeeded: bool
    logs: tuple[tuple[str, tuple[str, ...], str], ...]
    gas_used: int

    @property
    def seen(self) -> tuple[object, ...]:
        """What must be equal on both sides."""
        return self.succeeded, self.logs


class TwoContracts:
    """Both contracts, the accounts, and what both are asked."""

    def __init__(self, node: AnvilNode, people: Sequence[str]) -> None:
        self.node = node
        self.minter, *self.people = people
        self.coded = {name: _account(number) for number, name in enumerate(CODES, 1)}
        self.delegated = _account(100)
        self.delegated_in_vain = _account(101)
        self.relay = ""
        self.ours = self.theirs = ""
        self._purchases = 0

    @property
    def holders(self) -> list[str]:
        """Everybody who may own a token, or may not."""
        return [*self.people, *self.coded.values(), self.delegated, self.delegated_in_vain, self.relay]

    async def set_up(self, editions: Sequence[int]) -> None:
        """Deploy both contracts and the recipients, and define open editions without URIs of their own."""
        creation = deployment_data(
            load_artifact(), base_uri=BASE_URI, royalty_receiver=self.people[0], royalty_bps=ROYALTY_BPS
        )
        self.ours = await self._create(creation)
        arguments = encode(["string", "address", "uint96"], [BASE_URI, self.people[0], ROYALTY_BPS])
        self.theirs = await self._create(openzeppelin("OpenItems") + arguments)
        self.relay = await self._create(receiver_bytecode() + encode(["uint256"], [PASSES_ON]))
        for name, code in CODES.items():
            await self.node.ask("anvil_setCode", self.coded[name], f"0x{code}")
        # Accounts with a key whose owner delegated to code (EIP-7702).
        for account, to in ((self.delegated, "accepts"), (self.delegated_in_vain, "refuses")):
            await self.node.ask("anvil_setCode", account, f"0xef0100{self.coded[to][2:]}")
        for account in self.holders:
            await self.node.ask("anvil_setBalance", account, hex(10**21))
            await self.node.ask("anvil_impersonateAccount", account)
        definitions = [Definition(edition, calls.OPEN_EDITION) for edition in editions]
        assert (await self.to_ours(self.minter, calls.encode_define_many(definitions))).succeeded

    async def _create(self, code: bytes) -> str:
        receipt = await self._send({"from": self.minter, "data": "0x" + code.hex()})
        return to_checksum_address(receipt["contractAddress"])

    async def _send(self, transaction: dict[str, Any]) -> dict[str, Any]:
        receipt: dict[str, Any] = await self.node.ask(
            "eth_sendTransactionSync", {"gas": hex(GAS), **transaction}
        )
        return receipt

    async def _transact(self, contract: str, sender: str, data: bytes, gas: int) -> Outcome:
        receipt = await self._send(
            {"from": sender, "to": contract, "data": "0x" + data.hex(), "gas": hex(gas)}
        )
        names = {contract.lower(): "contract"}
        logs = tuple(
            (
                names.get(log["address"], log["address"]),
                tuple(log["topics"]),
                log["data"] if log["topics"] else _canonical(log["data"]),
            )
            for log in receipt["logs"]
        )
        return Outcome(receipt["status"] == "0x1", logs, int(receipt["gasUsed"], 16))

    async def to_ours(self, sender: str, data: bytes, gas: int = GAS) -> Outcome:
        """Call our contract only."""
        return await self._transact(self.ours, sender, data, gas)

    async def to_theirs(self, sender: str, data: bytes, gas: int = GAS) -> Outcome:
        """Call OpenZeppelin's contract only."""
        return await self._transact(self.theirs, sender, data, gas)

    async def to_both(
        self, sender: str, signature: str, *arguments: Any, gas: int = GAS
    ) -> tuple[Outcome, Outcome]:
        """The same call from the same sender to both."""
        data = calldata(signature, *arguments)
        return await self.to_ours(sender, data, gas), await self.to_theirs(sender, data, gas)

    async def mint(self, to: str, token_id: int, amount: int) -> tuple[Outcome, Outcome]:
        """Mint on both; our own events about purchases are left out, and a skipped purchase counts as refused."""
        (number,) = self.purchase_numbers(1)
        ours = await self.to_ours(self.minter, calls.encode_mint(MintItem(number, to, token_id, amount)))
        theirs = await self.to_theirs(
            self.minter, calldata("mint(address,uint256,uint256)", to, token_id, amount)
        )
        assert ours.succeeded
        return without_purchases(ours), theirs

    def purchase_numbers(self, count: int) -> list[int]:
        """Numbers that were not used before."""
        self._purchases += count
        return list(range(self._purchases - count, self._purchases))

    async def ask_both(self, asked: Sequence[tuple[str, Sequence[Any]]]) -> tuple[list[Any], list[Any]]:
        """Call views of both: the raw answers, None for a refusal."""
        data = ["0x" + calldata(signature, *arguments).hex() for signature, arguments in asked]
        answers = await self.node.ask_many(
            "eth_call",
            [
                [{"to": contract, "data": each}, "latest"]
                for contract in (self.ours, self.theirs)
                for each in data
            ],
        )
        return answers[: len(data)], answers[len(data) :]

    async def held(self, holder: str, token_id: int) -> int:
        """A balance, on our side."""
        (answer,), _ = await self.ask_both([("balanceOf(address,uint256)", [holder, token_id])])
        return int(answer, 16)


_SINGLE_HOOK = "onERC1155Received(address,address,uint256,uint256,bytes)"
_BATCH_HOOK = "onERC1155BatchReceived(address,address,uint256[],uint256[],bytes)"


def _canonical(data: str) -> str:
    """The call of a hook without what our contract sends behind it: Vyper pads a call to its largest size."""
    raw = bytes.fromhex(data[2:])
    for hook in (_SINGLE_HOOK, _BATCH_HOOK):
        exact = calldata(hook, *decode(hook[hook.index("(") + 1 : -1].split(","), raw[4:]))
        if raw.startswith(exact):
            assert not any(raw[len(exact) :])
            return "0x" + exact.hex()
    raise AssertionError(f"not a call of a hook: {data}")


def without_purchases(outcome: Outcome) -> Outcome:
    """Our mint as the standard sees it: nothing but ERC-1155 events, refused if there is none of ours."""
    ours = [f"0x{topic.hex()}" for topic in (calls.PURCHASE_MINTED_TOPIC, calls.PURCHASE_SKIPPED_TOPIC)]
    minted = any(topics and topics[0] == ours[0] for _, topics, _ in outcome.logs)
    logs = tuple(log for log in outcome.logs if not log[1] or log[1][0] not in ours)
    return Outcome(minted, logs, outcome.gas_used)


def transfers(outcome: Outcome) -> list[tuple[str, ...]]:
    """Single transfers that the events tell of: operator, from, to, id, value; a batch counts one by one."""
    found: list[tuple[str, ...]] = []
    for writer, topics, data in outcome.logs:
        if writer != "contract":
            continue
        raw = bytes.fromhex(data[2:])
        if topics[0] == f"0x{TRANSFER_SINGLE.hex()}":
            pairs = [decode(["uint256", "uint256"], raw)]
        elif topics[0] == f"0x{TRANSFER_BATCH.hex()}":
            pairs = list(zip(*decode(["uint256[]", "uint256[]"], raw), strict=True))
        else:
            continue
        found += [(*topics[1:], str(token_id), str(value)) for token_id, value in pairs]
    return found


def interface_id(*signatures: str) -> bytes:
    """The ERC-165 id of an interface: the selectors of its functions, combined with exclusive or."""
    combined = 0
    for signature in signatures:
        combined ^= int.from_bytes(keccak(text=signature)[:4], "big")
    return combined.to_bytes(4, "big")


@asynccontextmanager
async def two_contracts(home: Path, editions: Sequence[int]) -> AsyncIterator[TwoContracts]:
    """Both contracts on a node of their own with the gas cap of a transaction; skips where one is missing."""
    async with anvil(home, "--hardfork", "osaka", "--enable-tx-gas-limit") as node:
        both = TwoContracts(node, (await node.ask("eth_accounts"))[:4])
        await both.set_up(editions)
        yield both
