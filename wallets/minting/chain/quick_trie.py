"""py-evm's state tries with a quicker reading and writing of their nodes, and the same roots.

Every new balance changes some four nodes, most of them lists of 17 short byte strings. Those are read and
written here directly; any other shape goes to the general codec. And they are written once per block, not
once per balance. The classes below only put that trie in the places where py-evm makes its own.
Tests compare roots with py-evm's. Encoding: Ethereum yellow paper, appendix B (RLP) and D (trie).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

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
    """A HexaryTrie that hashes its nodes when somebody asks for the root, not at every change.

    A changed node stands in its parent as a list until then, as a node of less than 32 bytes always does, so
    the rest of py-trie's algorithms serve as they are. A block's changes share the upper nodes: each is
    written and hashed once. For the same reason there are no nodes in between to prune.
    """

    __slots__ = ("_changed_root", "_sealed_hash")

    _changed_root: Any
    """The root node since the first change after `_sealed_hash`, None before it."""
    _sealed_hash: bytes
    # The inner functions that are used as they are; py-trie leaves them untyped.
    _delete: Callable[..., Any]
    _raise_missing_node: Callable[..., NoReturn]

    def __init__(self, db: Any, root_hash: bytes = BLANK_NODE_HASH) -> None:
        super().__init__(db, root_hash)

    @property
    def root_hash(self) -> bytes:
        """The root's hash; every node of the trie is in the database then."""
        if self._changed_root is not None:
            root, self._changed_root = self._changed_root, None
            self._sealed_hash = BLANK_NODE_HASH if root == BLANK_NODE else self._store(self._sealed(root))
        return self._sealed_hash

    @root_hash.setter
    def root_hash(self, root_hash: bytes) -> None:
        self._sealed_hash = root_hash
        self._changed_root = None

    def get(self, key: bytes) -> bytes:
        """Return the value of a key, empty if it has none."""
        path, position = _nibbles(key), 0
        try:
            node = self._root()
            while node != BLANK_NODE:
                if len(node) == 17:
                    if position == len(path):
                        break
                    node = self.get_node(node[path[position]])
                    position += 1
                    continue
                prefixed = _nibbles(node[0])
                rest = prefixed[1:] if prefixed[0] & 1 else prefixed[2:]
                if prefixed[0] >= 2:  # a leaf
                    return node[1] if path[position:] == rest else BLANK_NODE
                if path[position : position + len(rest)] != rest:
                    return BLANK_NODE
                node = self.get_node(node[1])
                position += len(rest)
        except KeyError as error:
            self._raise_missing_node(error, key)
        return node[16] if node else BLANK_NODE

    def set(self, key: bytes, value: bytes) -> None:
        """Set the value of a key; an empty one deletes it."""
        path = tuple(_nibbles(key))
        try:
            root = self._root()
            self._changed_root = self._set(root, path, value) if value else self._delete(root, path)
        except KeyError as error:
            self._raise_missing_node(error, key)

    def delete(self, key: bytes) -> None:
        """Delete a key; nothing happens if it has no value."""
        self.set(key, b"")

    @contextmanager
    def squash_changes(self) -> Iterator[QuickTrie]:
        """Take back what is changed within when it raises. The changes are gathered in any case."""
        before = self.root_hash
        try:
            yield self
        except BaseException:
            self.root_hash = before
            raise

    def get_node(self, node_hash: Any) -> Any:
        """Return the node behind a hash, or the one that stands in place of its hash."""
        if node_hash in (BLANK_NODE, BLANK_NODE_HASH):
            return BLANK_NODE
        if isinstance(node_hash, list):
            return node_hash
        return decode_node(self.db[node_hash])

    def _root(self) -> Any:
        return self.get_node(self._sealed_hash) if self._changed_root is None else self._changed_root

    def _set(self, node: Any, trie_key: tuple[int, ...], value: bytes) -> Any:
        if trie_key and len(node) == 17:
            place = trie_key[0]
            node[place] = self._set(self.get_node(node[place]), trie_key[1:], value)
            return node
        if not node:
            return [_leaf_key(trie_key), value]
        if len(node) == 2 and node[0] == _leaf_key(trie_key):
            return [node[0], value]
        return super()._set(node, trie_key, value)  # type: ignore[no-untyped-call]  # py-trie's

    def _persist_node(self, node: Any) -> Any:
        return node

    def _sealed(self, node: list[Any]) -> bytes:
        """Store what stands below a changed node and return its RLP."""
        for place, item in enumerate(node):
            if item.__class__ is list:
                encoded = self._sealed(item)
                if len(encoded) >= 32:
                    node[place] = self._store(encoded)
        return encode_node(node)

    def _store(self, encoded: bytes) -> bytes:
        node_hash = keccak(encoded)
        self.db[node_hash] = encoded
        return node_hash


_DIGITS = b"0123456789abcdef"
_TO_NIBBLES = bytes.maketrans(_DIGITS, bytes(range(16)))
_TO_DIGITS = bytes.maketrans(bytes(range(16)), _DIGITS)


def _nibbles(key: bytes) -> bytes:
    """Return the half bytes of a key, each as a byte."""
    return key.hex().encode().translate(_TO_NIBBLES)


def _leaf_key(nibbles: tuple[int, ...]) -> bytes:
    """Return the hex prefix encoding of the last part of a key (yellow paper, appendix C)."""
    digits = bytes(nibbles).translate(_TO_DIGITS).decode()
    return bytes.fromhex(("3" if len(nibbles) & 1 else "20") + digits)


class _Storage(StorageLookup):  # type: ignore[misc]  # py-evm is seen untyped
    _trie_nodes_batch: Any
    _write_trie: Any

    def _get_write_trie(self) -> Any:
        if self._trie_nodes_batch is None:
            self._trie_nodes_batch = BatchDB(self._db, read_through_deletes=True)
        if self._write_trie is None:
            self._write_trie = QuickTrie(self._trie_nodes_batch, self._starting_root_hash)
        return self._write_trie

    def _get_read_trie(self) -> Any:
        if self._write_trie is not None:
            return self._write_trie
        return QuickTrie(self._db, self._starting_root_hash)

    def commit_to(self, db: Any) -> None:
        if self.has_changed_root:
            self.get_changed_root()  # stores the changed nodes
        super().commit_to(db)


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
        self._trie = HashTrie(QuickTrie(self._batchtrie, state_root))
        self._trie_logger = KeyAccessLoggerDB(self._trie, log_missing_keys=False)
        self._trie_cache = CacheDB(self._trie_logger)
        self._journaltrie = JournalDB(self._trie_cache)

    def _get_address_store(self, address: bytes) -> Any:
        if address not in self._account_stores:
            root = self._get_storage_root(address)
            self._account_stores[address] = _AccountStorage(self._raw_store_db, root, address)
        return self._account_stores[address]
