"""What a provider says it settled: lines of its settlement file, in the columns that the books import.

The columns and their rules are written down in ``docs/settlement-format.md``. Writing is here, beside the
providers; reading is the books' side.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from enum import StrEnum


class LineType(StrEnum):
    CHARGE = "charge"
    REFUND = "refund"
    PAYOUT = "payout"
    """To a customer."""
    CHARGEBACK = "chargeback"
    FEE = "fee"
    MERCHANT_PAYOUT = "merchant_payout"
    """To the merchant's bank account."""


@dataclass(frozen=True, slots=True)
class SettlementLine:
    """Amounts are signed minor units (ISO 4217 exponents), dates ``YYYY-MM-DD`` in UTC."""

    line_key: str
    operation_id: str
    provider_reference: str
    type: str
    gross_minor: int
    fee_minor: int
    net_minor: int
    currency: str
    batch: str
    payout_id: str
    occurred_at_ms: int
    available_on: str

    def __post_init__(self) -> None:
        assert self.net_minor == self.gross_minor - self.fee_minor, self.line_key


@dataclass(frozen=True, slots=True)
class BankLine:
    line_key: str
    booked_on: str
    amount_minor: int
    currency: str
    reference: str
    counterparty: str


def settlement_csv(lines: Iterable[SettlementLine]) -> str:
    """Return the text of a settlement file."""
    return _csv(SettlementLine, lines)


def bank_csv(lines: Iterable[BankLine]) -> str:
    """Return the text of a bank statement file."""
    return _csv(BankLine, lines)


def merchant_payouts(lines: Iterable[SettlementLine], counterparty: str) -> list[BankLine]:
    """Return the bank's side of the merchant payouts among the lines."""
    return [
        BankLine(
            f"bnk_{line.payout_id}",
            line.available_on,
            -line.net_minor,
            line.currency,
            line.payout_id,
            counterparty,
        )
        for line in lines
        if line.type == LineType.MERCHANT_PAYOUT
    ]


def _csv(kind: type[SettlementLine | BankLine], lines: Iterable[SettlementLine | BankLine]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(kind)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(line) for line in lines)
    return text.getvalue()
