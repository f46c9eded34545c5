"""The report: everything that does not agree in what some files tell about. The same at every call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import bindparam, func, select

from gateway.kernel.documents import decode
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader, Store
from gateway.payments.settlement.files import BankFile, SettlementFile
from gateway.payments.settlement.importing import outcomes_of
from gateway.payments.settlement.known import operations_between
from gateway.payments.settlement.model import CHARGEBACK, KINDS, MERCHANT_PAYOUT, Difference, Known, Outcome
from gateway.payments.settlement.tables import bank_line, settlement_file, settlement_line

_L, _B, _F = settlement_line.c, bank_line.c, settlement_file.c
_LINES = Statement(
    select(settlement_line)
    .where(_L.file_hash == bindparam("its_hash"), _L.line_key > bindparam("after"))
    .order_by(_L.line_key)
    .limit(bindparam("most"))
)
_BANK_LINES = Statement(
    select(bank_line)
    .where(_B.file_hash == bindparam("its_hash"), _B.line_key > bindparam("after"))
    .order_by(_B.line_key)
    .limit(bindparam("most"))
)
_FILES = Statement(
    select(_F.from_ms, _F.until_ms)
    .where(_F.source == bindparam("its_source"), _F.kind == "settlement")
    .order_by(_F.from_ms)
)
_SETTLED = Statement(
    select(_L.operation_id)
    .where(_L.operation_id == bindparam("operation_id"), _L.type == bindparam("line_type"))
    .limit(1)
)
_PAYOUTS = Statement(
    select(
        _L.payout_id,
        _L.currency,
        func.sum(_L.net_minor).label("left"),
        func.max(_L.available_on).label("available_on"),
    )
    .where(_L.source == bindparam("its_source"), _L.payout_id == bindparam("its_payout"))
    .group_by(_L.payout_id, _L.currency)
    .order_by(_L.payout_id, _L.currency)
)
_AT_BANK = Statement(
    select(_B.line_key)
    .where(_B.provider == bindparam("its_provider"), _B.payout_id == bindparam("its_payout"))
    .limit(1)
)
_BANK_UNTIL = Statement(select(func.max(_B.booked_on).label("day")))
_PAGE = 1000


@dataclass
class Report:
    """What was compared, and what does not agree."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """How often each outcome was found."""
    differences: list[Difference] = field(default_factory=list)
    gross: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Gross amounts by type of line and currency, fees as type ``fees``; together they are the payouts."""

    def tell(self, outcome: Outcome, source: str, name: str, text: str) -> None:
        """Add a difference."""
        self.outcomes[outcome.value] += 1
        self.differences.append(Difference(outcome, source, name, text))


async def report_on(store: Store, files: Sequence[SettlementFile | BankFile]) -> Report:
    """Compare the three sides for the time of some files, which have been imported."""
    report = Report()
    for file in files:
        if isinstance(file, SettlementFile):
            payouts = await _settlement_lines(store, file, report)
            await _missing_at_provider(store, file, report)
            await _payouts(store, file.source, payouts, report)
        else:
            await _bank_lines(store, file, report)
    return report


async def _settlement_lines(store: Store, file: SettlementFile, report: Report) -> set[str]:
    payouts: set[str] = set()
    async for row in _pages(store, _LINES, file.file_hash):
        payouts.add(row.payout_id)
        if row.type != MERCHANT_PAYOUT:
            report.gross[row.type, row.currency] += row.gross_minor
            report.gross["fees", row.currency] -= row.gross_minor - row.net_minor
        else:
            report.gross["paid out", row.currency] -= row.net_minor
        _tell(report, file.source, row)
    return payouts - {""}


async def _bank_lines(store: Store, file: BankFile, report: Report) -> None:
    async for row in _pages(store, _BANK_LINES, file.file_hash):
        report.gross["received", row.currency] += row.amount_minor
        _tell(report, file.source, row)


def _tell(report: Report, source: str, row: Any) -> None:
    outcomes = [outcome for outcome in outcomes_of(row.outcomes) if outcome is not Outcome.MATCHED]
    if not outcomes:
        report.outcomes[Outcome.MATCHED.value] += 1
    for outcome, finding in zip(outcomes, decode(row.findings), strict=True):
        report.tell(outcome, source, row.line_key, finding)


async def _missing_at_provider(store: Store, file: SettlementFile, report: Report) -> None:
    """Operations of ours that lie wholly in the time that imported files tell about, and are in none of them.

    An operation around the end of that time is left for the file that comes next.
    """
    if file.from_ms >= file.until_ms:
        return
    from_ms, until_ms = await store.read(partial(_covered, file=file))
    ours = await operations_between(store, file.source, file.from_ms, file.until_ms)
    for known in ours:
        inside = from_ms <= known.created_at_ms and known.updated_at_ms < until_ms
        if known.succeeded and inside and not await store.read(partial(_is_settled, known=known)):
            report.tell(
                Outcome.MISSING_AT_PROVIDER,
                file.source,
                known.operation_id,
                f"{known.kind.value} of {known.amount} is in no file",
            )


def _covered(reader: Reader, file: SettlementFile) -> tuple[int, int]:
    """The time around a file that its source's files tell about without a gap."""
    from_ms, until_ms = file.from_ms, file.until_ms
    spans = [(row.from_ms, row.until_ms) for row in reader.rows(_FILES, {"its_source": file.source})]
    for start, end in spans:
        if start <= until_ms and end > until_ms:
            until_ms = end
    for start, end in reversed(spans):
        if end >= from_ms and start < from_ms:
            from_ms = start
    return from_ms, until_ms


def _is_settled(reader: Reader, known: Known) -> bool:
    types = [name for name, kind in KINDS.items() if kind is known.kind and name != CHARGEBACK]
    return any(
        reader.row(_SETTLED, {"operation_id": known.operation_id, "line_type": name}) is not None
        for name in types
    )


async def _payouts(store: Store, source: str, payouts: Iterable[str], report: Report) -> None:
    """gross - fees - refunds - chargebacks - reserve = payout, and the bank has it once its day has come."""

    def look(reader: Reader) -> list[tuple[Outcome, str, str]]:
        found = []
        day = reader.row(_BANK_UNTIL, {}).day  # type: ignore[union-attr]  # a maximum always has a row
        for payout_id in sorted(payouts):
            where = {"its_source": source, "its_payout": payout_id}
            for row in reader.rows(_PAYOUTS, where):
                if row.left:
                    text = f"its lines come to {int(row.left)} {row.currency} more than was paid out"
                    found.append((Outcome.PAYOUT_DIFF, payout_id, text))
                at_bank = {"its_provider": source, "its_payout": payout_id}
                due = day is not None and row.available_on <= day
                if due and reader.row(_AT_BANK, at_bank) is None:
                    text = f"due on {row.available_on}, the bank's files go up to {day}"
                    found.append((Outcome.MISSING_AT_BANK, payout_id, text))
        return found

    for outcome, payout_id, text in await store.read(look):
        report.tell(outcome, source, payout_id, text)


def _rows(reader: Reader, statement: Statement, params: dict[str, Any]) -> list[Any]:
    return reader.rows(statement, params)


async def _pages(store: Store, statement: Statement, file_hash: str) -> Any:
    after = ""
    while True:
        params = {"its_hash": file_hash, "after": after, "most": _PAGE}
        rows = await store.read(partial(_rows, statement=statement, params=params))
        for row in rows:
            yield row
        if len(rows) < _PAGE:
            return
        after = rows[-1].line_key
