"""Lines of operations that were not done here when their file came.

A provider lists what it did; the answer may never have reached us, and the operation is unknown here. Then
the vault is told (`tell_vault`), which settles it; its order hears of that by the vault's list of changes, as
of every other answer. Once it is done here its line is judged again, and what it left in suspense is put
where it belongs (`catch_up`). Both may be repeated at any time: what was dealt with is found no more.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import structlog
from sqlalchemy import bindparam, or_, select, update

from gateway.kernel.documents import encode
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Lane, Reader, Store, UnitOfWork
from gateway.kernel.subjects import OperationId
from gateway.ledger import accounts
from gateway.ledger.days import DAY_MS
from gateway.ledger.entries import move
from gateway.ledger.recording import record
from gateway.payments.model import OperationState, operation_is_final
from gateway.payments.operations import operation_row
from gateway.payments.settlement.known import operation
from gateway.payments.settlement.matching import judge
from gateway.payments.settlement.model import CHARGEBACK, KINDS, Line, Outcome
from gateway.payments.settlement.tables import settlement_file, settlement_line
from gateway.payments.settlement.tariffs import TARIFFS
from wallets.vault.port import OperationResult, Vault

log = structlog.get_logger(__name__)

LOOKED_BACK_MS = 60 * DAY_MS
"""Files that were imported longer ago are looked at only when they are imported again."""
_PAGE = 500
_MOST_FILES = 1_000
_L, _F = settlement_line.c, settlement_file.c
_NOT_DONE = _L.outcomes.like(f"%{Outcome.MISSING_HERE.value}%")
_RECENT = Statement(
    select(_F.file_hash)
    .where(_F.source == bindparam("its_source"), _F.imported_at_ms >= bindparam("since_ms"))
    .order_by(_F.imported_at_ms.desc())
    .limit(_MOST_FILES)
)
_OPEN = Statement(
    select(settlement_line)
    .where(
        _L.file_hash == bindparam("its_hash"),
        _L.line_key > bindparam("after"),
        _L.operation_id.is_not(None),
        _NOT_DONE,
    )
    .order_by(_L.line_key)
    .limit(_PAGE)
)
_BY_ANOTHER = Statement(
    select(_L.line_key)
    .where(
        _L.operation_id == bindparam("its_operation"),
        _L.type == bindparam("its_type"),
        or_(_L.source != bindparam("its_source"), _L.line_key != bindparam("its_key")),
        ~_NOT_DONE,
    )
    .limit(1)
)
_JUDGED_AGAIN = Statement(
    update(settlement_line)
    .where(
        _L.source == bindparam("its_source"),
        _L.line_key == bindparam("its_key"),
        _L.outcomes == bindparam("old_outcomes"),
    )
    .values(outcomes=bindparam("new_outcomes"), findings=bindparam("new_findings"))
)


class Listed(NamedTuple):
    """An operation that is undecided here, and done by the provider's file."""

    operation_id: OperationId
    provider: str
    provider_reference: str


async def undecided(store: Store, source: str, file_hash: str = "") -> list[Listed]:
    """Return what a provider's recent files, and the named one, list as done and is undecided here.

    A line of another amount than ours settles nothing: which of the two is right is for a person to find out.
    """
    found: list[Listed] = []
    for one in await _files(store, source, file_hash):
        async for row in _open_lines(store, one):
            if row.type != CHARGEBACK and await store.read(partial(_is_undecided, line=row)):
                found.append(Listed(OperationId(row.operation_id), source, row.provider_reference))
    return found


async def tell_vault(vault: Vault, listed: list[Listed]) -> list[OperationResult]:
    """Have the vault settle what a file lists as done; returns what it knows of each then."""
    results = []
    for one in listed:
        result = await vault.note_settled(one.operation_id, one.provider, one.provider_reference)
        if result is None:
            # We have asked for it, and the vault has never seen it or asked another provider: somebody else's
            # work has our id.
            log.error("settlement.unknown_to_vault", operation_id=one.operation_id, provider=one.provider)
            continue
        log.info("settlement.settled_by_file", operation_id=one.operation_id, status=result.status.value)
        results.append(result)
    return results


async def catch_up(store: Store, source: str, file_hash: str = "") -> int:
    """Judge lines again whose operations have been done here since; returns how many were posted."""
    posted = 0
    for one in await _files(store, source, file_hash):
        async for row in _open_lines(store, one):
            posted += await store.write(partial(_judge_again, row=row), lane=Lane.BACKGROUND)
    return posted


async def _files(store: Store, source: str, file_hash: str) -> list[str]:
    def recent(reader: Reader) -> list[str]:
        values = {"its_source": source, "since_ms": reader.now_ms - LOOKED_BACK_MS}
        return [row.file_hash for row in reader.rows(_RECENT, values)]

    return sorted({*await store.read(recent), file_hash} - {""})


async def _open_lines(store: Store, file_hash: str) -> Any:
    after = ""
    while True:
        rows = await store.read(partial(_page, file_hash=file_hash, after=after))
        for row in rows:
            yield row
        if len(rows) < _PAGE:
            return
        after = rows[-1].line_key


def _page(reader: Reader, file_hash: str, after: str) -> list[Any]:
    return reader.rows(_OPEN, {"its_hash": file_hash, "after": after})


def _is_undecided(reader: Reader, line: Any) -> bool:
    row = operation_row(reader, line.operation_id)
    known = operation(reader, line.source, line.operation_id)
    return (
        row is not None
        and known is not None
        and not operation_is_final(OperationState(row.state))
        and known.kind is KINDS[line.type]
        and (known.gross_minor, known.amount.currency) == (line.gross_minor, line.currency)
    )


def _judge_again(uow: UnitOfWork, row: Any) -> int:
    known = operation(uow, row.source, row.operation_id)
    if known is None or not known.succeeded:
        return 0
    line = Line(*(getattr(row, name) for name in Line._fields[:-1]))
    others = {
        "its_operation": row.operation_id,
        "its_type": row.type,
        "its_source": row.source,
        "its_key": row.line_key,
    }
    settled_before = uow.row(_BY_ANOTHER, others) is not None
    judged = judge(line, known, TARIFFS.get(row.source), settled_before=settled_before)
    changed = uow.run(
        _JUDGED_AGAIN,
        {
            "its_source": row.source,
            "its_key": row.line_key,
            "old_outcomes": row.outcomes,
            "new_outcomes": ",".join(judged.outcomes),
            "new_findings": encode(list(judged.findings)),
        },
    )
    if not changed or not judged.explained_minor:
        return 0
    entries = move(
        row.currency,
        judged.explained_minor,
        debit=accounts.SUSPENSE,
        credit=accounts.clearing(row.source),
    )
    record(
        uow,
        "settlement.caught_up",
        row.merchant_id,
        known.order_id,
        entries,
        effective_at_ms=row.occurred_at_ms,
    )
    return 1
