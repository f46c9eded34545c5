"""Merkle tree hash of a list (RFC 6962, section 2.1): one hash for a day, and short proofs that a row is in
it."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256


def leaf_hash(content: bytes) -> bytes:
    """Return the hash of one row."""
    return sha256(b"\x00" + content).digest()


class MerkleRoot:
    """Takes leaves one by one and keeps one hash per level, so a day of any size needs no memory."""

    def __init__(self) -> None:
        self.count = 0
        self._peaks: list[bytes] = []

    def add(self, content: bytes) -> None:
        """Add the next row."""
        node, number = leaf_hash(content), self.count
        while number & 1:
            node = _node(self._peaks.pop(), node)
            number >>= 1
        self._peaks.append(node)
        self.count += 1

    def root(self) -> str:
        """Return the hash over all rows so far, in hex; that of nothing is the hash of the empty string."""
        if not self._peaks:
            return sha256().hexdigest()
        node = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            node = _node(peak, node)
        return node.hex()


def root_of(leaves: Sequence[bytes]) -> str:
    """Return the root of rows that are all at hand, by the standard's recursive definition."""
    return _tree([leaf_hash(leaf) for leaf in leaves]).hex()


def _tree(hashes: Sequence[bytes]) -> bytes:
    if not hashes:
        return sha256().digest()
    if len(hashes) == 1:
        return hashes[0]
    # The largest power of two below the number of rows goes left.
    split = 1 << ((len(hashes) - 1).bit_length() - 1)
    return _node(_tree(hashes[:split]), _tree(hashes[split:]))


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()
