"""The embedded chain itself: py-evm with Prague rules over one SQLite file, synchronous.

Every transaction that is accepted becomes a block of its own and is on the disk before it is answered for,
so there is no pool and no reorganisation. What py-evm computes it does not check again: this chain imports
nobody's blocks.
"""

from __future__ import annotations

import sqlite3
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eth.chains.base import Chain
from eth.db.atomic import AtomicDB
from eth.exceptions import HeaderNotFound, TransactionNotFound
from eth.vm.forks.prague import PragueVM
from eth.vm.forks.prague.state import PragueState
from eth.vm.forks.shanghai.withdrawals import Withdrawal
from eth_keys.exceptions import BadSignature
from eth_keys.exceptions import ValidationError as KeyValidationError
from eth_utils.address import to_canonical_address, to_checksum_address
from eth_utils.exceptions import ValidationError
from rlp.exceptions import RLPException

from wallets.minting.chain.block_store import SqliteBlocks
from wallets.minting.chain.deploy import create_address
from wallets.minting.chain.hashing import use_quick_keccak
from wallets.minting.chain.hot_opcodes import HotComputation
from wallets.minting.chain.port import (
    AlreadyKnown,
    CallReverted,
    ChainRefused,
    ChainUnavailable,
    Fees,
    FeeTooLow,
    InsufficientFunds,
    Log,
    NonceTooHigh,
    NonceTooLow,
    Receipt,
)
from wallets.minting.chain.quick_trie import QuickAccounts
from wallets.minting.chain.reverts import revert_reason

CHAIN_ID = 131277322940537
"""eth-tester's chain id, so that tools which know that test chain know this one."""

BLOCK_GAS = 30_000_000
CALL_GAS = 50_000_000
PRIORITY_FEE = 10**9

GRANT_GWEI = 10**15
"""What a funded account holds at first: a million coins. Gas here costs nobody anything."""

_ZERO = bytes(20)
_FRESH = to_canonical_address(create_address("0x" + "00" * 20, 0))
"""Where creation code of a read call runs: nothing is there."""
# What decoding and recovering the sender raise on bytes that are something else.
_NOT_A_TRANSACTION = (ValidationError, KeyValidationError, BadSignature, RLPException, ValueError, IndexError)
_RECEIPTS_KEPT = 256


class _State(PragueState):  # type: ignore[misc]  # py-evm is seen untyped
    computation_class = HotComputation
    account_db_class = QuickAccounts


class _VM(PragueVM):  # type: ignore[misc]  # py-evm is seen untyped
    _state_class = _State

    def validate_block(self, block: Any) -> None:
        """Nothing: the roots were computed a moment ago from the values they would be checked with."""

    @classmethod
    def validate_receipt(cls, receipt: Any) -> None:
        """Nothing: the bloom filter was computed a moment ago from these logs."""


class _PyEvm(Chain):  # type: ignore[misc]  # py-evm is seen untyped
    chain_id = CHAIN_ID
    vm_configuration = ((0, _VM),)

    def create_header_from_parent(self, parent_header: Any, **params: Any) -> Any:
        # Equal times are allowed: at more than one block a second, py-evm's "parent plus one" would let the
        # chain's clock run ahead, and deadlines pass too early.
        params.setdefault("timestamp", max(parent_header.timestamp, int(time.time())))
        return super().create_header_from_parent(parent_header, **{**params, "gas_limit": BLOCK_GAS})


def _genesis(database: Any) -> _PyEvm:
    params = {
        "coinbase": _ZERO,
        "difficulty": 0,
        "extra_data": b"",
        "gas_limit": BLOCK_GAS,
        "mix_hash": bytes(32),
        "nonce": bytes(8),
        "timestamp": int(time.time()),
    }
    chain: _PyEvm = _PyEvm.from_genesis(database, params, {})
    return chain


