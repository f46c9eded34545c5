"""Merchants' own contracts for the tests of the lanes: how one is described, and two that run in memory."""

from __future__ import annotations

from typing import Any

from eth_abi.abi import decode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from tests.support.fake_chain import CHAIN_ID, Pooled, State
from tests.wallets.minting.lane_world import World
from wallets.minting.chain.port import Log
from wallets.minting.contract.own_tokens import TRANSFER_SINGLE_TOPIC, TRANSFER_TOPIC
from wallets.minting.own_calls import CallDescription, Standard
from wallets.minting.own_contracts import OwnContract, put_contract
from wallets.minting.requests import define_item

ARMOUR = to_checksum_address("0xde709f2102306220921060314715629080e2fb77")
OUTSIDE = "0x52908400098527886E0F7030069857D2E4169EE7"

ERC1155_MINT = CallDescription(
    Standard.ERC1155, "mint(address,uint256,uint256,bytes)", ("to", "id", "amount", "data"), b"\x07"
)
ERC721_MINT = CallDescription(Standard.ERC721, "safeMint(address)", ("to",))


def a_contract(description: CallDescription = ERC1155_MINT, **changes: Any) -> OwnContract:
    values: dict[str, Any] = {
        "merchant_id": "mer_1",
        "name": "armour",
        "chain_id": CHAIN_ID,
        "address": ARMOUR,
        "description": description,
    }
    return OwnContract(**{**values, **changes})


async def define_own(
    shop: World,
    contract: OwnContract,
    item_number: int = 1,
    *,
    numbered: bool = False,
    first_token_id: int | None = None,
) -> str:
    """Make a merchant's contract and an edition on it known."""

    def unit(uow: Any) -> str:
        contract_id = put_contract(uow, contract)
        define_item(
            uow,
            item_number=item_number,
            sku=f"own-{item_number}",
            cap=None,
            numbered=numbered,
            own_contract_id=contract_id,
            first_token_id=first_token_id,
        )
        return contract_id

    contract_id: str = await shop.store.write(unit)
    return contract_id


class Foreign:
    """A contract that is not ours. ``reverting`` counts the calls it refuses, ``silent`` leaves the event out."""

    def __init__(self, address: str = ARMOUR) -> None:
        self.address = address
        self.reverting = 0
        self.silent = False
        self.calls = 0

    def __call__(self, state: State, tx: Pooled, logs: list[Log]) -> bool:
        self.calls += 1
        if self.reverting:
            self.reverting -= 1
            return False
        held = state.foreign.setdefault(self.address, [])
        to, token_id, topics, data = self.made(tx, len(held))
        held.append((to, token_id))
        if not self.silent:
            logs.append(Log(self.address, topics, data))
        return True

    def made(self, tx: Pooled, count: int) -> tuple[str, int, tuple[bytes, ...], bytes]:
        raise NotImplementedError


class Foreign1155(Foreign):
    """Takes ``mint(address,uint256,uint256,bytes)``."""

    def made(self, tx: Pooled, count: int) -> tuple[str, int, tuple[bytes, ...], bytes]:
        assert tx.data[:4] == keccak(text=ERC1155_MINT.call)[:4]
        to, token_id, amount, data = decode(["address", "uint256", "uint256", "bytes"], tx.data[4:])
        assert data == b"\x07"
        topics = (TRANSFER_SINGLE_TOPIC, _word(tx.sender), bytes(32), _word(to))
        return to_checksum_address(to), token_id, topics, _number(token_id) + _number(amount)


class Foreign721(Foreign):
    """Takes ``safeMint(address)`` and counts its ids itself, from 100."""

    def made(self, tx: Pooled, count: int) -> tuple[str, int, tuple[bytes, ...], bytes]:
        assert tx.data[:4] == keccak(text=ERC721_MINT.call)[:4]
        (to,) = decode(["address"], tx.data[4:])
        token_id = 100 + count
        return (
            to_checksum_address(to),
            token_id,
            (TRANSFER_TOPIC, bytes(32), _word(to), _number(token_id)),
            b"",
        )


def _word(address: str) -> bytes:
    return bytes(12) + bytes.fromhex(address[2:])


def _number(value: int) -> bytes:
    return value.to_bytes(32, "big")
