"""Reading why a contract refused."""

from __future__ import annotations

from eth_abi.abi import decode as abi_decode
from eth_abi.exceptions import DecodingError

_ERROR_STRING = bytes.fromhex("08c379a0")
"""Selector of ``Error(string)``, which Vyper and Solidity return for a failed assertion with a reason."""


def revert_reason(return_data: bytes) -> str:
    """Return the text of ``Error(string)``; empty if the contract gave none or something else."""
    if return_data[:4] != _ERROR_STRING:
        return ""
    try:
        (reason,) = abi_decode(["string"], return_data[4:])
    except DecodingError:
        return ""
    return str(reason)
