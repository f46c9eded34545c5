"""A question to a guardian: its states and the moves between them. No I/O.

    pending -> approved -> done | refused
       |
       +-> declined | expired | ended

The guardian's word and the time are decided here, by one move each; the vault is told afterwards.
"""

from __future__ import annotations

from enum import StrEnum

MOST_REQUESTS = 5
"""Questions about one order; after that a purchase above the limit is declined without asking."""
APPROVAL_VALID_MS = 60 * 60_000
"""How long the vault keeps an approval that was given: for this payment and one more try."""


class GuardianState(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    """The guardian agreed; the vault is being told."""
    DONE = "done"
    """The vault has the approval; the payment went on if the order still waited for it."""
    REFUSED = "refused"
    """The vault did not take the approval."""
    DECLINED = "declined"
    EXPIRED = "expired"
    ENDED = "ended"
    """There is nothing left to decide: the order was paid another way or given up."""


_S = GuardianState
GUARDIAN_MOVES: dict[GuardianState, frozenset[GuardianState]] = {
    _S.PENDING: frozenset({_S.APPROVED, _S.DECLINED, _S.EXPIRED, _S.ENDED}),
    _S.APPROVED: frozenset({_S.DONE, _S.REFUSED}),
    _S.DONE: frozenset(),
    _S.REFUSED: frozenset(),
    _S.DECLINED: frozenset(),
    _S.EXPIRED: frozenset(),
    _S.ENDED: frozenset(),
}


def is_approved(state: GuardianState) -> bool:
    """Whether the guardian has agreed, whatever came of it."""
    match state:
        case _S.APPROVED | _S.DONE | _S.REFUSED:
            return True
        case _S.PENDING | _S.DECLINED | _S.EXPIRED | _S.ENDED:
            return False


def shown_state(state: GuardianState) -> str:
    """Return the word that clients see: what the guardian decided, not how far the vault was told."""
    return _S.APPROVED.value if is_approved(state) else state.value
