"""The closed list of what our contract does otherwise than OpenZeppelin's. Everything else is compared by chance."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.solidity import PACKAGES
from tests.wallets.minting.contract_world import TRANSFER_BATCH, TRANSFER_SINGLE, calldata
from tests.wallets.minting.two_contracts import BASE_URI, Outcome, TwoContracts, two_contracts
from wallets.minting.chain.deploy import ZERO_ADDRESS
from wallets.minting.contract import calls
from wallets.minting.contract.calls import MintItem

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs" / "contract.md"
EDITION, OTHER = 7, 8
SINGLE = "safeTransferFrom(address,address,uint256,uint256,bytes)"
BATCH = "safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)"


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[TwoContracts]:
    async with two_contracts(tmp_path, [EDITION, OTHER]) as contracts:
        for edition in (EDITION, OTHER):
            ours, theirs = await contracts.mint(contracts.people[0], edition, 100)
            assert ours.succeeded and theirs.succeeded
        yield contracts


def events(outcome: Outcome) -> list[str]:
    """The kinds of events that the contract itself wrote."""
    names = {f"0x{TRANSFER_SINGLE.hex()}": "TransferSingle", f"0x{TRANSFER_BATCH.hex()}": "TransferBatch"}
    return [names.get(topics[0], "other") for writer, topics, _ in outcome.logs if writer == "contract"]


async def words_of_a_refusal(both: TwoContracts) -> None:
    holder, to = both.people[:2]
    data = "0x" + calldata(SINGLE, holder, to, EDITION, 101, b"").hex()
    said = []
    for contract in (both.ours, both.theirs):
        with pytest.raises(RuntimeError) as refused:
            await both.node.ask("eth_call", {"from": holder, "to": contract, "data": data}, "latest")
        said.append(refused.value.args[0]["data"])
    assert said[0].startswith("0x08c379a0")  # Error(string)
    assert said[1].startswith("0x03dee4c5")  # ERC1155InsufficientBalance(address,uint256,uint256,uint256)


async def mint_that_is_refused(both: TwoContracts) -> None:
    for to in (ZERO_ADDRESS, both.coded["refuses"]):
        ours = await both.to_ours(both.minter, calls.encode_mint(MintItem(1_000, to, EDITION)))
        _, theirs = await both.mint(to, EDITION, 1)
        assert (ours.succeeded, events(ours), theirs.succeeded) == (True, ["other"], False)


async def mint_of_nothing(both: TwoContracts) -> None:
    ours, theirs = await both.mint(both.people[0], EDITION, 0)
    assert (ours.succeeded, theirs.succeeded, events(theirs)) == (False, True, ["TransferSingle"])


async def mint_of_several(both: TwoContracts) -> None:
    to = both.people[0]
    items = [MintItem(2_000, to, EDITION), MintItem(2_001, to, OTHER)]
    ours = await both.to_ours(both.minter, calls.encode_mint_many(items))
    data = calldata("mintBatch(address,uint256[],uint256[])", to, [EDITION, OTHER], [1, 1])
    theirs = await both.to_theirs(both.minter, data)
    assert events(ours) == ["other", "TransferSingle", "other", "TransferSingle"]
    assert events(theirs) == ["TransferBatch"]


async def gas_of_a_recipient(both: TwoContracts) -> None:
    ours, theirs = await both.mint(both.coded["burns gas"], EDITION, 1)
    assert ours.gas_used < 260_000
    assert theirs.gas_used > 16_000_000


async def call_of_a_recipient(both: TwoContracts) -> None:
    holder, to = both.people[0], both.coded["accepts"]
    await both.to_both(holder, SINGLE, holder, to, EDITION, 1, b"")
    # Vyper sends a call with room for the largest data; readers of the ABI do not look behind what they read.
    ours, theirs = await both.node.ask("eth_getLogs", {"fromBlock": "earliest", "address": to})
    assert ours["data"].startswith(theirs["data"])
    assert set(ours["data"][len(theirs["data"]) :]) == {"0"}


async def batch_transfer_of_one(both: TwoContracts) -> None:
    holder, to = both.people[:2]
    ours, theirs = await both.to_both(holder, BATCH, holder, to, [EDITION], [1], b"")
    assert (events(ours), events(theirs)) == (["TransferBatch"], ["TransferSingle"])
    ours, theirs = await both.to_both(holder, BATCH, holder, both.coded["accepts"], [EDITION], [1], b"")
    assert ours.logs[1:] == theirs.logs[1:]  # what the recipient was told


async def batch_transfer_of_many(both: TwoContracts) -> None:
    holder, to = both.people[:2]
    for count, goes in ((64, True), (65, False)):
        ours, theirs = await both.to_both(holder, BATCH, holder, to, [EDITION] * count, [0] * count, b"")
        assert (ours.succeeded, theirs.succeeded) == (goes, True)


async def data_of_a_transfer(both: TwoContracts) -> None:
    holder, to = both.people[:2]
    for size, goes in ((1_024, True), (1_025, False)):
        ours, theirs = await both.to_both(holder, SINGLE, holder, to, EDITION, 1, bytes(size))
        assert (ours.succeeded, theirs.succeeded) == (goes, True)


async def balances_of_many(both: TwoContracts) -> None:
    for count, goes in ((256, True), (257, False)):
        pairs = [[both.people[0]] * count, [EDITION] * count]
        (ours,), (theirs,) = await both.ask_both([("balanceOfBatch(address[],uint256[])", pairs)])
        assert (ours is not None, theirs is not None) == (goes, True)


async def operator_zero(both: TwoContracts) -> None:
    ours, theirs = await both.to_both(both.people[0], "setApprovalForAll(address,bool)", ZERO_ADDRESS, True)
    assert (ours.succeeded, theirs.succeeded) == (True, False)


async def address_of_metadata(both: TwoContracts) -> None:
    own = calls.encode_define(calls.Definition(9, 1, "ipfs://nine"))
    await both.to_ours(both.minter, own)
    (ours,), (theirs,) = await both.ask_both([("uri(uint256)", [9])])
    assert b"ipfs://nine" in bytes.fromhex(ours[2:])
    assert BASE_URI.encode() in bytes.fromhex(theirs[2:])


async def pause(both: TwoContracts) -> None:
    holder, to = both.people[:2]
    await both.to_ours(both.minter, calldata("set_paused(bool)", True))
    ours, theirs = await both.to_both(holder, SINGLE, holder, to, EDITION, 1, b"")
    assert (ours.succeeded, theirs.succeeded) == (False, True)


@dataclass(frozen=True)
class Difference:
    """One row: what it is about, what each side does, and the steps that show it."""

    about: str
    ours: str
    theirs: str
    show: Callable[[TwoContracts], Awaitable[None]]

    @property
    def row(self) -> str:
        """The row of the table in the document."""
        return f"| {self.about} | {self.ours} | {self.theirs} |"


DIFFERENCES = [
    Difference("the words of a refusal", "a short text, `Error(string)`", "custom errors (ERC-6093)", words_of_a_refusal),
    Difference("a mint to the zero address, or to code that refuses", "is skipped with an event, the transaction succeeds", "the transaction fails", mint_that_is_refused),
    Difference("a mint of 0 tokens", "is skipped with an event", "succeeds with a `TransferSingle` of 0", mint_of_nothing),
    Difference("several mints in one transaction", "one `TransferSingle` each", "one `TransferBatch`", mint_of_several),
    Difference("gas of a recipient with code, when minting", "200,000 at most", "whatever the transaction has", gas_of_a_recipient),
    Difference("the call that asks a recipient", "has zeros behind it, up to its largest size", "ends where it ends", call_of_a_recipient),
    Difference("a batch transfer of exactly one id", "`TransferBatch`", "`TransferSingle`", batch_transfer_of_one),
    Difference("ids in a batch transfer", "64 at most", "no bound", batch_transfer_of_many),
    Difference("data of a transfer", "1,024 bytes at most", "no bound", data_of_a_transfer),
    Difference("`balanceOfBatch`", "256 pairs at most", "no bound", balances_of_many),
    Difference("approval of the zero address as operator", "allowed, and without effect", "refused", operator_zero),
    Difference("`uri`", "an edition's own, or the base", "one for all", address_of_metadata),
    Difference("pause by the owner", "stops minting, returns and transfers", "none", pause),
]  # fmt: skip


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.show.__name__)
async def test_difference_is_as_the_table_says(both: TwoContracts, difference: Difference) -> None:
    await difference.show(both)


def test_document_names_every_difference() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert "\n".join(difference.row for difference in DIFFERENCES) in text


def test_versions_compared_with_are_those_that_are_installed() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    document = DOCUMENT.read_text(encoding="utf-8")
    for name, version in PACKAGES.items():
        assert f"{name}@{version}" in script
    assert f"OpenZeppelin's contracts** ({PACKAGES['@openzeppelin/contracts']}," in document
