"""Importing files: each line once, compared and posted in the unit that stores it.

A file is known by its hash and a line by its key, so importing again posts nothing, also after a crash half
way: the file's row is written last. What cannot be told to belong to a merchant (a fee of the provider's own,
a charge we do not know) goes to the books of ``merchant_id``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import bindparam, select

from gateway.kernel.documents import encode
from gateway.kernel.store.statements import Statement, insert_new
from gateway.kernel.store.unit import Lane, Store, UnitOfWork
from gateway.ledger.recording import record
from gateway.payments.settlement.bank import LOCKS, import_bank, match_waiting, settle_late
from gateway.payments.settlement.catching_up import catch_up
from gateway.payments.settlement.files import BankFile, SettlementFile
from gateway.payments.settlement.known import OurSide, charged_operation, operation, operations_between
from gateway.payments.settlement.matching import Judged, choose, entries_of, judge
from gateway.payments.settlement.model import CHARGEBACK, FEE, KINDS, OPERATOR, Known, Line, Outcome
from gateway.payments.settlement.tables import settlement_file, settlement_line
from gateway.payments.settlement.tariffs import TARIFFS

_CHUNK = 200
_L, _F = settlement_line.c, settlement_file.c
_INSERT_LINE = insert_new(settlement_line)
_INSERT_FILE = insert_new(settlement_file)
_FILE = Statement(select(_F.file_hash).where(_F.file_hash == bindparam("its_hash")))
_LINE = Statement(
    select(settlement_line).where(_L.source == bindparam("its_source"), _L.line_key == bindparam("its_key"))
)
_SETTLED = Statement(
    select(_L.operation_id)
    .where(_L.operation_id == bindparam("its_operation"), _L.type == bindparam("its_type"))
    .limit(1)
)


class Imported(NamedTuple):
    """What an import did: how many lines were new, and how many transactions it posted."""

    new_lines: int
    posted: int
    changed: tuple[str, ...]
    """Keys of lines that were imported before with other contents."""


async def import_file(store: Store, file: SettlementFile | BankFile, merchant_id: str = OPERATOR) -> Imported:
    """Import a file. If it was imported before, only what has been done here since is put in order."""
    if isinstance(file, BankFile):
        return Imported(*await import_bank(store, file, merchant_id))
    if await store.read(lambda reader: reader.row(_FILE, {"its_hash": file.file_hash})):
        # Nothing of it is new; what it speaks of may be.
        return Imported(0, await catch_up(store, file.source, file.file_hash), ())
    ours = await _our_side(store, file)
    new, posted = 0, 0
    changed: list[str] = []
    for start in range(0, len(file.lines), _CHUNK):
        done = await store.write(
            partial(
                _import_lines,
                file=file,
                ours=ours,
                lines=file.lines[start : start + _CHUNK],
                merchant_id=merchant_id,
            ),
            lane=Lane.BACKGROUND,
            locks=LOCKS,
        )
        new, posted, changed = new + done.new_lines, posted + done.posted, [*changed, *done.changed]
    posted += await match_waiting(store, merchant_id)
    posted += await catch_up(store, file.source, file.file_hash)
    row = {
        "file_hash": file.file_hash,
        "source": file.source,
        "kind": "settlement",
        "name": file.name,
        "lines": len(file.lines),
        "from_ms": file.from_ms,
        "until_ms": file.until_ms,
    }
    if not changed:
        # A file that contradicts an earlier one is told every time.
        await store.write(
            lambda uow: uow.run(_INSERT_FILE, {**row, "imported_at_ms": uow.now_ms}), lane=Lane.BACKGROUND
        )
    return Imported(new, posted, tuple(changed))


async def _our_side(store: Store, file: SettlementFile) -> OurSide:
    """Everything of ours that the file may speak of, found before the first line is written."""
    names = {line.operation_id for line in file.lines} | {line.provider_reference for line in file.lines}
    times = [line.occurred_at_ms for line in file.lines] or [0]
    ours = await operations_between(store, file.source, min(times), max(times) + 86_400_000, names - {""})
    for line in file.lines:
        if line.operation_id and ours.by_id(line.operation_id) is None:
            named = partial(operation, source=file.source, operation_id=line.operation_id)
            _keep(ours, await store.read(named))
        elif line.type in (CHARGEBACK, FEE) and not ours.by_reference(
            line.provider_reference, KINDS[CHARGEBACK]
        ):
            found = partial(charged_operation, source=file.source, reference=line.provider_reference)
            _keep(ours, await store.read(found))
    return ours


def _keep(ours: OurSide, known: Known | None) -> None:
    if known is not None:
        ours.add(known)


def _import_lines(
    uow: UnitOfWork, file: SettlementFile, ours: OurSide, lines: Sequence[Line], merchant_id: str
) -> Imported:
    new, posted, changed = 0, 0, []
    for line in lines:
        stored = uow.row(_LINE, {"its_source": file.source, "its_key": line.line_key})
        if stored is not None:
            if not _same(line, stored):
                changed.append(line.line_key)
            continue
        judged = _judge(uow, file, ours, line)
        about = judged.known or next(
            iter(ours.by_reference(line.provider_reference, KINDS[CHARGEBACK])), None
        )
        whose = merchant_id
        if about is not None and about.merchant_id is not None:
            # Also a fee that names a capture, such as a chargeback's.
            whose = about.merchant_id
        entries = entries_of(line, judged, file.source)
        transaction_id = None
        if entries:
            order_id = None if judged.known is None else judged.known.order_id
            transaction_id = record(
                uow,
                f"settlement.{line.type}",
                whose,
                order_id,
                entries,
                effective_at_ms=line.occurred_at_ms,
            ).transaction_id
        uow.run(_INSERT_LINE, _row(file, line, judged, whose, transaction_id))
        new, posted = new + 1, posted + bool(entries)
        posted += settle_late(uow, file.source, line, whose, merchant_id)
    return Imported(new, posted, tuple(changed))


def _judge(uow: UnitOfWork, file: SettlementFile, ours: OurSide, line: Line) -> Judged:
    tariff = TARIFFS.get(file.source)
    kind = KINDS.get(line.type)
    if kind is None:
        return judge(line, None, tariff, settled_before=False)
    known = ours.by_id(line.operation_id) if line.operation_id and line.type != CHARGEBACK else None
    if known is not None and known.kind is not kind:
        known = None
    if known is None and not line.operation_id and line.provider_reference:
        found = ours.by_reference(line.provider_reference, kind)
        settled = frozenset(one.operation_id for one in found if _settled(uow, one, line.type))
        known = choose(line, found, settled)
    return judge(line, known, tariff, settled_before=known is not None and _settled(uow, known, line.type))


def _settled(uow: UnitOfWork, known: Known, line_type: str) -> bool:
    where = {"its_operation": known.operation_id, "its_type": line_type}
    return uow.row(_SETTLED, where) is not None


def _row(
    file: SettlementFile, line: Line, judged: Judged, merchant_id: str, transaction_id: str | None
) -> dict[str, Any]:
    fields = line._asdict()
    del fields["scheme_fee_minor"]
    return {
        **fields,
        "source": file.source,
        "file_hash": file.file_hash,
        # Of ours, if it is: a line that names an operation we do not have settles none.
        "operation_id": None if judged.known is None else judged.known.operation_id,
        "outcomes": ",".join(judged.outcomes),
        "findings": encode(list(judged.findings)),
        "merchant_id": merchant_id,
        "ledger_transaction_id": transaction_id,
    }


def _same(line: Line, stored: Any) -> bool:
    # Our id is what we made of it, so it is compared only where the line says it.
    named = not line.operation_id or stored.operation_id in (None, line.operation_id)
    return named and all(
        getattr(stored, name) == getattr(line, name)
        for name in Line._fields
        if name not in ("operation_id", "scheme_fee_minor")
    )


def outcomes_of(text: str) -> Iterable[Outcome]:
    """Return outcomes as they are stored."""
    return map(Outcome, text.split(","))
