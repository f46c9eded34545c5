"""The quicker of two Keccak implementations for the embedded chain."""

from __future__ import annotations

import importlib.util
import os

from eth_hash.auto import keccak


def use_quick_keccak() -> None:
    """Let eth-hash use pysha3 where it is installed: 1 us a hash instead of 5 us, 20 hashes a mint.

    An operator's ``ETH_HASH_BACKEND`` wins. eth-hash reads that variable only at its first hash, which may
    have been made when this is called, so the hasher is replaced in place, as eth-hash does itself after
    its first run.
    """
    if os.environ.get("ETH_HASH_BACKEND") or importlib.util.find_spec("sha3") is None:
        return
    from eth_hash.backends.pysha3 import keccak256

    keccak.hasher = keccak256  # type: ignore[assignment]  # typed as the method that runs first