class EvmChain:
    """A chain in a file. All methods belong to the thread that made it."""

    def __init__(self, path: Path) -> None:
        """Open the chain, or begin one. Raises ChainUnavailable if the file is in use or cannot be read."""
        use_quick_keccak()
        try:
            self._blocks = SqliteBlocks(path)
        except sqlite3.Error as error:
            raise ChainUnavailable(f"the chain's file {path.name} cannot be opened: {error}") from error
        if self._blocks.is_empty:
            self._chain = _genesis(AtomicDB(self._blocks))
            self._flush()
        else:
            self._chain = _PyEvm(AtomicDB(self._blocks))
        self._receipts: OrderedDict[bytes, Receipt] = OrderedDict()

    def close(self) -> None:
        """Close the file; every block is in it already."""
        self._blocks.close()

    # Reading

    def head(self) -> int:
        """Number of the newest block."""
        return int(self._chain.get_canonical_head().block_number)

    def block_hash(self, number: int) -> bytes | None:
        """Hash of a block, None if there is none yet."""
        if not 0 <= number <= self.head():
            return None
        return bytes(self._chain.get_canonical_block_header_by_number(number).hash)

    def nonce(self, address: str, block: int | None) -> int:
        """Transactions of the account up to the block."""
        return int(self._vm(block).state.get_nonce(to_canonical_address(address)))

    def balance(self, address: str) -> int:
        """Balance in wei."""
        return int(self._vm(None).state.get_balance(to_canonical_address(address)))

    def code(self, address: str) -> bytes:
        """Code of the account."""
        return bytes(self._vm(None).state.get_code(to_canonical_address(address)))

    def fees(self) -> Fees:
        """Fees for the next block."""
        base_fee = self._chain.create_header_from_parent(self._chain.get_canonical_head()).base_fee_per_gas
        return Fees(max_fee=2 * base_fee + PRIORITY_FEE, priority_fee=PRIORITY_FEE)

    def call(self, to: str | None, data: bytes, block: int | None) -> bytes:
        """Run a read call, or creation code, and drop what it wrote. Raises CallReverted."""
        vm = self._vm(block)
        target = _FRESH if to is None else to_canonical_address(to)
        computation = vm.execute_bytecode(
            origin=_ZERO,
            gas_price=0,
            gas=CALL_GAS,
            to=target,
            sender=_ZERO,
            value=0,
            data=b"" if to is None else data,
            code=data if to is None else vm.state.get_code(target),
            code_address=target,
        )
        if computation.is_error:
            raise CallReverted(revert_reason(computation.output), bytes(computation.output))
        return bytes(computation.output)

    def receipt(self, tx_hash: bytes) -> Receipt | None:
        """The receipt of a transaction, None if no block has it."""
        known = self._receipts.get(tx_hash)
        if known is not None:
            return known
        try:
            number, index = self._chain.get_canonical_transaction_index(tx_hash)
        except TransactionNotFound:
            return None
        stored = self._chain.get_transaction_receipt_by_index(number, index)
        transaction = self._chain.get_canonical_transaction_by_index(number, index)
        header = self._chain.get_canonical_block_header_by_number(number)
        return self._remember(_receipt(transaction, stored, header))

    def _vm(self, block: int | None) -> Any:
        if block is None:
            return self._chain.get_vm(self._chain.get_canonical_head())
        try:
            return self._chain.get_vm(self._chain.get_canonical_block_header_by_number(block))
        except HeaderNotFound as error:
            raise ChainRefused(f"there is no block {block} yet") from error

    # Writing

    def send_raw(self, raw: bytes) -> bytes:
        """Put a signed transaction into a block of its own and write it to the disk; returns its hash."""
        transaction = self._decoded(raw)
        tx_hash = bytes(transaction.hash)
        self._check_next(transaction, tx_hash)
        try:
            header, receipts = self._mine((transaction,))
        except ValidationError as error:
            raise ChainRefused(f"the transaction breaks a rule: {error}") from error
        self._remember(_receipt(transaction, receipts[0], header))
        return tx_hash

    def fund(self, addresses: Sequence[str]) -> None:
        """Give accounts that hold less than half the grant the full grant, in one block, without a key.

        Uses withdrawals of the beacon chain (EIP-4895), which are how value enters an account from outside.
        """
        state = self._vm(None).state
        accounts = [to_canonical_address(address) for address in addresses]
        poor = [account for account in accounts if state.get_balance(account) < GRANT_GWEI * 10**9 // 2]
        if poor:
            self._mine((), [Withdrawal(index, 0, account, GRANT_GWEI) for index, account in enumerate(poor)])

    def _decoded(self, raw: bytes) -> Any:
        try:
            transaction = _VM.get_transaction_builder().decode(raw)
            # Recovers the sender, once for all later uses.
            _ = transaction.sender
        except _NOT_A_TRANSACTION as error:
            raise ChainRefused("these bytes are not a signed transaction") from error
        if transaction.chain_id not in (None, CHAIN_ID):
            raise ChainRefused(f"the transaction is for chain {transaction.chain_id}, this is {CHAIN_ID}")
        return transaction

    def _check_next(self, transaction: Any, tx_hash: bytes) -> None:
        if self.receipt(tx_hash) is not None:
            raise AlreadyKnown("this transaction is in a block")
        head = self._chain.get_canonical_head()
        state = self._chain.get_vm(head).state
        nonce = state.get_nonce(transaction.sender)
        if transaction.nonce < nonce:
            raise NonceTooLow(f"nonce {transaction.nonce} is used, the next is {nonce}")
        if transaction.nonce > nonce:
            raise NonceTooHigh(f"nonce {transaction.nonce} comes too early, the next is {nonce}")
        base_fee = self._chain.create_header_from_parent(head).base_fee_per_gas
        if transaction.max_fee_per_gas < base_fee:
            raise FeeTooLow(f"the block's base fee is {base_fee} wei")
        cost = transaction.value + transaction.gas * transaction.max_fee_per_gas
        if state.get_balance(transaction.sender) < cost:
            raise InsufficientFunds(f"the sender cannot pay {cost} wei")

    def _mine(self, transactions: tuple[Any, ...], withdrawals: Sequence[Any] = ()) -> tuple[Any, Any]:
        """Run transactions once, seal the block, store it. Returns its header and receipts."""
        try:
            header = self._chain.create_header_from_parent(self._chain.get_canonical_head())
            vm = self._chain.get_vm(header)
            filled_header, receipts, _ = vm.apply_all_transactions(transactions, header)
            if withdrawals:
                vm.apply_all_withdrawals(withdrawals)
            block = vm.set_block_transactions_and_withdrawals(
                vm.get_block(), filled_header, transactions, receipts, withdrawals=withdrawals
            )
            sealed = vm.mine_block(block).block
            self._chain.chaindb.persist_block(sealed)
        except BaseException:
            self._blocks.discard()
            raise
        self._flush()
        return sealed.header, receipts

    def _flush(self) -> None:
        try:
            self._blocks.flush()
        except sqlite3.Error as error:
            self._blocks.discard()
            raise ChainUnavailable(f"the chain's file cannot be written: {error}") from error

    def _remember(self, receipt: Receipt) -> Receipt:
        self._receipts[receipt.tx_hash] = receipt
        if len(self._receipts) > _RECEIPTS_KEPT:
            self._receipts.popitem(last=False)
        return receipt


def _receipt(transaction: Any, stored: Any, header: Any) -> Receipt:
    # One transaction per block, so the cumulative gas of the receipt is this transaction's.
    creates = transaction.to == b""
    addresses: dict[bytes, str] = {}
    logs = []
    for log in stored.logs:
        address = addresses.get(log.address)
        if address is None:
            address = addresses[log.address] = to_checksum_address(log.address)
        logs.append(Log(address, tuple(topic.to_bytes(32, "big") for topic in log.topics), bytes(log.data)))
    return Receipt(
        tx_hash=bytes(transaction.hash),
        block_number=header.block_number,
        block_hash=bytes(header.hash),
        succeeded=stored.state_root == b"\x01",  # the status code since EIP-658
        gas_used=stored.gas_used,
        contract_address=(
            create_address(to_checksum_address(transaction.sender), transaction.nonce) if creates else None
        ),
        logs=tuple(logs),
    )
