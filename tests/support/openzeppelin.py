"""OpenZeppelin's contracts, compiled for the tests that compare ours with them."""

from __future__ import annotations

import pytest

from bench.solidity import missing, open_contract


def openzeppelin(contract: str) -> bytes:
    """Return the creation code of ``bench/contracts/<contract>.sol``; skips the test where it cannot be compiled."""
    code = open_contract(contract)
    if code is None:
        pytest.skip(f"no Solidity compiler or no OpenZeppelin contracts: {missing()}")
    return code
