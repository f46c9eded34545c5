"""What the goods contract should do, in Python, and steps that compare the contract with it."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.wallets.minting.contract_world import (
    ACCEPTS,
    ANSWERS_WRONG,
    BURNS_GAS,
    HOLDER,
    MINTER,
    OWNER,
    PASSES_ON,
    REFUSES,
    STRANGER,
    Reverted,
    address_of,
    calldata,
    open_goods,
    person,
    signed_return,
)
from wallets.minting.chain.deploy import ZERO_ADDRESS
from wallets.minting.chain.embedded_chain import EvmChain
from wallets.minting.chain.port import Receipt
from wallets.minting.contract import calls
from wallets.minting.contract.calls import Definition, MintItem, SignedReturn, SkipReason

KEYS = [OWNER, MINTER, HOLDER, STRANGER]
HOLDERS = {address_of(key): key for key in KEYS}
ACCOUNTS = [*HOLDERS, person(1), person(2)]
TAKER = "0x00000000000000000000000000000000000000AA"
"""Whom a recipient that passes its tokens on gives them to."""
CONTRACT = "the contract itself"
UNWILLING = ["refuses", "burns", "answers wrong", CONTRACT]
RECIPIENTS = [*ACCOUNTS, "accepts", "passes on", *UNWILLING, ZERO_ADDRESS]
LONG_AGO, LONG_AFTER = 1_000_000_000, 4_000_000_000

# Few numbers, editions and serials, so that steps meet; and the largest, which must not overflow anything.
NUMBERS = [*range(24), 255, 256, 2**256 - 1]
EDITIONS = [1, 2, calls.MAX_EDITION]
LAST_COPY = calls.numbered_token_id(calls.MAX_EDITION, 2**64 - 1)
"""The largest token id there is, 2**256 - 1."""
IDS = [
    *EDITIONS,
    *(calls.numbered_token_id(edition, serial) for edition in (1, 2) for serial in (1, 2, 3)),
    LAST_COPY,
]
NO_IDS = [calls.numbered_token_id(1, 1) - 1, 404, 2**191, 2**255 - 1]

AS_BOUGHT, FOREIGN_NUMBER, MORE, NOTHING, TOO_LATE, FORGED = range(6)
"""What is wrong with a return."""


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()  # removed when the process ends


@cache
def shared_chain() -> tuple[EvmChain, dict[str, str]]:
    """One chain for all examples, each with a contract of its own, and recipients with code by what they do."""
    chain = EvmChain(Path(_folder().name) / "chain.sqlite3")
    goods = open_goods(chain)
    modes = {
        "accepts": ACCEPTS,
        "passes on": PASSES_ON,
        "refuses": REFUSES,
        "burns": BURNS_GAS,
        "answers wrong": ANSWERS_WRONG,
    }
    return chain, {name: goods.receiver(mode) for name, mode in modes.items()}


class Model:
    """What the contract should hold."""

    def __init__(self) -> None:
        self.owner, self.candidate = OWNER, b""
        self.minters = {OWNER, MINTER}
        self.paused = False
        self.treasury = ""
        self.caps: dict[int, int] = {}
        self.minted: Counter[int] = Counter()
        self.balances: Counter[tuple[str, int]] = Counter()
        self.bought: list[tuple[int, bytes, int, int]] = []
        self.used: set[int] = set()
        self.returned: set[int] = set()
        self.serials: set[int] = set()
        self.approvals: set[tuple[bytes, bytes]] = set()

    def administer(self, signature: str, value: Any, enabled: bool = False) -> None:
        """Take in what the owner did."""
        match signature:
            case "set_paused(bool)":
                self.paused = value
            case "set_minter(address,bool)":
                (self.minters.add if enabled else self.minters.discard)(value)
            case "set_treasury(address)":
                self.treasury = value
            case "transfer_ownership(address)":
                self.candidate = value

    def define(self, definitions: Sequence[tuple[int, int]]) -> bool:
        """Take in editions, leaving those alone that exist; False, and no change, if one is impossible."""
        caps = dict(self.caps)
        for edition, cap in definitions:
            if edition not in caps:
                if not (edition < 2**191 and 0 < cap < 2**128):
                    return False
                caps[edition] = cap
        self.caps = caps
        return True

    def mint(self, number: int, to: str, token_id: int, amount: int) -> SkipReason | None:
        """Take in one purchase, or say why not."""
        if number in self.used:
            return SkipReason.ALREADY_MINTED
        if to == ZERO_ADDRESS:
            return SkipReason.RECEIVER_REFUSED
        edition, serial = calls.split_token_id(token_id)
        cap = self.caps.get(edition, 0)
        if amount == 0 or amount > cap - self.minted[edition]:
            return SkipReason.SOLD_OUT
        if serial is not None and (amount != 1 or not 0 < serial <= cap or token_id in self.serials):
            return SkipReason.SOLD_OUT
        if to in UNWILLING:
            return SkipReason.RECEIVER_REFUSED
        self.used.add(number)
        self.minted[edition] += amount
        if serial is not None:
            self.serials.add(token_id)
        self.balances[TAKER if to == "passes on" else to, token_id] += amount
        if to in HOLDERS:
            self.bought.append((number, HOLDERS[to], token_id, amount))
        return None

    def take_back(self, item: SignedReturn, good_signature: bool) -> SkipReason | None:
        """Return one purchase, or say why not."""
        if item.purchase_id in self.returned:
            return SkipReason.ALREADY_RETURNED
        if item.purchase_id not in self.used:
            return SkipReason.NOT_MINTED
        if item.deadline_s == LONG_AGO:
            return SkipReason.EXPIRED
        if not good_signature:
            return SkipReason.BAD_SIGNATURE
        if item.amount == 0 or self.balances[item.holder, item.token_id] < item.amount:
            return SkipReason.NOT_HELD
        self.returned.add(item.purchase_id)
        self.balances[item.holder, item.token_id] -= item.amount
        self.balances[self.treasury or address_of(self.owner), item.token_id] += item.amount
        return None

    def move(self, key: bytes, holder: bytes, to: str, moves: Sequence[tuple[int, int]]) -> bool:
        """Move tokens one after the other; False, and no change, if one cannot be moved."""
        if self.paused or not (key == holder or (holder, key) in self.approvals):
            return False
        if to in UNWILLING or to == ZERO_ADDRESS:
            return False
        balances = self.balances.copy()
        for token_id, amount in moves:
            if balances[address_of(holder), token_id] < amount:
                return False
            balances[address_of(holder), token_id] -= amount
            balances[to, token_id] += amount
        self.balances = balances
        return True


class Comparison:
    """Every step goes to the contract and to the model, and whether it succeeds is predicted, too."""

    def __init__(self, caps: Sequence[int]) -> None:
        """Deploy a contract with the first editions of `EDITIONS`, capped so."""
        chain, self.coded = shared_chain()
        self.goods = open_goods(chain)
        self.model = Model()
        self.outcomes: Counter[str] = Counter()
        self._changed = True
        self.define_many(MINTER, list(zip(EDITIONS, caps, strict=False)))

    def _address(self, to: str) -> str:
        return self.goods.address if to == CONTRACT else self.coded.get(to, to)

    def _send(self, key: bytes, data: bytes) -> Receipt | None:
        try:
            receipt = self.goods.transact(key, data)
        except Reverted:
            return None
        self._changed = True
        return receipt

    def _does(self, allowed: bool, key: bytes, signature: str, *arguments: object) -> bool:
        """Send a call that is to succeed exactly if it is allowed."""
        succeeded = self._send(key, calldata(signature, *arguments)) is not None
        assert succeeded == allowed, signature
        self.outcomes[f"{signature} {succeeded}"] += 1
        return succeeded

    def _may_mint(self, key: bytes) -> bool:
        return key in self.model.minters and not self.model.paused

    # What minters do

    def define(self, key: bytes, edition: int, cap: int) -> None:
        """Define one edition."""
        allowed = key in self.model.minters and edition not in self.model.caps
        allowed = allowed and self.model.define([(edition, cap)])
        self._does(allowed, key, "define(uint256,uint256,string)", edition, cap, "")

    def define_many(self, key: bytes, definitions: list[tuple[int, int]]) -> None:
        """Define several editions."""
        allowed = key in self.model.minters and self.model.define(definitions)
        data = calls.encode_define_many([Definition(edition, cap) for edition, cap in definitions])
        assert (self._send(key, data) is not None) == allowed

    def mint(self, key: bytes, items: list[tuple[int, str, int, int]]) -> None:
        """Mint purchases: number, recipient, token, amount."""
        sent = [MintItem(number, self._address(to), *rest) for number, to, *rest in items]
        encoded = calls.encode_mint(sent[0]) if len(sent) == 1 else calls.encode_mint_many(sent)
        receipt = self._send(key, encoded)
        # Nothing a recipient does fails its neighbours: the whole fails for the role and the pause alone.
        assert (receipt is not None) == self._may_mint(key)
        if receipt is not None:
            told = [(number, self.model.mint(number, *rest)) for number, *rest in items]
            self._compare_told(receipt, told, calls.PURCHASE_MINTED_TOPIC)

    def take_back(self, key: bytes, items: list[tuple[int, int, int]], one_by_one: bool) -> None:
        """Return purchases: the place among those made, what is wrong with the return, another number."""
        signed = [self._signed(*item) for item in items]
        if not one_by_one:
            receipt = self._send(key, calls.encode_return_many([item for item, _ in signed]))
            self._compare_returns(key, receipt, signed)
            return
        for item, good in signed:
            receipt = self._send(key, calls.encode_return(item))
            if receipt is None and self._may_mint(key):
                # A single one fails where a batch says why in an event.
                assert self.model.take_back(item, good) not in (None, SkipReason.ALREADY_RETURNED)
            else:
                self._compare_returns(key, receipt, [(item, good)])

    def _compare_returns(
        self, key: bytes, receipt: Receipt | None, signed: Sequence[tuple[SignedReturn, bool]]
    ) -> None:
        assert (receipt is not None) == self._may_mint(key)
        if receipt is not None:
            told = [(item.purchase_id, self.model.take_back(item, good)) for item, good in signed]
            self._compare_told(receipt, told, calls.PURCHASE_RETURNED_TOPIC)

    def _signed(self, place: int, wrong: int, number: int) -> tuple[SignedReturn, bool]:
        """A return of a purchase that was made, with at most one fault, and whether its signature is good."""
        bought = self.model.bought or [(number, HOLDER, IDS[0], 1)]
        purchase_id, holder, token_id, amount = bought[place % len(bought)]
        item = signed_return(
            self.goods,
            number if wrong == FOREIGN_NUMBER else purchase_id,
            key=KEYS[KEYS.index(holder) - 1] if wrong == FORGED else holder,
            holder=holder,
            token_id=token_id,
            amount={MORE: amount + 1, NOTHING: 0}.get(wrong, amount),
            deadline_s=LONG_AGO if wrong == TOO_LATE else LONG_AFTER,
        )
        return item, wrong != FORGED

    def _compare_told(
        self, receipt: Receipt, expected: Sequence[tuple[int, SkipReason | None]], done: bytes
    ) -> None:
        told = [
            (
                int.from_bytes(log.topics[1], "big"),
                None if log.topics[0] == done else SkipReason(int.from_bytes(log.data, "big")),
            )
            for log in receipt.logs
            if log.topics[0] in (done, calls.PURCHASE_SKIPPED_TOPIC)
        ]
        assert told == list(expected)
        self.outcomes.update(f"{done.hex()[:4]} {reason!r}" for _, reason in told)

    # What holders do

    def transfer(self, to: str, place: int, change: int, operator: bytes) -> None:
        """Move a balance, or one more or fewer; ``operator`` is empty for the holder."""
        holder, token_id = self._owned(place)
        amount = max(0, self.model.balances[address_of(holder), token_id] + change)
        key = operator or holder
        allowed = self.model.move(key, holder, TAKER if to == "passes on" else to, [(token_id, amount)])
        signature = "safeTransferFrom(address,address,uint256,uint256,bytes)"
        arguments = [address_of(holder), self._address(to), token_id, amount, b""]
        self._does(allowed, key, signature, *arguments)

    def transfer_batch(self, to: str, place: int, moves: list[tuple[int, int]], operator: bytes) -> None:
        """Move several: the token that was found, and others beside it in the list of ids."""
        holder, token_id = self._owned(place)
        chosen = [(IDS[(IDS.index(token_id) + step) % len(IDS)], amount) for step, amount in moves]
        key = operator or holder
        to = "accepts" if to == "passes on" else to  # it passes on single tokens only
        # The recipient that answers wrong does so for single tokens only, and none burns gas on a batch.
        to = "refuses" if to in ("burns", "answers wrong") else to
        allowed = self.model.move(key, holder, to, chosen)
        signature = "safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)"
        ids, amounts = [token_id for token_id, _ in chosen], [amount for _, amount in chosen]
        self._does(allowed, key, signature, address_of(holder), self._address(to), ids, amounts, b"")

    def _owned(self, place: int) -> tuple[bytes, int]:
        owned = [pair for pair, held in self.model.balances.items() if held and pair[0] in HOLDERS]
        owner, token_id = owned[place % len(owned)] if owned else (address_of(HOLDER), IDS[0])
        return HOLDERS[owner], token_id

    def approve(self, key: bytes, operator: bytes, approved: bool) -> None:
        """Approve an operator, or take it back."""
        self._does(True, key, "setApprovalForAll(address,bool)", address_of(operator), approved)
        (self.model.approvals.add if approved else self.model.approvals.discard)((key, operator))

    # What the owner does

    def administer(self, key: bytes, act: tuple[Any, ...], accepts: bytes) -> None:
        """An act of the owner; then somebody may try to accept an ownership that was offered."""
        signature, *values = act
        arguments = [address_of(value) if value in KEYS else value for value in values]
        if signature == "set_treasury(address)":
            arguments = [self._address(values[0]) if values[0] else ZERO_ADDRESS]
        if self._does(key == self.model.owner, key, signature, *arguments):
            self.model.administer(signature, *values)
        if accepts and self._does(accepts == self.model.candidate, accepts, "accept_ownership()"):
            self.model.owner, self.model.candidate = accepts, b""

    # What always holds

    def look(self) -> None:
        """Compare what was ever touched, after a step that changed something."""
        # A transaction that was reverted left nothing behind: that is the machine's promise, not the contract's.
        if self._changed:
            self._compare_balances(list(self.model.balances))
            self._compare_numbers()
            self._changed = False

    def look_at_everything(self) -> None:
        """Compare all balances, also those that ought to be nothing, and the roles."""
        holders = [*ACCOUNTS, "accepts", "passes on", TAKER, "refuses", CONTRACT]
        self._compare_balances([(holder, token_id) for holder in holders for token_id in IDS])
        owner = self.goods.ask("owner()", answer="address")
        assert owner == address_of(self.model.owner).lower()
        for key in KEYS:
            minter = self.goods.ask("is_minter(address)", address_of(key), answer="bool")
            assert minter == (key in self.model.minters)

    def _compare_balances(self, pairs: list[tuple[str, int]]) -> None:
        found = self.goods.ask(
            "balanceOfBatch(address[],uint256[])",
            [self._address(holder) for holder, _ in pairs],
            [token_id for _, token_id in pairs],
            answer="uint256[]",
        )
        assert {pair: held for pair, held in zip(pairs, found, strict=True) if held} == +self.model.balances
        held_of: Counter[int] = Counter()
        for (_, token_id), amount in zip(pairs, found, strict=True):
            edition, serial = calls.split_token_id(token_id)
            held_of[edition] += amount
            assert serial is None or amount <= 1
        for edition in EDITIONS:
            cap = self.goods.ask("max_supply(uint256)", edition, answer="uint256")
            assert cap == self.model.caps.get(edition, 0)
            assert held_of[edition] == self.goods.minted(edition) == self.model.minted[edition] <= cap

    def _compare_numbers(self) -> None:
        for encode, expected in (
            (calls.encode_are_minted, self.model.used),
            (calls.encode_are_returned, self.model.returned),
        ):
            answer = self.goods.chain.call(self.goods.address, encode(NUMBERS), None)
            flags = calls.decode_flags(answer, len(NUMBERS))
            assert {number for number, flag in zip(NUMBERS, flags, strict=True) if flag} == expected
        assert self.model.returned <= self.model.used
