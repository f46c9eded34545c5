"""Estimates of gas: they bound a batch and are the limit sent with it. What is not used is not charged.

Measured on the committed contract: 32,000 per item in a batch of one edition to new holders, 33,000 for
numbered copies; another edition costs its own storage words on top.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

BASE = 100_000
MINT = 36_000
EDITION = 32_000
"""The first item of an edition in a batch: its supply word and, for numbered copies, a word of serials."""
SINGLE_WITH_CODE = 400_000
"""One recipient with code: what the contract lets it burn, the reserve it insists on, and our own writes."""
RETURN = 60_000
"""More than is charged in the end: clearing the holder's balance is refunded only after the call."""
OWN_CALL = 300_000
"""One mint on a merchant's own contract that names no limit: what contracts of the common libraries need,
with an enumerable collection and a recipient that runs code."""
DEFINITION = 60_000
URI_WORD = 25_000
SET_MINTER = 100_000


def definition(uri: str) -> int:
    """Return the estimate for one edition."""
    words = (len(uri.encode()) + 31) // 32
    return DEFINITION + (URI_WORD * (words + 1) if words else 0)


def least(calldata: bytes) -> int:
    """Return the lowest gas limit that a transaction with these data may have (EIP-7623)."""
    zeros = calldata.count(0)
    return 21_000 + 10 * zeros + 40 * (len(calldata) - zeros)


def fill(queued: Sequence[Any], most: int) -> tuple[list[Any], int]:
    """Return the first rows whose estimate stays within ``most`` (at least one), and that estimate."""
    chosen: list[Any] = []
    editions: set[int] = set()
    total = BASE
    for row in queued:
        added = MINT if row.item_number in editions else MINT + EDITION
        if chosen and total + added > most:
            break
        total += added
        editions.add(row.item_number)
        chosen.append(row)
    return chosen, total


def weights(chosen: Sequence[Any]) -> dict[str, int]:
    """Return what the items of a batch are estimated to need, by merchant, without what they share."""
    found: dict[str, int] = {}
    editions: set[int] = set()
    for row in chosen:
        needed = MINT if row.item_number in editions else MINT + EDITION
        editions.add(row.item_number)
        found[row.merchant_id] = found.get(row.merchant_id, 0) + needed
    return found


def apportion(total: int, weighed: Mapping[str, int]) -> dict[str, int]:
    """Share gas out in proportion to what each needs; the parts sum to ``total`` exactly.

    What division leaves over goes, one by one, to those with the largest remainder.
    """
    whole = sum(weighed.values())
    parts = {name: divmod(total * weight, whole) for name, weight in weighed.items()}
    left = total - sum(quotient for quotient, _ in parts.values())
    by_remainder = sorted(parts, key=lambda name: (-parts[name][1], name))
    extra = set(by_remainder[:left])
    return {name: quotient + (name in extra) for name, (quotient, _) in parts.items()}
