"""Reading files: a provider's settlement lines (our CSV, or Stripe's balance transactions), a bank's lines.

A file is known by its first bytes, read whole (at most 64 MiB) and refused whole: a line that cannot be read
would be money that nobody misses. So is a line that the database could not hold.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from typing import Any, TypeVar

from gateway.kernel.errors import InvalidError
from gateway.kernel.money import exponent
from gateway.ledger.days import DAY_MS, day_of, end_of, start_of
from gateway.payments.settlement.model import (
    CHARGE,
    CHARGEBACK,
    FEE,
    MERCHANT_PAYOUT,
    REFUND,
    RESERVE,
    BankLine,
    Line,
)
from wallets.vault.providers.stripe_currencies import from_provider

MOST_BYTES = 64 * 1024 * 1024
_LINE_COLUMNS = list(Line._fields[:12])
_BANK_COLUMNS = list(BankLine._fields)
_WHOLE = re.compile(r"-?[0-9]{1,16}")
_TOO_LARGE = 2**53
_L = TypeVar("_L", Line, BankLine)
_STRIPE_TYPES = {
    "charge": CHARGE,
    "payment": CHARGE,
    "refund": REFUND,
    "payment_refund": REFUND,
    "partial_capture_reversal": REFUND,
    "dispute": CHARGEBACK,
    "payout": MERCHANT_PAYOUT,
    "stripe_fee": FEE,
    "application_fee": FEE,
    "fee": FEE,
    "reserve_transaction": RESERVE,
    "reserved_funds": RESERVE,
    "risk_reserved_funds": RESERVE,
}
_PASSED_ON = "payment_method_passthrough_fee"


@dataclass(frozen=True, slots=True)
class SettlementFile:
    """A provider's file. It tells everything that happened from ``from_ms`` until before ``until_ms``."""

    file_hash: str
    source: str
    name: str
    from_ms: int
    until_ms: int
    lines: list[Line]


@dataclass(frozen=True, slots=True)
class BankFile:
    """A bank's file, of the account ``source``."""

    file_hash: str
    source: str
    name: str
    lines: list[BankLine]


def read_file(
    name: str, content: bytes, *, provider: str | None = None, bank: str = "main"
) -> SettlementFile | BankFile:
    """Return a file's lines. ``provider`` is whose settlement it is, where its form does not say.

    Raises InvalidError ``settlement.file`` with the line that cannot be read.
    """
    if len(content) > MOST_BYTES:
        raise _unreadable(name, 0, f"larger than {MOST_BYTES >> 20} MiB")
    digest = sha256(content).hexdigest()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unreadable(name, 0, f"not UTF-8: {error}") from None
    if text.lstrip()[:1] in ("{", "["):
        lines = _stripe(name, text)
        return SettlementFile(digest, provider or "stripe", name, *_span(lines), lines)
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        heads = next(rows, [])
        if heads == _LINE_COLUMNS:
            lines = [_read(name, number, _line, row) for number, row in enumerate(rows, start=2)]
            return SettlementFile(digest, provider or "simulated", name, *_span(lines), lines)
        if heads == _BANK_COLUMNS:
            booked = [_read(name, number, _bank_line, row) for number, row in enumerate(rows, start=2)]
            return BankFile(digest, bank, name, booked)
    except csv.Error as error:
        raise _unreadable(name, rows.line_num, str(error)) from None
    raise _unreadable(name, 1, "neither the heads of a settlement nor of a bank statement")


def _read(name: str, number: int, read: Callable[[list[str]], Any], row: list[str]) -> Any:
    try:
        return read(row)
    except (ValueError, IndexError, InvalidError) as error:
        reason = error.message if isinstance(error, InvalidError) else str(error)
        raise _unreadable(name, number, reason) from None


def _line(row: list[str]) -> Line:
    if len(row) != len(_LINE_COLUMNS):
        raise ValueError(f"{len(row)} fields, {len(_LINE_COLUMNS)} expected")
    key, operation_id, reference, kind, gross, fee, net, currency, batch, payout, occurred, available = row
    if not key or not kind:
        raise ValueError("a line has a key and a type")
    exponent(currency)
    if batch:
        date.fromisoformat(batch.partition("/")[0])
    amounts = (_whole(gross), _whole(fee), _whole(net))
    return _storable(
        Line(
            *(key, operation_id, reference, kind, *amounts, currency, batch, payout),
            *(_whole(occurred), date.fromisoformat(available).isoformat() if available else ""),
        )
    )


