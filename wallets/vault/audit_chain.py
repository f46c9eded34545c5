"""The chain of audit rows, as values: links, seals and what a seal's code covers. No I/O.

Each row's link is SHA-256 over the link before it and the row. A **seal** closes some rows: their ids with
the beginning of each link (which tells the broken row by name), the last link as the head, and a code over
all that under a key of the KMS. Without that key nobody can make a chain that verifies.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from gateway.kernel.documents import encode

GENESIS = hashlib.sha256(b"vitrine.vault.audit.v1").digest()
_ENTRY = struct.Struct(">Q8s")
"""The id of a row and the first 8 bytes of its link."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where the chain ends. Kept outside the database too, so that a cut tail is missed (`audit_anchor`)."""

    seal_no: int
    last_id: int
    head: bytes
    mac: bytes


BEGINNING = Head(0, 0, GENESIS, b"")


@dataclass(frozen=True, slots=True)
class Seal:
    """Some rows, closed."""

    seal_no: int
    row_count: int
    last_id: int
    links: bytes
    head: bytes

    def covered(self, before: Head) -> bytes:
        """Return the bytes that the seal's code is over."""
        return encode(
            [
                "vitrine.vault.audit.seal.v1",
                self.seal_no,
                self.row_count,
                self.last_id,
                hashlib.sha256(self.links).hexdigest(),
                self.head.hex(),
                before.mac.hex(),
            ]
        ).encode()


def link(previous: bytes, row: Iterable[Any]) -> bytes:
    """Return the link of a row: a JSON array of all its columns, so that no two rows share one."""
    return hashlib.sha256(previous + encode(list(row)).encode()).digest()


def seal_rows(before: Head, rows: Iterable[Any]) -> Seal:
    """Close rows (at least one, in the order of their ids) after ``before``."""
    head = before.head
    parts = []
    for row in rows:
        head = link(head, row)
        parts.append(_ENTRY.pack(row.audit_id, head[:8]))
    return Seal(before.seal_no + 1, len(parts), row.audit_id, b"".join(parts), head)


def purge_statement(seal_no: int, head: bytes) -> bytes:
    """Return what the code of a purge is over: the rows up to this seal were let go by us."""
    return encode(["vitrine.vault.audit.purge.v1", seal_no, head.hex()]).encode()


def entries(links: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield id and beginning of link of the rows of a seal. Raises ValueError for a cut list."""
    if len(links) % _ENTRY.size:
        raise ValueError("the list of links was cut")
    return _ENTRY.iter_unpack(links)
