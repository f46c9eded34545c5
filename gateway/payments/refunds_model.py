"""What a refund request is: who asked for it, who approved it, where the money goes. No I/O.

    to the original method:  approved -> done | failed
    anywhere else:           pending -> approved -> done | failed
                                |
                                +-> rejected | expired

Money that does not go back the way it came needs a second person (OWASP ASVS 2.3.5): whoever asked cannot
approve. While a request is pending or approved its amount is reserved, so that no other refund can take it.
"""

from __future__ import annotations

import unicodedata
from enum import StrEnum

from gateway.kernel.ids import Id


class RefundId(Id):
    prefix = "rfd"


class RefundWay(StrEnum):
    """Where the money goes."""

    ORIGINAL = "original"
    """Back to the method that paid (Directive 2011/83/EU Art. 13(1): the same means of payment)."""
    METHOD = "method"
    """To another method of the customer, as far as something was captured."""
    PAYOUT = "payout"
    """To a method of the customer, for goodwill: nothing that was paid is given back."""


class RefundState(StrEnum):
    PENDING = "pending"
    """Waits for a second person."""
    APPROVED = "approved"
    """The money is on its way."""
    REJECTED = "rejected"
    EXPIRED = "expired"
    """Nobody approved it in time."""
    DONE = "done"
    FAILED = "failed"
    """The provider did not do all of it; what it did counts."""


REFUND_MOVES: dict[RefundState, frozenset[RefundState]] = {
    RefundState.PENDING: frozenset({RefundState.APPROVED, RefundState.REJECTED, RefundState.EXPIRED}),
    RefundState.APPROVED: frozenset({RefundState.DONE, RefundState.FAILED}),
    RefundState.REJECTED: frozenset(),
    RefundState.EXPIRED: frozenset(),
    RefundState.DONE: frozenset(),
    RefundState.FAILED: frozenset(),
}


def needs_second_person(way: RefundWay) -> bool:
    """Whether somebody else than who asked has to approve."""
    match way:
        case RefundWay.ORIGINAL:
            return False
        case RefundWay.METHOD | RefundWay.PAYOUT:
            return True


def is_same_person(one: str, other: str) -> bool:
    """Whether two names of staff stand for one person: upper and lower case make no other person of them."""
    return unicodedata.normalize("NFKC", one).casefold() == unicodedata.normalize("NFKC", other).casefold()


def gives_back(way: RefundWay) -> bool:
    """Whether the amount is part of what the customer paid."""
    match way:
        case RefundWay.ORIGINAL | RefundWay.METHOD:
            return True
        case RefundWay.PAYOUT:
            return False


def refund_is_open(state: RefundState) -> bool:
    """Whether the request still keeps its amount from others."""
    match state:
        case RefundState.PENDING | RefundState.APPROVED:
            return True
        case RefundState.REJECTED | RefundState.EXPIRED | RefundState.DONE | RefundState.FAILED:
            return False


def tax_share(tax_minor: int, gross_minor: int, before_minor: int, amount_minor: int) -> int:
    """Return the tax in a part of a gross amount, of which ``before_minor`` was taken before.

    Each part rounds half up what has been taken so far, so that all parts together hold exactly the tax.
    """

    def so_far(taken: int) -> int:
        return (2 * tax_minor * taken + gross_minor) // (2 * gross_minor)

    return so_far(before_minor + amount_minor) - so_far(before_minor)
