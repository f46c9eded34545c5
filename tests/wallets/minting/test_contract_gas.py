"""The gas of the contract is what the committed snapshot says, exactly; and it is cheap enough."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.openzeppelin import openzeppelin
from tests.wallets.minting.contract_gas import BATCHES, COMMAND, SNAPSHOT, measure, render, table_in_document
from tests.wallets.minting.contract_world import STRANGER, calldata, open_goods, person
from wallets.minting.chain.embedded_chain import EvmChain
from wallets.minting.contract.artifact import load_artifact


@pytest.fixture(scope="module")
def gas() -> dict[str, int]:
    return measure()


def test_gas_equals_the_snapshot(gas: dict[str, int]) -> None:
    known = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    changed = {
        name: f"{known.get(name)} -> {gas.get(name)}"
        for name in [*known, *gas]
        if known.get(name) != gas.get(name)
    }
    assert not changed, f"if this is wanted, run '{COMMAND}' and look at what changes: {changed}"


def test_table_in_the_document_is_of_the_snapshot() -> None:
    known = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    assert table_in_document() == render(known), f"run '{COMMAND}'"


def test_every_function_that_costs_gas_is_in_the_snapshot(gas: dict[str, int]) -> None:
    functions = {
        entry["name"]
        for entry in load_artifact().abi
        if entry["type"] == "function" and entry["stateMutability"] == "nonpayable"
    }
    assert functions - {"mint_isolated"} == {name.split()[0].rstrip(",") for name in gas} - {"deploy"}


def test_numbered_copies_cost_little_more_than_others(gas: dict[str, int]) -> None:
    for count in BATCHES:
        assert gas[f"mint_many of {count} numbered copies"] < 1.1 * gas[f"mint_many of {count}"]


def test_batch_of_one_hundred_costs_less_than_half_of_plain_erc_721_mints(
    gas: dict[str, int], tmp_path: Path
) -> None:
    chain = EvmChain(tmp_path / "chain.sqlite3")
    goods = open_goods(chain)
    pieces = goods.deploy(openzeppelin("OpenPieces"))
    mints = [calldata("mint(address,uint256)", person(number), number) for number in (1, 2)]
    costs = [goods.transact(STRANGER, data, to=pieces).gas_used for data in mints]
    chain.close()
    for batch in ("mint_many of 100", "mint_many of 100 numbered copies"):
        assert gas[batch] < 0.5 * 100 * costs[-1]
