"""What the validator is asked, as code that a node runs in a read call, and what it answered."""

from __future__ import annotations

import json
from enum import IntEnum
from functools import cache
from pathlib import Path

from eth_abi.abi import decode, encode
from eth_utils.crypto import keccak

MOST_BYTES = 8_192
"""Of a signature, and of what a factory is called with."""
DEPLOY_GAS = 3_000_000
CHECK_GAS = 2_000_000
"""A signature by a P-256 key checked in the contract's own code takes a sixth of this."""

NOBODY = "0x0000000000000000000000000000000000000000"

_ANSWER = keccak(text="vitrine validator 1")
_INPUTS = ["address", "bytes32", "bytes", "address", "bytes", "uint256", "uint256"]


class Verdict(IntEnum):
    """What the account said; the numbers are the validator's."""

    NO_CODE = 0
    INVALID = 1
    VALID = 2


@cache
def _creation_code() -> bytes:
    text = Path(__file__).with_name("validator.json").read_text(encoding="utf-8")
    return bytes.fromhex(json.loads(text)["bytecode"].removeprefix("0x"))


def question(
    account: str, digest: bytes, signature: bytes, *, factory: str = NOBODY, factory_data: bytes = b""
) -> bytes:
    """Return the code to run. Nothing may be above `MOST_BYTES`. Never send it as a transaction."""
    values = [account, digest, signature, factory, factory_data, DEPLOY_GAS, CHECK_GAS]
    return _creation_code() + encode(_INPUTS, values)


def answer(returned: bytes) -> Verdict | None:
    """Read the revert data of that code; None if they are not the validator's."""
    if len(returned) != 64 or returned[:32] != _ANSWER:
        return None
    (number,) = decode(["uint256"], returned[32:])
    return next((verdict for verdict in Verdict if verdict == number), None)
