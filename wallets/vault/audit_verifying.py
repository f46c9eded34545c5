"""Checking the audit trail: does every row still stand where it was written?

The whole chain is computed again and compared with what was sealed, and its end with the anchors. The first
row that does not fit is named. What this cannot see: rows of the last second before a crash that were never
sealed, and a cut by somebody who also holds every anchor.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, func, select

from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader, Store
from wallets.vault.audit import Action
from wallets.vault.audit_chain import BEGINNING, Head, Seal, entries, link, purge_statement
from wallets.vault.audit_sealing import head_of
from wallets.vault.keys import KeyPurpose, key_entries
from wallets.vault.kms import Kms
from wallets.vault.tables import audit, audit_seal

_SEALS_PER_PAGE = 20

_SEALS = Statement(
    select(audit_seal)
    .where(audit_seal.c.seal_no > bindparam("after_no"))
    .order_by(audit_seal.c.seal_no)
    .limit(bindparam("most"))
)
_ROWS = Statement(
    select(audit)
    .where(audit.c.audit_id > bindparam("after_id"), audit.c.audit_id <= bindparam("up_to_id"))
    .order_by(audit.c.audit_id)
    .limit(bindparam("most"))
)
_AFTER: Any = select(
    func.count(audit.c.audit_id).label("rows"), func.min(audit.c.at_ms).label("oldest_ms")
).where(audit.c.audit_id > bindparam("after_id"))
_COUNT_AFTER = Statement(_AFTER)
_PURGED = Statement(
    select(audit.c.detail).where(
        audit.c.action == Action.AUDIT_PURGE.value, audit.c.object_id == bindparam("object_id")
    )
)


@dataclass(frozen=True, slots=True)
class Broken:
    """The first thing that does not fit."""

    reason: str
    audit_id: int | None = None
    """The row, where it can be named."""
    seal_no: int | None = None

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True, slots=True)
class Verdict:
    rows: int
    """Rows that were checked and fit."""
    seals: int
    unsealed: int
    """Rows that wait for their seal."""
    oldest_unsealed_ms: int | None
    """When the oldest of them was written; long ago means that nobody seals."""
    broken: Broken | None

    @property
    def is_intact(self) -> bool:
        return self.broken is None


async def verify_audit(store: Store, kms: Kms, anchors: Iterable[Head] = ()) -> Verdict:
    """Check the whole trail, page by page. Raises KeyUseError where an audit key can not be used."""
    register = await store.read(key_entries)
    known = {entry.key_id for entry in register if entry.purpose is KeyPurpose.AUDIT}
    expected = {anchor.seal_no: anchor for anchor in anchors}
    head, rows, seals = BEGINNING, 0, 0
    while page := await _seals_after(store, head.seal_no):
        for stored in page:
            if head is BEGINNING and await _was_purged(store, kms, known, stored):
                head = head_of(stored)
                continue
            broken = (
                await _misfit(store, stored, head)
                or await _foreign(kms, known, stored, head)
                or _not_as_anchored(stored, expected)
            )
            if broken is not None:
                return Verdict(rows, seals, 0, None, broken)
            head = head_of(stored)
            rows += stored.row_count
            seals += 1
    cut = _cut_off(head, expected.values())
    if cut is not None:
        return Verdict(rows, seals, 0, None, cut)
    unsealed, oldest_ms = await _unsealed(store, head.last_id)
    return Verdict(rows, seals, unsealed, oldest_ms, None)


async def _seals_after(store: Store, seal_no: int) -> list[Any]:
    values = {"after_no": seal_no, "most": _SEALS_PER_PAGE}
    return await store.read(lambda reader: reader.rows(_SEALS, values))


async def _unsealed(store: Store, last_id: int) -> tuple[int, int | None]:
    """Return how many rows wait for their seal, and when the oldest of them was written."""
    row = await store.read(lambda reader: reader.row(_COUNT_AFTER, {"after_id": last_id}))
    assert row is not None
    return row.rows, row.oldest_ms


async def _misfit(store: Store, stored: Any, before: Head) -> Broken | None:
    return await store.read(lambda reader: _check_rows(reader, stored, before))


def _not_as_anchored(stored: Any, expected: dict[int, Head]) -> Broken | None:
    anchor = expected.get(stored.seal_no)
    if anchor is None or anchor.mac == stored.mac:
        return None
    return Broken(f"seal {stored.seal_no} is not the one that was anchored", seal_no=stored.seal_no)


def _cut_off(end: Head, anchors: Iterable[Head]) -> Broken | None:
    beyond = [anchor for anchor in anchors if anchor.seal_no > end.seal_no]
    if not beyond:
        return None
    furthest = max(beyond, key=lambda anchor: anchor.seal_no)
    return Broken(
        f"the trail ends with row {end.last_id}, but it was anchored up to row {furthest.last_id}: "
        f"row {end.last_id + 1} and those after it were cut off",
        audit_id=end.last_id + 1,
        seal_no=furthest.seal_no,
    )


def _check_rows(reader: Reader, stored: Any, before: Head) -> Broken | None:
    """Compute the links of a seal's rows again, and name the first that differs."""
    number = stored.seal_no
    if number != before.seal_no + 1:
        return Broken(
            f"seal {before.seal_no + 1} is missing; it closed the rows after row {before.last_id}",
            audit_id=before.last_id + 1,
            seal_no=before.seal_no + 1,
        )
    # One more than there may be, so that an inserted row shows.
    found = reader.rows(
        _ROWS, {"after_id": before.last_id, "up_to_id": stored.last_id, "most": stored.row_count + 1}
    )
    try:
        sealed = list(entries(stored.links))
    except ValueError:
        return Broken(f"the links of seal {number} were changed", seal_no=number)
    head = before.head
    for position, (audit_id, beginning) in enumerate(sealed):
        row = found[position] if position < len(found) else None
        if row is None or row.audit_id > audit_id:
            return Broken(f"row {audit_id} is missing", audit_id=audit_id, seal_no=number)
        if row.audit_id < audit_id:
            return Broken(
                f"row {row.audit_id} was put in after its neighbours were sealed",
                audit_id=row.audit_id,
                seal_no=number,
            )
        head = link(head, row)
        if head[:8] != beginning:
            return Broken(f"row {audit_id} was changed", audit_id=audit_id, seal_no=number)
    if len(found) > len(sealed):
        extra = found[len(sealed)].audit_id
        return Broken(
            f"row {extra} was put in after its neighbours were sealed", audit_id=extra, seal_no=number
        )
    if head != stored.head or len(sealed) != stored.row_count:
        return Broken(f"seal {number} was changed", seal_no=number)
    return None


async def _foreign(kms: Kms, known: set[str], stored: Any, before: Head) -> Broken | None:
    """Check the seal's code: without the key nobody can make one, however well the chain fits."""
    seal = Seal(stored.seal_no, stored.row_count, stored.last_id, stored.links, stored.head)
    if stored.mac_key_id in known and await kms.verify_mac(
        stored.mac_key_id, seal.covered(before), stored.mac
    ):
        return None
    return Broken(
        f"the code of seal {stored.seal_no} is not ours: rows {before.last_id + 1} to {stored.last_id} "
        "or the seal were changed",
        audit_id=before.last_id + 1,
        seal_no=stored.seal_no,
    )


async def _was_purged(store: Store, kms: Kms, known: set[str], first: Any) -> bool:
    """Return whether the rows up to this seal were let go by us after their retention."""
    records = await store.read(lambda reader: reader.rows(_PURGED, {"object_id": str(first.seal_no)}))
    statement = purge_statement(first.seal_no, first.head)
    for record in records:
        for key_id in known:
            if await kms.verify_mac(key_id, statement, bytes.fromhex(record.detail)):
                return True
    return False
