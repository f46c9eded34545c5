"""Gas of every function of the contract, in a fixed story on a new chain: the same on every machine.

``python -m tests.wallets.minting.contract_gas`` writes the snapshot and the table in the document anew.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.wallets.minting.contract_world import (
    ACCEPTS,
    EDITION,
    HOLDER,
    MINTER,
    OWNER,
    STRANGER,
    Goods,
    address_of,
    calldata,
    open_goods,
    person,
    signed_return,
)
from wallets.minting.chain.deploy import DEPLOY_GAS, deployment_data
from wallets.minting.chain.embedded_chain import EvmChain
from wallets.minting.contract import calls
from wallets.minting.contract.artifact import load_artifact
from wallets.minting.contract.calls import Definition, MintItem

SNAPSHOT = Path(__file__).with_name("gas_snapshot.json")
DOCUMENT = Path(__file__).parents[3] / "docs" / "contract.md"
COMMAND = "python -m tests.wallets.minting.contract_gas"
BATCHES = (10, 50, 100, 200)
LONG_AFTER = 4_000_000_000
_BEGIN, _END = "<!-- gas: begin -->", "<!-- gas: end -->"


class _Meter:
    """The contract, the gas noted so far, and the next free purchase number and recipient."""

    def __init__(self, goods: Goods) -> None:
        self.goods = goods
        self.gas: dict[str, int] = {}
        self._next = 1

    def note(self, name: str, key: bytes, data: bytes) -> None:
        self.gas[name] = self.goods.transact(key, data).gas_used

    def send(self, key: bytes, signature: str, *arguments: object) -> None:
        self.note(signature[: signature.index("(")], key, calldata(signature, *arguments))

    def items(self, ids: Sequence[int], to: str | None = None) -> list[MintItem]:
        first, self._next = self._next, self._next + len(ids)
        return [
            MintItem(number, to or person(number), token_id) for number, token_id in enumerate(ids, first)
        ]

    def mint(self, name: str, ids: Sequence[int], to: str | None = None) -> list[MintItem]:
        items = self.items(ids, to)
        encoded = calls.encode_mint(items[0]) if len(items) == 1 else calls.encode_mint_many(items)
        self.note(name, MINTER, encoded)
        return items


def measure() -> dict[str, int]:
    """Return the gas of every call of the story, by name. Takes about two seconds."""
    with tempfile.TemporaryDirectory() as folder:
        chain = EvmChain(Path(folder) / "chain.sqlite3")
        try:
            return _measure(open_goods(chain))
        finally:
            chain.close()


def _measure(goods: Goods) -> dict[str, int]:
    meter = _Meter(goods)
    creation = deployment_data(load_artifact(), base_uri="https://goods.example/{id}.json", royalty_bps=500)
    meter.gas["deploy"] = goods.transact(OWNER, creation, to=b"", gas=DEPLOY_GAS).gas_used
    meter.note("define", MINTER, calls.encode_define(Definition(9, 10_000)))
    meter.note("define with a uri", MINTER, calls.encode_define(Definition(10, 10_000, "ipfs://" + "a" * 59)))
    definitions = [Definition(100 + number, 10) for number in range(10)]
    meter.note("define_many of 10", MINTER, calls.encode_define_many(definitions))
    _mints(meter)
    _returns(meter)
    _transfers(meter)
    meter.send(OWNER, "set_minter(address,bool)", address_of(STRANGER), True)
    meter.send(OWNER, "set_paused(bool)", True)
    goods.send(OWNER, "set_paused(bool)", False)
    meter.send(OWNER, "set_treasury(address)", person(1))
    meter.send(OWNER, "set_royalty(address,uint256)", person(1), 250)
    meter.send(OWNER, "set_base_uri(string)", "https://other.example/{id}.json")
    meter.send(OWNER, "set_uri(uint256,string)", EDITION, "ipfs://" + "b" * 59)
    meter.send(OWNER, "transfer_ownership(address)", address_of(STRANGER))
    meter.send(STRANGER, "accept_ownership()")
    return meter.gas


def _mints(meter: _Meter) -> None:
    copies = (calls.numbered_token_id(9, serial) for serial in range(1, 10_000))
    meter.mint("mint, the first of a word of 256 numbers", [EDITION])
    meter.mint("mint", [EDITION])
    meter.goods.mint(*meter.items([next(copies)]))
    meter.mint("mint of a numbered copy", [next(copies)])
    coded = meter.goods.receiver(ACCEPTS)
    meter.goods.mint(*meter.items([EDITION], coded))
    meter.mint("mint to a recipient with code", [EDITION], coded)
    for count in BATCHES:
        meter.mint(f"mint_many of {count}", [EDITION] * count)
        meter.mint(f"mint_many of {count} numbered copies", [next(copies) for _ in range(count)])
    repeated = meter.items([EDITION] * 10)
    meter.goods.mint(*repeated)
    meter.note("mint_many of 10, all minted before", MINTER, calls.encode_mint_many(repeated))


def _returns(meter: _Meter) -> None:
    items = meter.items([EDITION] * 12, address_of(HOLDER))
    meter.goods.mint(*items)
    signed = [signed_return(meter.goods, item.purchase_id, deadline_s=LONG_AFTER) for item in items]
    meter.goods.transact(MINTER, calls.encode_return(signed[0]))
    meter.note("return_to_treasury", MINTER, calls.encode_return(signed[1]))
    meter.note("return_many of 10", MINTER, calls.encode_return_many(signed[2:]))


def _transfers(meter: _Meter) -> None:
    holder, coded = address_of(HOLDER), meter.goods.receiver(ACCEPTS)
    meter.goods.mint(*meter.items([EDITION] * 20, holder))
    ids = [calls.numbered_token_id(9, 9_000 + number) for number in range(10)]
    meter.goods.mint(*meter.items(ids, holder))
    meter.send(HOLDER, "setApprovalForAll(address,bool)", person(1), True)
    single = "safeTransferFrom(address,address,uint256,uint256,bytes)"
    meter.send(HOLDER, single, holder, person(60_001), EDITION, 1, b"")
    data = calldata(single, holder, coded, EDITION, 1, b"")
    meter.note("safeTransferFrom to a recipient with code", HOLDER, data)
    batch = "safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)"
    data = calldata(batch, holder, person(60_002), ids, [1] * 10, b"")
    meter.note("safeBatchTransferFrom of 10 ids", HOLDER, data)


def render(gas: dict[str, int]) -> str:
    """The table of the document."""
    lines = ["| call | gas | per item |", "|---|---:|---:|"]
    for name, used in gas.items():
        counted = re.search(r"(?:_many|From) of (\d+)", name)
        each = f"{round(used / int(counted[1])):,}" if counted else ""
        words = re.sub(r"^(\w+)", r"`\1`" if name != "deploy" else r"\1", name)
        lines.append(f"| {words} | {used:,} | {each} |")
    return "\n".join([_BEGIN, *lines, _END])


def table_in_document() -> str:
    """What stands between the two comments, with them."""
    text = DOCUMENT.read_text(encoding="utf-8")
    return text[text.index(_BEGIN) : text.index(_END) + len(_END)]


def main() -> None:
    """Write the snapshot and the table."""
    gas = measure()
    SNAPSHOT.write_text(json.dumps(gas, indent=1) + "\n", encoding="utf-8")
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(text.replace(table_in_document(), render(gas)), encoding="utf-8")


if __name__ == "__main__":
    main()
