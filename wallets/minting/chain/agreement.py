"""What several endpoints said, and what it comes to. Rules without I/O.

With one endpoint it is believed in everything. With two, both must say the same; while one is away the other
is believed alone. With three or more, two must always say the same, so that one may lie or be away.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from wallets.minting.chain.endpoint import Endpoint
from wallets.minting.chain.port import (
    AlreadyKnown,
    CallReverted,
    ChainError,
    ChainRefused,
    ChainUnavailable,
    FeeTooLow,
    InsufficientFunds,
    NonceTooHigh,
    NonceTooLow,
)

AnswerT = TypeVar("AnswerT")

AGREE = 2
"""So many endpoints must say the same where there are so many."""

# What a broadcast comes to when no endpoint takes it: the first of these that was said. A fee is raised only
# if nothing else has a name, because that costs money.
_REFUSALS = (AlreadyKnown, NonceTooLow, NonceTooHigh, InsufficientFunds, FeeTooLow, ChainRefused)


@dataclass(frozen=True, slots=True)
class Said(Generic[AnswerT]):
    """What one endpoint said: an answer, or the error in its place."""

    endpoint: Endpoint
    answer: AnswerT | None = None
    error: ChainError | None = None

    @property
    def is_away(self) -> bool:
        """It did not answer. A refusal is an answer."""
        return isinstance(self.error, ChainUnavailable)

    @property
    def verdict(self) -> Hashable | None:
        """What may be compared: the answer, or what the contract refused with; None if it has no say."""
        if isinstance(self.error, CallReverted):
            return self.error.reason, self.error.return_data
        return self.answer


def needed(configured: int, answering: int) -> int:
    """Return how many of the endpoints that answer must agree."""
    return AGREE if configured > AGREE else max(1, min(configured, answering))


def answers(said: Sequence[Said[AnswerT]]) -> list[AnswerT]:
    """Return the answers among what was said."""
    return [one.answer for one in said if one.answer is not None]


def most_said(said: Sequence[Said[Any]]) -> tuple[Hashable | None, int]:
    """Return the verdict that most gave, and how many did. The preferred endpoint's wins a tie."""
    verdicts = [one.verdict for one in said if one.verdict is not None]
    if not verdicts:
        return None, 0
    chosen = max(verdicts, key=verdicts.count)
    return chosen, verdicts.count(chosen)


def reached(numbers: Sequence[int], count: int) -> int:
    """Return the highest number that ``count`` of them have reached. There are at least so many."""
    return sorted(numbers, reverse=True)[count - 1]


def refusal(said: Sequence[Said[Any]]) -> ChainError:
    """Return what a broadcast comes to that no endpoint took."""
    errors = [one.error for one in said if one.error is not None and not one.is_away]
    for kind in _REFUSALS:
        for error in errors:
            if isinstance(error, kind):
                return error
    return why_not(said)


def why_not(said: Sequence[Said[Any]]) -> ChainError:
    """Return the error to raise when too few answered: a refusal if there is one, it says more."""
    errors = [one.error for one in said if one.error is not None]
    refused = [error for error in errors if not isinstance(error, ChainUnavailable)]
    return next(iter(refused + errors), ChainUnavailable("too few endpoints of the chain answer"))
