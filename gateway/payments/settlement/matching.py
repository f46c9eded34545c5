"""What a provider's line says against what we know: pure rules, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.ledger import accounts
from gateway.ledger.days import day_of, next_day
from gateway.ledger.entries import Entry, move
from gateway.payments.settlement.model import (
    CHARGEBACK,
    FEE,
    KINDS,
    MERCHANT_PAYOUT,
    RESERVE,
    Known,
    Line,
    Outcome,
)
from gateway.payments.settlement.tariffs import Tariff


@dataclass(frozen=True, slots=True)
class Judged:
    """A line with what comparing found, and why."""

    outcomes: tuple[Outcome, ...]
    findings: tuple[str, ...]
    known: Known | None
    explained_minor: int
    """The part of the gross amount that is in our books already, or has an account of its own."""


def choose(line: Line, found: Sequence[Known], taken: frozenset[str]) -> Known | None:
    """Return which of our operations under one name a line speaks of: of this amount first."""
    kind = KINDS.get(line.type)
    of_kind = [known for known in found if known.kind is kind]

    def fit(known: Known) -> tuple[bool, bool, str]:
        same = (known.gross_minor, known.amount.currency) == (line.gross_minor, line.currency)
        return (known.operation_id in taken, not same, known.operation_id)

    return min(of_kind, key=fit, default=None)


def judge(line: Line, known: Known | None, tariff: Tariff | None, *, settled_before: bool) -> Judged:
    """Compare a line with our operation. ``settled_before``: another line has settled the same one."""
    found: list[tuple[Outcome, str]] = []
    expected = 0
    if line.type in KINDS:
        if known is None or not known.succeeded:
            here = "is not known here" if known is None else f"{known.operation_id} is not done here"
            found.append((Outcome.MISSING_HERE, f"{line.type} {line.provider_reference} {here}"))
        elif settled_before:
            found.append((Outcome.DUPLICATE, f"{known.operation_id} was settled by another line"))
        else:
            expected, difference = _expected(line, known)
            found += [] if difference is None else [(Outcome.AMOUNT_DIFF, difference)]
        late = _late(line, known)
        found += [] if late is None else [(Outcome.LATE, late)]
    elif line.type == RESERVE:
        expected = 0
    fee = None if tariff is None else tariff.fee(line.type, line.gross_minor)
    if fee is not None and fee != line.fee_minor:
        found.append((Outcome.FEE_DIFF, f"fee {line.fee_minor}, by the tariff {fee} {line.currency}"))
    elif line.net_minor != line.gross_minor - line.fee_minor:
        net = line.gross_minor - line.fee_minor
        found.append((Outcome.FEE_DIFF, f"net {line.net_minor}, gross less fee is {net} {line.currency}"))
    outcomes = tuple(outcome for outcome, _ in found) or (Outcome.MATCHED,)
    return Judged(outcomes, tuple(text for _, text in found), known, expected)


def entries_of(line: Line, judged: Judged, provider: str) -> list[Entry]:
    """Return what a line adds to the books: fees, chargebacks, reserves, and to suspense what nothing
    explains.

    Captures, refunds and payouts to customers are in the books already. A payout to the merchant is posted
    with the bank's line.
    """
    if line.type == MERCHANT_PAYOUT:
        return []
    currency, owed = line.currency, accounts.clearing(provider)
    fee, scheme = line.gross_minor - line.net_minor, line.scheme_fee_minor
    entries = [
        *move(currency, fee - scheme, debit=accounts.card_fees(provider), credit=owed),
        *move(currency, scheme, debit=accounts.scheme_fees(provider), credit=owed),
    ]
    rest = line.gross_minor - judged.explained_minor
    entries += move(currency, rest, debit=owed, credit=_contra(line, judged, provider))
    return [entry for entry in entries if entry.amount]


def _contra(line: Line, judged: Judged, provider: str) -> str:
    if line.type == CHARGEBACK and Outcome.DUPLICATE not in judged.outcomes and judged.known is not None:
        return accounts.CHARGEBACKS
    if line.type == RESERVE:
        return accounts.reserve(provider)
    if line.type == FEE:
        return accounts.card_fees(provider)
    return accounts.SUSPENSE


def _expected(line: Line, known: Known) -> tuple[int, str | None]:
    """What of the line is in the books already, and what differs. A chargeback takes back at most the
    capture."""
    if line.type == CHARGEBACK:
        same = line.currency == known.amount.currency and 0 <= -line.gross_minor <= known.amount.amount_minor
        return 0, None if same else f"{-line.gross_minor} {line.currency} taken back of {known.amount}"
    if line.currency != known.amount.currency:
        return 0, f"{line.gross_minor} {line.currency}, here {known.amount}"
    if line.gross_minor != known.gross_minor:
        return known.gross_minor, f"{line.gross_minor} {line.currency}, here {known.gross_minor}"
    return known.gross_minor, None


def _late(line: Line, known: Known | None) -> str | None:
    """A batch holds what was decided on its day; midnight may lie between the provider's clock and ours."""
    settled = line.batch_day or day_of(line.occurred_at_ms)
    if settled > day_of(line.occurred_at_ms):
        return f"settled with {settled}, done on {day_of(line.occurred_at_ms)}"
    if known is not None and known.succeeded and line.type != CHARGEBACK:
        done = day_of(known.updated_at_ms)
        if settled > next_day(done):
            return f"settled with {settled}, here done on {done}"
    return None
