"""The bank's side: money that arrived, against what providers say they paid out.

A payout is posted when the bank has it: out of clearing, into the bank account, in the books of each merchant
whose lines it is made of. A bank's line takes a payout that its text names and whose amount it has. Money
that no payout explains stands in suspense; when its payout is imported later that posting is reversed and the
right one made. Lines of a payout may come later than the bank's: then their part is taken out of suspense.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from sqlalchemy import bindparam, func, select, tuple_, update

from gateway.kernel.documents import encode
from gateway.kernel.store.statements import Statement, insert_new
from gateway.kernel.store.unit import Lane, Reader, Store, UnitOfWork
from gateway.ledger import accounts
from gateway.ledger.days import start_of
from gateway.ledger.entries import move
from gateway.ledger.recording import record, reverse
from gateway.payments.settlement.files import BankFile
from gateway.payments.settlement.model import MERCHANT_PAYOUT, BankLine, Line, Outcome
from gateway.payments.settlement.tables import bank_line, settlement_file, settlement_line

LOCKS = ("settlement",)
"""Of every unit that writes lines: a payout's and the bank's are looked for from both sides."""
_CHUNK = 200
_MOST_WORDS = 50
_B, _L = bank_line.c, settlement_line.c
_INSERT_LINE = insert_new(bank_line)
_INSERT_FILE = insert_new(settlement_file)
_FILE = Statement(
    select(settlement_file.c.file_hash).where(settlement_file.c.file_hash == bindparam("its_hash"))
)
_LINE = Statement(
    select(bank_line).where(_B.source == bindparam("its_source"), _B.line_key == bindparam("its_key"))
)
_PAYOUT = Statement(
    select(_L.source, _L.payout_id, _L.currency, func.sum(_L.net_minor).label("net_minor"))
    .where(
        _L.payout_id == bindparam("name"),
        _L.type == MERCHANT_PAYOUT,
        _L.currency == bindparam("its_currency"),
    )
    .group_by(_L.source, _L.payout_id, _L.currency)
    .order_by(_L.source, _L.payout_id)
)
_TAKEN = Statement(
    select(_B.source, _B.booked_on)
    .where(
        _B.provider == bindparam("its_provider"),
        _B.payout_id == bindparam("its_payout"),
        _B.currency == bindparam("its_currency"),
    )
    .limit(1)
)
_SHARES = Statement(
    select(_L.merchant_id, func.sum(_L.net_minor).label("net_minor"))
    .where(
        _L.source == bindparam("its_provider"),
        _L.payout_id == bindparam("its_payout"),
        _L.currency == bindparam("its_currency"),
        _L.type != MERCHANT_PAYOUT,
    )
    .group_by(_L.merchant_id)
    .order_by(_L.merchant_id)
)
_WAITING = Statement(
    select(bank_line)
    .where(
        _B.payout_id.is_(None),
        tuple_(_B.source, _B.line_key) > tuple_(bindparam("after_source"), bindparam("after_key")),
    )
    .order_by(_B.source, _B.line_key)
    .limit(bindparam("most"))
)
_EXPLAIN = Statement(
    update(bank_line)
    .where(
        _B.source == bindparam("its_source"),
        _B.line_key == bindparam("its_key"),
        _B.payout_id.is_(None),
    )
    .values(
        outcomes=bindparam("new_outcomes"),
        findings=bindparam("new_findings"),
        provider=bindparam("new_provider"),
        payout_id=bindparam("new_payout"),
    )
)
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


async def import_bank(store: Store, file: BankFile, merchant_id: str) -> tuple[int, int, tuple[str, ...]]:
    """Import a bank's file; returns how many lines were new, how many transactions were posted, and the keys
    of lines that were imported before with other contents."""
    if await store.read(lambda reader: reader.row(_FILE, {"its_hash": file.file_hash})):
        return 0, 0, ()
    new, posted = 0, 0
    changed: list[str] = []
    for start in range(0, len(file.lines), _CHUNK):
        lines = file.lines[start : start + _CHUNK]
        done = await store.write(
            partial(_import_lines, file=file, lines=lines, merchant_id=merchant_id),
            lane=Lane.BACKGROUND,
            locks=LOCKS,
        )
        new, posted, changed = new + done[0], posted + done[1], [*changed, *done[2]]
    days = sorted(line.booked_on for line in file.lines) or ["1970-01-01"]
    row = {
        "file_hash": file.file_hash,
        "source": file.source,
        "kind": "bank",
        "name": file.name,
        "lines": len(file.lines),
        "from_ms": start_of(days[0]),
        "until_ms": start_of(days[-1]) + 86_400_000,
    }
    if not changed:
        await store.write(
            lambda uow: uow.run(_INSERT_FILE, {**row, "imported_at_ms": uow.now_ms}), lane=Lane.BACKGROUND
        )
    return new, posted, tuple(changed)


async def match_waiting(store: Store, merchant_id: str) -> int:
    """Look again at bank lines that no payout explained; returns how many transactions were posted."""
    posted, after = 0, ("", "")
    while True:
        waiting = await store.read(partial(_waiting, after=after))
        for row in waiting:
            posted += await store.write(
                partial(_explain, row=row, merchant_id=merchant_id), lane=Lane.BACKGROUND, locks=LOCKS
            )
        if len(waiting) < _CHUNK:
            return posted
        after = (waiting[-1].source, waiting[-1].line_key)


def settle_late(uow: UnitOfWork, provider: str, line: Line, whose: str, merchant_id: str) -> int:
    """A provider's line has come, of a payout that the bank has brought already: its part of that money was
    left in suspense, in the books of ``merchant_id``. Returns how many transactions were posted."""
    if line.type == MERCHANT_PAYOUT or not line.payout_id or not line.net_minor:
        return 0
    where = {"its_provider": provider, "its_payout": line.payout_id, "its_currency": line.currency}
    arrived = uow.row(_TAKEN, where)
    if arrived is None:
        return 0
    account, at_ms = accounts.bank(arrived.source), start_of(arrived.booked_on)
    explained = move(line.currency, line.net_minor, debit=accounts.SUSPENSE, credit=account)
    record(uow, "bank.explained", merchant_id, None, explained, effective_at_ms=at_ms)
    received = move(line.currency, line.net_minor, debit=account, credit=accounts.clearing(provider))
    record(uow, "payout.received", whose, None, received, effective_at_ms=at_ms)
    return 2


def _waiting(reader: Reader, after: tuple[str, str]) -> list[Any]:
    return reader.rows(_WAITING, {"after_source": after[0], "after_key": after[1], "most": _CHUNK})


def _import_lines(
    uow: UnitOfWork, file: BankFile, lines: list[BankLine], merchant_id: str
) -> tuple[int, int, tuple[str, ...]]:
    new, posted, changed = 0, 0, []
    for line in lines:
        stored = uow.row(_LINE, {"its_source": file.source, "its_key": line.line_key})
        if stored is not None:
            if any(getattr(stored, name) != getattr(line, name) for name in BankLine._fields):
                changed.append(line.line_key)
            continue
        payout, outcome, finding = _explained(uow, line)
        transaction_id = None
        if payout is None:
            transaction_id = _into_suspense(uow, file.source, line, merchant_id)
            posted += transaction_id is not None
        else:
            posted += _post_payout(uow, file.source, line, payout, merchant_id)
        uow.run(
            _INSERT_LINE,
            {
                **line._asdict(),
                "source": file.source,
                "file_hash": file.file_hash,
                "outcomes": outcome.value,
                "findings": encode([finding] if finding else []),
                "provider": None if payout is None else payout.source,
                "payout_id": None if payout is None else payout.payout_id,
                "ledger_transaction_id": transaction_id,
            },
        )
        new += 1
    return new, posted, tuple(changed)


def _explain(uow: UnitOfWork, row: Any, merchant_id: str) -> int:
    line = BankLine(*(getattr(row, name) for name in BankLine._fields))
    payout, outcome, finding = _explained(uow, line)
    changed = uow.run(
        _EXPLAIN,
        {
            "its_source": row.source,
            "its_key": row.line_key,
            "new_outcomes": outcome.value,
            "new_findings": encode([finding] if finding else []),
            "new_provider": None if payout is None else payout.source,
            "new_payout": None if payout is None else payout.payout_id,
        },
    )
    if payout is None or not changed:
        return 0
    if row.ledger_transaction_id is not None:
        reverse(uow, row.ledger_transaction_id, "payout_found")
    return 1 + _post_payout(uow, row.source, line, payout, merchant_id)


def _explained(reader: Reader, line: BankLine) -> tuple[Any | None, Outcome, str]:
    """Return the payout that a line is, with what comparing found.

    One that the text names and that came as another amount stays open: anybody can write anything into the
    text of a payment.
    """
    other = None
    for payout in _named(reader, line):
        paid = -int(payout.net_minor)
        if line.amount_minor == paid:
            return payout, Outcome.MATCHED, ""
        other = other or f"received {line.amount_minor}, paid out {paid} {line.currency}"
    if other is not None:
        return None, Outcome.BANK_DIFF, other
    return None, Outcome.BANK_UNKNOWN, f"{line.amount_minor} {line.currency}: {line.reference}"


def _named(reader: Reader, line: BankLine) -> Iterator[Any]:
    """Yield the payouts that the reference text names, but for those that another line has brought."""
    for name in sorted(set(_WORD.findall(line.reference)))[:_MOST_WORDS]:
        for payout in reader.rows(_PAYOUT, {"name": name, "its_currency": line.currency}):
            where = {
                "its_provider": payout.source,
                "its_payout": payout.payout_id,
                "its_currency": line.currency,
            }
            if reader.row(_TAKEN, where) is None:
                yield payout


def _post_payout(uow: UnitOfWork, bank: str, line: BankLine, payout: Any, merchant_id: str) -> int:
    """Clearing becomes money at the bank, merchant by merchant; what no line explains goes to suspense."""
    shares = uow.rows(
        _SHARES,
        {
            "its_provider": payout.source,
            "its_payout": payout.payout_id,
            "its_currency": line.currency,
        },
    )
    at_ms, posted = start_of(line.booked_on), 0
    rest = line.amount_minor
    for share in shares:
        amount = int(share.net_minor)
        rest -= amount
        if amount:
            entries = move(
                line.currency,
                amount,
                debit=accounts.bank(bank),
                credit=accounts.clearing(payout.source),
            )
            record(uow, "payout.received", share.merchant_id, None, entries, effective_at_ms=at_ms)
            posted += 1
    if rest:
        _suspense(uow, bank, line, rest, merchant_id)
        posted += 1
    return posted


def _into_suspense(uow: UnitOfWork, bank: str, line: BankLine, merchant_id: str) -> str | None:
    return _suspense(uow, bank, line, line.amount_minor, merchant_id) if line.amount_minor else None


def _suspense(uow: UnitOfWork, bank: str, line: BankLine, amount: int, merchant_id: str) -> str:
    entries = move(line.currency, amount, debit=accounts.bank(bank), credit=accounts.SUSPENSE)
    return record(
        uow, "bank.unexplained", merchant_id, None, entries, effective_at_ms=start_of(line.booked_on)
    ).transaction_id