def _bank_line(row: list[str]) -> BankLine:
    if len(row) != len(_BANK_COLUMNS):
        raise ValueError(f"{len(row)} fields, {len(_BANK_COLUMNS)} expected")
    key, booked, amount, currency, reference, counterparty = row
    if not key:
        raise ValueError("a line has a key")
    exponent(currency)
    day = date.fromisoformat(booked).isoformat()
    return _storable(BankLine(key, day, _whole(amount), currency, reference, counterparty))


def _whole(text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is no whole number")
    return int(text)


def _storable(line: _L) -> _L:
    """Return the line. Raises ValueError for a number of 2^53 and more, and for text that holds a NUL."""
    for name, value in zip(line._fields, line, strict=True):
        if isinstance(value, int) and abs(value) >= _TOO_LARGE:
            raise ValueError(f"{name} is too large")
        if isinstance(value, str) and "\0" in value:
            raise ValueError(f"{name} holds a NUL")
    return line


def _stripe(name: str, text: str) -> list[Line]:
    """Balance transactions as Stripe's API lists them: one object, a list of them, or ``{"data": [...]}``.

    ``source`` may be expanded: then an intent or our operation id in its metadata names the operation. Lines
    of an automatic payout are listed together with the payout itself, which names it.
    """
    try:
        document = json.loads(text, parse_float=_no_float)
    except ValueError as error:
        raise _unreadable(name, 0, str(error)) from None
    found = document
    if isinstance(document, dict):
        found = document["data"] if document.get("object") == "list" else [document]
    if not isinstance(found, list):
        raise _unreadable(name, 0, "no list of balance transactions")
    payouts = {_source(one)["id"] for one in found if isinstance(one, dict) and one.get("type") == "payout"}
    payout = payouts.pop() if len(payouts) == 1 else ""
    lines = []
    for number, one in enumerate(found, start=1):
        try:
            lines.append(_storable(_balance_transaction(one, payout)))
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError, InvalidError) as error:
            raise _unreadable(name, number, f"{type(error).__name__}: {error}") from None
    return lines


def _balance_transaction(one: dict[str, Any], payout: str) -> Line:
    currency = one["currency"].upper()
    kind = _STRIPE_TYPES.get(one.get("reporting_category") or "") or _STRIPE_TYPES.get(
        one["type"], one["type"]
    )
    gross = from_provider(one["amount"], currency).amount_minor
    fee = from_provider(one["fee"], currency).amount_minor
    net = from_provider(one["net"], currency).amount_minor
    passed_on = sum(
        from_provider(part["amount"], currency).amount_minor
        for part in one.get("fee_details") or []
        if part["type"] == _PASSED_ON
    )
    if kind == FEE:
        # A charge of the provider's own comes as a negative amount without a fee.
        gross, fee = 0, fee - gross
    source = _source(one)
    metadata = source.get("metadata") or {}
    intent = source.get("payment_intent") if kind == CHARGE else None
    return Line(
        line_key=one["id"],
        operation_id=metadata.get("operation_id", "") if kind != CHARGEBACK else "",
        provider_reference=intent or source.get("charge") or source.get("id", ""),
        type=kind,
        gross_minor=gross,
        fee_minor=fee,
        net_minor=net,
        currency=currency,
        batch="",
        payout_id=source.get("id", "") if kind == MERCHANT_PAYOUT else payout,
        occurred_at_ms=int(one["created"]) * 1000,
        available_on=day_of(int(one["available_on"]) * 1000),
        scheme_fee_minor=passed_on,
    )


def _source(one: dict[str, Any]) -> dict[str, Any]:
    source = one.get("source") or {}
    return {"id": source} if isinstance(source, str) else source


def _no_float(text: str) -> Any:
    # ``exchange_rate`` is the only one, and nothing is computed with it.
    return text


def _span(lines: list[Line]) -> tuple[int, int]:
    """The time that a file tells everything about: the days of its batches, or from its first to its last
    line."""
    days = sorted({line.batch_day for line in lines if line.batch_day})
    if days and (start_of(days[-1]) - start_of(days[0])) // DAY_MS + 1 == len(days):
        return start_of(days[0]), end_of(days[-1])
    times = [line.occurred_at_ms for line in lines if line.type != MERCHANT_PAYOUT]
    return (min(times), max(times) + 1) if times else (0, 0)


def _unreadable(name: str, number: int, reason: str) -> InvalidError:
    return InvalidError("settlement.file", f"{name}, line {number}: {reason}")
