"""Promises about tokens, asked of the chain itself: a copy of its file, opened without the gateway."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from eth_utils.crypto import keccak

from tests.support.evidence import Evidence, Row
from tests.support.promises import Violation, by
from wallets.minting.chain.embedded_chain import EvmChain
from wallets.minting.contract.calls import (
    MAX_BATCH,
    decode_flags,
    encode_are_minted,
    encode_are_returned,
    encode_balance_of,
)

_ON_CHAIN = ("minted", "final")
_ENTITLED = {"captured": ["granted"], "returning": ["revoked"], "returned": ["revoked"]}
"""The entitlements of a delivered leg in this state; in any other it has none."""
DELIVERED = ("fulfilled", "captured", "capture_failed", "returning", "returned")
"""The states of a leg whose mint was in a block, unless it was paid first and given back before."""


def is_delivered(leg: Row) -> bool:
    """Whether what is digital of this leg was ever given."""
    given_back_before = leg["paid_first"] and leg["delivered_at_ms"] is None
    return leg["state"] in DELIVERED and not given_back_before


class ChainCopy:
    """The token contract as the chain has it. Reading changes nothing of the original."""

    def __init__(self, evidence: Evidence, folder: Path) -> None:
        for file in evidence.data_dir.glob("chain.db*"):
            shutil.copy(file, folder)
        self._chain = EvmChain(folder / "chain.db")
        self._contract: str = evidence.rows("SELECT address FROM token_contract")[0]["address"]

    def close(self) -> None:
        self._chain.close()

    def minted_numbers(self, up_to: int) -> set[int]:
        """Return the purchase numbers that were minted."""
        return self._flags(encode_are_minted, up_to)

    def returned_numbers(self, up_to: int) -> set[int]:
        """Return the purchase numbers whose tokens were given back."""
        return self._flags(encode_are_returned, up_to)

    def balance(self, holder: str, token_id: int) -> int:
        return self._number(encode_balance_of(holder, token_id))

    def supply(self, token_id: int) -> int:
        """Return how many of a token were ever minted."""
        return self._number(keccak(text="minted(uint256)")[:4] + token_id.to_bytes(32, "big"))

    def treasury(self) -> str:
        return "0x" + self._chain.call(self._contract, keccak(text="treasury()")[:4], None)[-20:].hex()

    def _flags(self, encode: object, up_to: int) -> set[int]:
        found: set[int] = set()
        for first in range(0, up_to, MAX_BATCH):
            numbers = list(range(first, min(first + MAX_BATCH, up_to)))
            data = self._chain.call(self._contract, encode(numbers), None)
            flags = decode_flags(data, len(numbers))
            found |= {number for number, flag in zip(numbers, flags, strict=True) if flag}
        return found

    def _number(self, data: bytes) -> int:
        return int.from_bytes(self._chain.call(self._contract, data, None), "big")


def tokens(evidence: Evidence, at_rest: bool) -> Iterator[Violation]:
    """Tokens on the chain = legs that were delivered: by purchase number, by owner, and within the caps."""
    mints = evidence.rows("SELECT * FROM mint")
    yield from _legs(evidence, mints, at_rest)
    if not evidence.count("token_contract", "state = 'deployed'"):
        return
    with tempfile.TemporaryDirectory() as folder:
        chain = ChainCopy(evidence, Path(folder))
        try:
            # Merchants' own contracts know no purchase numbers.
            ours = [row for row in mints if row["receiver"] != "own"]
            yield from _chain(evidence, ours, chain, at_rest)
        finally:
            chain.close()


def _legs(evidence: Evidence, mints: list[Row], at_rest: bool) -> Iterator[Violation]:
    promise = "tokens and legs"
    by_leg = by(mints, "leg_id")
    for leg in evidence.rows("SELECT l.*, o.customer_id FROM leg l JOIN customer_order o USING (order_id)"):
        if leg["kind"] == "entitle":
            rows = evidence.rows("SELECT state FROM entitlement WHERE leg_id = ?", leg["leg_id"])
            given = [row["state"] for row in rows]
            if given != (_ENTITLED.get(leg["state"], []) if is_delivered(leg) else []):
                yield Violation(promise, leg["leg_id"], f"entitlements {given}, leg {leg['state']}")
        if leg["kind"] != "mint":
            continue
        mint = by_leg.pop(leg["leg_id"], [None])[0]
        state = None if mint is None else mint["state"]
        # A reorganization took the block of its mint, and there was no second.
        lost = state == "skipped" and leg["token"] is None and is_delivered(leg)
        if is_delivered(leg) != (state in _ON_CHAIN or lost):
            yield Violation(promise, leg["leg_id"], f"leg {leg['state']}, mint {state}")
        if at_rest and state in ("queued", "claimed", "sent", "minted"):
            yield Violation(promise, leg["leg_id"], f"mint still {state}")
        returned = mint is not None and mint["return_state"] == "returned"
        if at_rest and (returned or lost) != (leg["state"] == "returned" and is_delivered(leg)):
            yield Violation(promise, leg["leg_id"], f"leg {leg['state']}, token returned: {returned}")
    for leg_id in by_leg:
        yield Violation(promise, leg_id, "minted without a leg")


def _chain(evidence: Evidence, mints: list[Row], chain: ChainCopy, at_rest: bool) -> Iterator[Violation]:
    promise = "tokens on the chain"
    given = evidence.rows("SELECT coalesce(max(next_number), 0) AS n FROM mint_sequence")[0]["n"]
    on_chain = chain.minted_numbers(given + MAX_BATCH)
    returned_there = chain.returned_numbers(given + MAX_BATCH)
    numbers = Counter(row["purchase_number"] for row in mints if row["purchase_number"] is not None)
    for number, times in numbers.items():
        if times > 1:
            yield Violation(promise, f"purchase {number}", f"given to {times} legs")
    recorded = {row["purchase_number"] for row in mints if row["state"] in _ON_CHAIN}
    # What was sent and not yet recorded may be in a block already.
    open_numbers = set() if at_rest else {row["purchase_number"] for row in mints if row["state"] == "sent"}
    for number in (on_chain - recorded - open_numbers) | (recorded - on_chain):
        yield Violation(promise, f"purchase {number}", f"minted on the chain: {number in on_chain}")
    returned = {row["purchase_number"] for row in mints if row["return_state"] == "returned"}
    if at_rest and returned != returned_there:
        yield Violation(promise, "returns", f"recorded {returned}, on the chain {returned_there}")
    if not at_rest:
        return
    treasury = chain.treasury()
    owed: dict[tuple[str, int], int] = defaultdict(int)
    supply: dict[int, int] = defaultdict(int)
    for row in mints:
        if row["state"] not in _ON_CHAIN:
            continue
        token_id = int(row["token_id"])
        supply[token_id] += row["amount"]
        holder = treasury if row["purchase_number"] in returned else row["recipient"]
        owed[holder, token_id] += row["amount"]
        owed.setdefault((row["recipient"], token_id), 0)
    for (holder, token_id), amount in owed.items():
        if chain.balance(holder, token_id) != amount:
            there = chain.balance(holder, token_id)
            yield Violation(promise, holder, f"has {there} of token {token_id}, should have {amount}")
    for token_id, amount in supply.items():
        if token_id >> 255 and amount != 1:
            yield Violation(promise, f"token {token_id}", f"a numbered copy minted {amount} times")
        if chain.supply(token_id) != amount:
            yield Violation(
                promise, f"token {token_id}", f"supply {chain.supply(token_id)}, recorded {amount}"
            )
    minted_per_item: Counter[int] = Counter()
    for row in mints:
        if row["state"] in _ON_CHAIN:
            minted_per_item[row["item_number"]] += row["amount"]
    for item in evidence.rows("SELECT * FROM token_item WHERE cap IS NOT NULL"):
        if minted_per_item[item["item_number"]] > int(item["cap"]):
            yield Violation(promise, item["sku"], f"{minted_per_item[item['item_number']]} of {item['cap']}")
