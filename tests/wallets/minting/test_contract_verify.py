"""Anybody can compare the code at an address with the committed build. Skipped where there is no anvil."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.anvil import anvil
from tests.wallets.minting.contract_world import OWNER, address_of
from wallets.minting.chain.deploy import deployment_data
from wallets.minting.contract.artifact import load_artifact
from wallets.minting.contract.verify import verify


async def test_code_is_compared_to_the_last_byte(tmp_path: Path) -> None:
    async with anvil(tmp_path) as node:
        (owner, *_) = await node.ask("eth_accounts")
        creation = deployment_data(load_artifact(), base_uri="", treasury=address_of(OWNER))
        receipt = await node.ask(
            "eth_sendTransactionSync", {"from": owner, "data": "0x" + creation.hex(), "gas": hex(4_500_000)}
        )
        address = receipt["contractAddress"]
        told = "\n".join(await verify(node.client, address))
        assert f"owner {owner}".lower() in told.lower()
        assert f"treasury {address_of(OWNER)}" in told
        assert told.endswith("running")
        code = load_artifact().runtime_bytecode
        await node.ask("anvil_setCode", address, "0x" + code.hex()[:-2] + "ff")
        with pytest.raises(ValueError, match=f"{len(code)} bytes"):
            await verify(node.client, address)
        with pytest.raises(ValueError, match="no code"):
            await verify(node.client, owner)
