"""A line of a provider, a line of the bank, and what can be wrong with them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from gateway.kernel.money import Money
from wallets.vault.port import OperationKind

CHARGE, REFUND, PAYOUT = "charge", "refund", "payout"
CHARGEBACK, FEE, MERCHANT_PAYOUT, RESERVE = "chargeback", "fee", "merchant_payout", "reserve"
KINDS = {
    CHARGE: OperationKind.CAPTURE,
    REFUND: OperationKind.REFUND,
    PAYOUT: OperationKind.PAYOUT,
    # It takes a capture back.
    CHARGEBACK: OperationKind.CAPTURE,
}
"""Which operation of ours a line speaks of. Other lines stand for themselves."""
OPERATOR = "operator"
"""Whose books take what cannot be told to belong to a merchant, where there is more than one."""


class Outcome(StrEnum):
    """What comparing found, one or more for each line."""

    MATCHED = "matched"
    MISSING_HERE = "missing_here"
    """The provider did something that we do not know as done."""
    MISSING_AT_PROVIDER = "missing_at_provider"
    """We know it as done, and the provider's files of that time do not have it."""
    AMOUNT_DIFF = "amount_diff"
    FEE_DIFF = "fee_diff"
    """The fee is not the tariff's, or the net amount is not gross less fee."""
    DUPLICATE = "duplicate"
    """Two lines for one operation."""
    LATE = "late"
    """Settled on a later day than it was done."""
    CHANGED = "changed"
    """A line that was imported before, with other contents now. The first one stands."""
    PAYOUT_DIFF = "payout_diff"
    """A payout is not the sum of its lines."""
    MISSING_AT_BANK = "missing_at_bank"
    BANK_DIFF = "bank_diff"
    """The bank received another amount than was paid out."""
    BANK_UNKNOWN = "bank_unknown"
    """The bank received money that no payout explains."""


class Line(NamedTuple):
    """A line of a provider. Amounts are signed minor units from our side; see docs/settlement-format.md."""

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
    scheme_fee_minor: int = 0
    """The part of the fee that card schemes and issuers keep, where the provider tells it."""

    @property
    def batch_day(self) -> str:
        """The day that the batch is of, or nothing."""
        return self.batch.partition("/")[0]


class BankLine(NamedTuple):
    """A line of a bank statement: above zero is received."""

    line_key: str
    booked_on: str
    amount_minor: int
    currency: str
    reference: str
    counterparty: str


@dataclass(frozen=True, slots=True)
class Known:
    """An operation of ours."""

    operation_id: str
    kind: OperationKind
    succeeded: bool
    amount: Money
    order_id: str | None
    merchant_id: str | None
    provider_reference: str | None
    created_at_ms: int
    updated_at_ms: int

    @property
    def gross_minor(self) -> int:
        """The amount as a settlement line writes it."""
        sign = 1 if self.kind is OperationKind.CAPTURE else -1
        return sign * self.amount.amount_minor


class Difference(NamedTuple):
    """Something that does not agree."""

    outcome: Outcome
    source: str
    """Which of our sources: a provider or a bank account."""
    name: str
    """The line, operation or payout it is about."""
    text: str
