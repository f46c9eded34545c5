"""py-evm's state tries with a quicker reading and writing of their nodes, and the same roots.

Half of what is left of a mint's time goes into the general RLP codec: every new balance re-encodes some
four nodes, each a list of 17 short byte strings. Those are read and written here directly; any other shape
goes to the general codec. The classes below only put that trie in the places where py-evm makes its own.
Tests compare roots with py-evm's. Encoding: Ethereum yellow paper, appendix B (RLP) and D (trie).
"""

from __future__ import annotations

from typing import Any

import rlp
from eth.db.accesslog import KeyAccessLoggerDB
from eth.db.account import AccountDB
from eth.db.batch import BatchDB
from eth.db.cache import CacheDB
from eth.db.hash_trie import HashTrie
from eth.db.journal import JournalDB
from eth.db.storage import AccountStorageDB, StorageLookup
from eth_hash.auto import keccak
from rlp.codec import encode_raw
from trie.constants import BLANK_NODE, BLANK_NODE_HASH
from trie.hexary import HexaryTrie


def decode_node(encoded: bytes) -> list[Any]:
    """Return the items of a trie node: byte strings, or a list for a node small enough to stand inside."""
    prefix = encoded[0]
    position = 1 if prefix < 0xF8 else prefix - 0xF6
    end = len(encoded)
    items = []
    while position < end:
        head = encoded[position]
        position += 1
        if head == 0xA0:  # a hash of 32 bytes, by far the commonest
            items.append(encoded[position : position + 32])
            position += 32
        elif head == 0x80:
            items.append(b"")
        elif head < 0x80:
            items.append(encoded[position - 1 : position])
        elif head < 0xB8:
            size = head - 0x80
            items.append(encoded[position : position + size])
            position += size
        else:
            decoded: list[Any] = rlp.decode(encoded)
            return decoded
    return items


def encode_node(node: list[Any]) -> bytes:
    """Return the RLP of a trie node."""
    parts = []
    for item in node:
        if item.__class__ is not bytes:
            parts.append(encode_raw(item))
            continue
        size = len(item)
        if size == 32:
            parts.append(b"\xa0" + item)
        elif not size:
            parts.append(b"\x80")
        elif size < 56 and (size > 1 or item[0] >= 0x80):
            parts.append(bytes((0x80 + size,)) + item)
        else:
            parts.append(encode_raw(item))
    body = b"".join(parts)
    size = len(body)
    if size < 56:
        return bytes((0xC0 + size,)) + body
    width = (size.bit_length() + 7) // 8
    return bytes((0xF7 + width,)) + size.to_bytes(width, "big") + body


class QuickTrie(HexaryTrie):
    """A HexaryTrie that reads and writes its nodes with the functions above."""

    def get_node(self, node_hash: Any) -> Any:
        """Return the node behind a hash, or the one that stands in place of its hash."""
        if node_hash in (BLANK_NODE, BLANK_NODE_HASH):
            return BLANK_NODE
        if isinstance(node_hash, list):
            return node_hash
        return decode_node(self.db[node_hash])

    def _node_to_db_mapping(self, node: Any) -> tuple[Any, bytes | None]:
        if node == BLANK_NODE:
            return BLANK_NODE, None
        encoded = encode_node(node)
        if len(encoded) < 32:
            return node, None
        return keccak(encoded), encoded


class _Storage(StorageLookup):  # type: ignore[misc]  # py-evm is seen untyped
    _trie_nodes_batch: Any
    _write_trie: Any

    def _get_write_trie(self) -> Any:
        if self._trie_nodes_batch is None:
            self._trie_nodes_batch = BatchDB(self._db, read_through_deletes=True)
        if self._write_trie is None:
            self._write_trie = QuickTrie(
                self._trie_nodes_batch, root_hash=self._starting_root_hash, prune=True
            )
        return self._write_trie

    def _get_read_trie(self) -> Any:
        if self._write_trie is not None:
            return self._write_trie
        return QuickTrie(self._db, root_hash=self._starting_root_hash)


class _AccountStorage(AccountStorageDB):  # type: ignore[misc]  # py-evm is seen untyped
    def __init__(self, db: Any, storage_root: bytes, address: bytes) -> None:
        super().__init__(db, storage_root, address)
        self._storage_lookup = _Storage(db, storage_root, address)
        self._storage_cache = CacheDB(self._storage_lookup)
        self._locked_changes = JournalDB(self._storage_cache)
        self._journal_storage = JournalDB(self._locked_changes)


class QuickAccounts(AccountDB):  # type: ignore[misc]  # py-evm is seen untyped
    """AccountDB over quick tries."""

    def __init__(self, db: Any, state_root: bytes = BLANK_NODE_HASH) -> None:
        super().__init__(db, state_root)
        self._trie = HashTrie(QuickTrie(self._batchtrie, state_root, prune=True))
        self._trie_logger = KeyAccessLoggerDB(self._trie, log_missing_keys=False)
        self._trie_cache = CacheDB(self._trie_logger)
        self._journaltrie = JournalDB(self._trie_cache)

    def _get_address_store(self, address: bytes) -> Any:
        if address not in self._account_stores:
            root = self._get_storage_root(address)
            self._account_stores[address] = _AccountStorage(self._raw_store_db, root, address)
        return self._account_stores[address]
