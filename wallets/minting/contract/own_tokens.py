"""Calldata and events of merchants' own ERC-1155 and ERC-721 contracts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from wallets.minting.chain.port import Log
from wallets.minting.own_calls import CallDescription, Placeholder, Standard

TRANSFER_TOPIC = keccak(text="Transfer(address,address,uint256)")
TRANSFER_SINGLE_TOPIC = keccak(text="TransferSingle(address,address,address,uint256,uint256)")
_NOBODY = bytes(32)


def encode_own(description: CallDescription, given: Mapping[Placeholder, Any]) -> bytes:
    """Return the calldata of one mint."""
    types, values = description.values(given)
    return keccak(text=description.call)[:4] + encode(types, values)


def minted_id(
    logs: Iterable[Log],
    standard: Standard,
    contract: str,
    recipient: str,
    *,
    token_id: int | None,
    amount: int,
) -> int | None:
    """Return the id of the token that the contract says it made for the recipient; None if it says of none.

    A token is made by a transfer from the zero address (EIP-721, EIP-1155). ``token_id`` None: the contract
    chose it.
    """
    to = bytes(12) + bytes.fromhex(recipient[2:])
    for log in logs:
        if log.address.lower() != contract.lower():
            continue
        found = _transfer(log) if standard is Standard.ERC721 else _transfer_single(log)
        if found is None:
            continue
        source, target, made, of = found
        if (source, target, of) == (_NOBODY, to, amount) and token_id in (None, made):
            return made
    return None


def _transfer(log: Log) -> tuple[bytes, bytes, int, int] | None:
    # ERC-20 has the same event with the value in its data; an ERC-721 id is a topic.
    if len(log.topics) != 4 or log.topics[0] != TRANSFER_TOPIC:
        return None
    return log.topics[1], log.topics[2], int.from_bytes(log.topics[3], "big"), 1


def _transfer_single(log: Log) -> tuple[bytes, bytes, int, int] | None:
    if len(log.topics) != 4 or log.topics[0] != TRANSFER_SINGLE_TOPIC or len(log.data) != 64:
        return None
    made, of = int.from_bytes(log.data[:32], "big"), int.from_bytes(log.data[32:], "big")
    return log.topics[2], log.topics[3], made, of
