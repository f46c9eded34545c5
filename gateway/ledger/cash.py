"""Cash in the books: what was handed over, what was given back, and what rounding left over.

Tender and change are lines of their own, so a drawer's turnover can be read from the books. Where the
smallest coin is gone a total is rounded for cash only; whoever takes the cash knows the rule of the country
and says what the rounded total is. The difference is posted to rounding.
"""

from __future__ import annotations

from gateway.kernel.errors import InvalidError
from gateway.kernel.money import Money
from gateway.ledger import accounts
from gateway.ledger.entries import Entry, move


def cash_taken(due: Money, total: Money, tendered: Money, *, drawer: str, credit: str) -> tuple[Entry, ...]:
    """Return the entries of a cash payment: tender in, change out, rounding, and the amount due on
    ``credit``.

    ``total`` is what is due after rounding. Raises InvalidError ``cash.not_enough`` (data: missing).
    """
    change = tendered - total
    if change.amount_minor < 0:
        missing = total - tendered
        raise InvalidError(
            "cash.not_enough", f"{missing} more is needed.", data={"missing": missing.amount_minor}
        )
    currency = due.currency
    return (
        Entry(accounts.cash(drawer), currency, tendered.amount_minor),
        Entry(accounts.cash(drawer), currency, -change.amount_minor),
        Entry(accounts.ROUNDING, currency, (due - total).amount_minor),
        Entry(credit, currency, -due.amount_minor),
    )


def cash_given(due: Money, total: Money, *, drawer: str, debit: str) -> tuple[Entry, ...]:
    """Return the entries of a cash refund: the rounded total out of the drawer."""
    return (
        Entry(debit, due.currency, due.amount_minor),
        Entry(accounts.cash(drawer), due.currency, -total.amount_minor),
        Entry(accounts.ROUNDING, due.currency, (total - due).amount_minor),
    )


def cash_counted(expected: Money, counted: Money, *, drawer: str) -> tuple[Entry, ...]:
    """Return the entries of a drawer's count: what is over or short goes to cash variance."""
    over = counted - expected
    return move(over.currency, over.amount_minor, debit=accounts.cash(drawer), credit=accounts.CASH_VARIANCE)
