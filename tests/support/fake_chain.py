"""A chain in memory that does what a real node may do to us: hold back, reorganise, lie, be away.

It runs the goods contract's rules in Python for the calls the lanes make. Blocks keep a copy of the whole
state, so a reorganisation just drops blocks. Nonces, fees and receipts follow the port's rules.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from eth_abi.abi import decode
from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from hexbytes import HexBytes

from wallets.minting.chain.deploy import create_address
from wallets.minting.chain.port import (
    AlreadyKnown,
    ChainUnavailable,
    Fees,
    FeeTooLow,
    Log,
    NonceTooLow,
    Receipt,
)
from wallets.minting.contract.calls import (
    PURCHASE_MINTED_TOPIC,
    PURCHASE_SKIPPED_TOPIC,
    SkipReason,
    split_token_id,
)

CHAIN_ID = 31337

_SIGNATURES = {
    "mint": ["uint256", "address", "uint256", "uint256"],
    "mint_many": ["uint256[]", "address[]", "uint256[]", "uint256[]"],
    "define_many": ["uint256[]", "uint256[]", "string[]"],
    "return_many": ["uint256[]", "address[]", "uint256[]", "uint256[]"]
    + ["uint256[]", "uint8[]"]
    + ["uint256[]"] * 2,
    "set_minter": ["address", "bool"],
    "are_minted": ["uint256[]"],
    "are_returned": ["uint256[]"],
    "balanceOf": ["address", "uint256"],
    "is_minter": ["address"],
    "max_supply": ["uint256"],
    "minted": ["uint256"],
}
_BY_SELECTOR = {
    keccak(text=f"{name}({','.join(types)})")[:4]: (name, types) for name, types in _SIGNATURES.items()
}


@dataclass
class State:
    """Everything the contract and the accounts hold."""

    nonces: dict[str, int] = field(default_factory=dict)
    contracts: set[str] = field(default_factory=set)
    minters: set[str] = field(default_factory=set)
    caps: dict[int, int] = field(default_factory=dict)
    supply: dict[int, int] = field(default_factory=dict)
    serials: set[int] = field(default_factory=set)
    minted: set[int] = field(default_factory=set)
    returned: set[int] = field(default_factory=set)
    balances: dict[tuple[str, int], int] = field(default_factory=dict)
    foreign: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    """Tokens of contracts that are not ours: holder and id, in the order they were made."""


@dataclass
class Block:
    """A block with the state after it."""

    hash: bytes
    state: State
    receipts: dict[bytes, Receipt] = field(default_factory=dict)


@dataclass(frozen=True)
class Pooled:
    """A transaction the node holds."""

    hash: bytes
    sender: str
    nonce: int
    max_fee: int
    to: str | None
    data: bytes


class FakeChain:
    """A ChainClient. ``automine`` puts a transaction into a block when it is sent; otherwise call `mine`."""

    def __init__(self, *, automine: bool = True) -> None:
        self.automine = automine
        self.base_fee = 10**9
        self.refusing: set[str] = set()
        """Recipients with code that refuse every token."""
        self.with_code: set[str] = set()
        self.away = False
        self.fail: Callable[[str], None] = lambda method: None
        """Called with the name of every method before it acts; may raise."""
        self.lie_about_receipts = False
        """Show receipts of transactions whose block a reorganisation dropped."""
        self.paused = False
        self.foreign: dict[str, Callable[[State, Pooled, list[Log]], bool]] = {}
        """Contracts that are not ours, by address; each runs a transaction and says whether it succeeded."""
        self.gas_used = 21_000
        """What every transaction costs."""
        self.sent: list[bytes] = []
        self._blocks = [Block(b"\0" * 32, State())]
        self._pool: dict[tuple[str, int], Pooled] = {}
        self._forgotten: dict[bytes, Receipt] = {}
        self._salt = 0

    # What tests do to it

    @property
    def state(self) -> State:
        return self._blocks[-1].state

    def mine(self, count: int = 1) -> None:
        """Mine blocks. They take every transaction that is next in its line and pays enough."""
        for _ in range(count):
            self._mine()

    def reorg(self, depth: int) -> None:
        """Drop the newest blocks and their transactions, and mine as many empty ones."""
        depth = min(depth, len(self._blocks) - 1)
        for _ in range(depth):
            self._forgotten.update(self._blocks.pop().receipts)
        for _ in range(depth):
            self._seal({}, copy.deepcopy(self.state))

    def drop_pool(self) -> None:
        """Forget what is in no block, as a node that restarts."""
        self._pool.clear()

    def holding(self, token_id: int) -> dict[str, int]:
        """Who holds a token and how many."""
        return {who: held for (who, token), held in self.state.balances.items() if token == token_id and held}

    # The port

    async def chain_id(self) -> int:
        self._asked("chain_id")
        return CHAIN_ID

    async def head(self) -> int:
        self._asked("head")
        return len(self._blocks) - 1

    async def block_hash(self, number: int) -> bytes | None:
        self._asked("block_hash")
        return self._blocks[number].hash if 0 <= number < len(self._blocks) else None

    async def nonce(self, address: str, block: int | None = None) -> int:
        self._asked("nonce")
        return self._at(block).nonces.get(address, 0)

    async def balance(self, address: str) -> int:
        self._asked("balance")
        return 10**24

    async def code(self, address: str) -> bytes:
        self._asked("code")
        has_code = address in self.state.contracts | self.with_code | self.refusing | self.foreign.keys()
        return b"\1" if has_code else b""

    async def fees(self) -> Fees:
        self._asked("fees")
        return Fees(max_fee=2 * self.base_fee, priority_fee=max(1, self.base_fee // 10))

    async def receipt(self, tx_hash: bytes) -> Receipt | None:
        self._asked("receipt")
        for block in self._blocks:
            if tx_hash in block.receipts:
                return block.receipts[tx_hash]
        return self._forgotten.get(tx_hash) if self.lie_about_receipts else None

    async def call(self, to: str, data: bytes, block: int | None = None) -> bytes:
        self._asked("call")
        state = self._at(block)
        name, (first, *rest) = _decoded(data)
        match name:
            case "are_minted" | "are_returned":
                known = state.minted if name == "are_minted" else state.returned
                return _words(32, len(first), *(number in known for number in first))
            case "balanceOf":
                return _words(state.balances.get((to_checksum_address(first), rest[0]), 0))
            case "is_minter":
                return _words(int(to_checksum_address(first) in state.minters))
            case "max_supply":
                edition, serial = split_token_id(first)
                cap = state.caps.get(edition, 0)
                return _words(cap if serial is None else int(serial <= cap))
            case "minted":
                _, serial = split_token_id(first)
                return _words(state.supply.get(first, 0) if serial is None else int(first in state.serials))
        raise AssertionError(name)

    async def send_raw(self, raw: bytes) -> bytes:
        self._asked("send_raw")
        fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
        to = HexBytes(fields["to"]) if fields["to"] else b""
        pooled = Pooled(
            hash=keccak(raw),
            sender=Account.recover_transaction(raw),
            nonce=fields["nonce"],
            max_fee=fields["maxFeePerGas"],
            to=to_checksum_address(to) if to else None,
            data=bytes(HexBytes(fields["data"])),
        )
        self.sent.append(pooled.hash)
        key = (pooled.sender, pooled.nonce)
        queued = self._pool.get(key)
        if pooled.nonce < self.state.nonces.get(pooled.sender, 0):
            raise NonceTooLow("used")
        if queued is not None and queued.hash == pooled.hash:
            raise AlreadyKnown("queued")
        if queued is not None and pooled.max_fee * 10 < queued.max_fee * 11:
            raise FeeTooLow("replacement")
        self._pool[key] = pooled
        if self.automine:
            self._mine()
        return pooled.hash

    async def close(self) -> None:
        """Nothing to release."""

    # Its inside

    def _asked(self, method: str) -> None:
        if self.away:
            raise ChainUnavailable("away")
        self.fail(method)

    def _at(self, block: int | None) -> State:
        return self.state if block is None else self._blocks[max(block, 0)].state

    def _mine(self) -> None:
        state = copy.deepcopy(self.state)
        receipts: dict[bytes, Receipt] = {}
        number = len(self._blocks)
        for key in sorted(self._pool):
            tx = self._pool[key]
            if tx.max_fee < self.base_fee or state.nonces.get(tx.sender, 0) != tx.nonce:
                continue
            del self._pool[key]
            state.nonces[tx.sender] = tx.nonce + 1
            logs: list[Log] = []
            after = copy.deepcopy(state)
            succeeded = self._run(after, tx, logs)
            if succeeded:
                state = after
            receipts[tx.hash] = Receipt(
                tx_hash=tx.hash,
                block_number=number,
                block_hash=b"",
                succeeded=succeeded,
                gas_used=self.gas_used,
                contract_address=None,
                logs=tuple(logs) if succeeded else (),
            )
        self._seal(receipts, state)

    def _seal(self, receipts: dict[bytes, Receipt], state: State) -> None:
        self._salt += 1
        block_hash = hashlib.sha256(self._blocks[-1].hash + self._salt.to_bytes(8, "big")).digest()
        sealed = {
            tx_hash: Receipt(
                tx_hash,
                receipt.block_number,
                block_hash,
                receipt.succeeded,
                receipt.gas_used,
                receipt.contract_address,
                receipt.logs,
            )
            for tx_hash, receipt in receipts.items()
        }
        self._blocks.append(Block(block_hash, state, sealed))

    def _run(self, state: State, tx: Pooled, logs: list[Log]) -> bool:
        if tx.to is None:
            state.contracts.add(create_address(tx.sender, tx.nonce))
            state.minters.add(tx.sender)
            return True
        if tx.to in self.foreign:
            return self.foreign[tx.to](state, tx, logs)
        name, values = _decoded(tx.data)
        if self.paused or tx.to not in state.contracts or tx.sender not in state.minters:
            return False
        match name:
            case "set_minter":
                state.minters.add(to_checksum_address(values[0]))
            case "define_many":
                for number, cap, _ in zip(*values, strict=True):
                    state.caps.setdefault(number, cap)
            case "mint":
                self._mint(state, tx.to, logs, *values)
            case "mint_many":
                for row in zip(*values, strict=True):
                    self._mint(state, tx.to, logs, *row)
            case "return_many":
                for number, holder, token_id, amount, *_ in zip(*values, strict=True):
                    self._return(state, tx.to, logs, number, to_checksum_address(holder), token_id, amount)
            case _:
                raise AssertionError(name)
        return True

    def _mint(
        self, state: State, contract: str, logs: list[Log], number: int, to: str, token_id: int, amount: int
    ) -> None:
        to = to_checksum_address(to)
        edition, serial = split_token_id(token_id)
        room = state.caps.get(edition, 0) - state.supply.get(edition, 0)
        taken = serial is not None and (token_id in state.serials or serial > state.caps.get(edition, 0))
        if number in state.minted:
            logs.append(_skip(contract, number, SkipReason.ALREADY_MINTED))
        elif amount > room or taken:
            logs.append(_skip(contract, number, SkipReason.SOLD_OUT))
        elif to in self.refusing:
            logs.append(_skip(contract, number, SkipReason.RECEIVER_REFUSED))
        else:
            state.minted.add(number)
            state.supply[edition] = state.supply.get(edition, 0) + amount
            if serial is not None:
                state.serials.add(token_id)
            state.balances[to, token_id] = state.balances.get((to, token_id), 0) + amount
            logs.append(Log(contract, (PURCHASE_MINTED_TOPIC, number.to_bytes(32, "big")), b""))

    def _return(
        self,
        state: State,
        contract: str,
        logs: list[Log],
        number: int,
        holder: str,
        token_id: int,
        amount: int,
    ) -> None:
        if number in state.returned:
            logs.append(_skip(contract, number, SkipReason.ALREADY_RETURNED))
        elif number not in state.minted or state.balances.get((holder, token_id), 0) < amount:
            logs.append(_skip(contract, number, SkipReason.NOT_HELD))
        else:
            state.returned.add(number)
            state.balances[holder, token_id] -= amount
            treasury = ("treasury", token_id)
            state.balances[treasury] = state.balances.get(treasury, 0) + amount


def _decoded(data: bytes) -> tuple[str, tuple[Any, ...]]:
    name, types = _BY_SELECTOR[data[:4]]
    return name, decode(types, data[4:])


def _words(*values: int) -> bytes:
    return b"".join(int(value).to_bytes(32, "big") for value in values)


def _skip(contract: str, number: int, reason: SkipReason) -> Log:
    topics = (PURCHASE_SKIPPED_TOPIC, number.to_bytes(32, "big"))
    return Log(contract, topics, int(reason).to_bytes(32, "big"))
