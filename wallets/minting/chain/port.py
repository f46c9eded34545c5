"""What minting asks of a chain, and the errors it may get for an answer.

An adapter knows one node. It does not know purchases, nonces to come or confirmation depth: those are rules
of the lane that uses it. Addresses are checksummed ``0x`` strings, amounts are in wei, block numbers count
from the genesis block (0).

Errors::

    ChainError                  a VitrineError; ``error_class`` says whether to retry
    +-- ChainUnavailable        no answer: the request may or may not have had its effect; ask again
    |   +-- Throttled           too many requests: it had no effect; ``retry_after_s`` says when to ask again
    +-- ChainRefused            the node said no
        +-- AlreadyKnown        these very bytes are in the pool or in a block: as good as sent
        +-- NonceTooLow         a transaction with this nonce is in a block, perhaps this one
        +-- NonceTooHigh        the node keeps no queue and an earlier nonce is missing
        +-- FeeTooLow           below the base fee, or too little to replace the queued transaction
        +-- InsufficientFunds   the sender cannot pay value plus gas limit times fee
        +-- CallReverted        the contract refused; ``reason`` and ``return_data`` say why
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from gateway.kernel.errors import ErrorClass, VitrineError


class ChainError(VitrineError):
    """Base of everything an adapter raises. Chain codes stay inside: customers see codes of the mint lane."""

    error_class = ErrorClass.FATAL
    stable_code: ClassVar[str] = "chain.error"

    def __init__(self, message: str) -> None:
        super().__init__(self.stable_code, message)

    def __reduce__(self) -> tuple[type[ChainError], tuple[object, ...]]:
        # The chain may be in another process than the one that asks.
        return type(self), (self.message,)


class ChainUnavailable(ChainError):  # noqa: N818  # reads as the answer it is
    """No usable answer: connection lost, timeout, overload, or a reply that is not JSON-RPC."""

    error_class = ErrorClass.RETRY
    stable_code = "chain.unavailable"


class Throttled(ChainUnavailable):
    """The node wants fewer requests (HTTP 429 or its words). It did not do what it was asked.

    ``retry_after_s`` is how long it asked to be left alone, in seconds; None if it did not say.
    """

    stable_code = "chain.throttled"

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[type[ChainError], tuple[object, ...]]:
        return type(self), (self.message, self.retry_after_s)


class ChainRefused(ChainError):  # noqa: N818  # reads as the answer it is
    """The node answered with an error. Sending the same bytes again at once does not cure it."""

    stable_code = "chain.refused"


class AlreadyKnown(ChainRefused):
    """The node has this transaction already."""

    stable_code = "chain.already_known"


class NonceTooLow(ChainRefused):
    """The sender's nonce is past this transaction's. The receipt tells whether it was this transaction."""

    stable_code = "chain.nonce_too_low"


class NonceTooHigh(ChainRefused):
    """An earlier transaction of the sender is missing and the node does not queue. Send that one first."""

    error_class = ErrorClass.RETRY
    stable_code = "chain.nonce_too_high"


class FeeTooLow(ChainRefused):
    """The offered fee buys no inclusion. Sign the same nonce again with a higher one."""

    error_class = ErrorClass.FIX
    stable_code = "chain.fee_too_low"


class InsufficientFunds(ChainRefused):
    """The sender's balance is below value plus gas limit times maximum fee. An operator must fund it."""

    error_class = ErrorClass.RETRY
    stable_code = "chain.insufficient_funds"


class CallReverted(ChainRefused):
    """A read call was refused by the contract.

    ``reason`` is the text of ``Error(string)``, empty if there was none; ``return_data`` the raw return data.
    """

    stable_code = "chain.call_reverted"

    def __init__(self, reason: str, return_data: bytes = b"") -> None:
        super().__init__(reason or "the contract refused without a reason")
        self.reason = reason
        self.return_data = return_data

    def __reduce__(self) -> tuple[type[ChainError], tuple[object, ...]]:
        return type(self), (self.reason, self.return_data)


@dataclass(frozen=True, slots=True)
class Log:
    """One event as a contract emitted it. ``topics[0]`` is the keccak of the event's signature."""

    address: str
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a transaction that is in a block of the present chain.

    ``succeeded`` False means that it was reverted as a whole (it still used its nonce and gas).
    ``contract_address`` is set for a deployment.
    """

    tx_hash: bytes
    block_number: int
    block_hash: bytes
    succeeded: bool
    gas_used: int
    contract_address: str | None
    logs: Sequence[Log]


@dataclass(frozen=True, slots=True)
class Fees:
    """EIP-1559 fees in wei per gas. ``max_fee`` leaves room for the base fee to double."""

    max_fee: int
    priority_fee: int


class ChainClient(Protocol):
    """One node. Every method may raise ChainUnavailable; others are named where they can happen."""

    async def chain_id(self) -> int:
        """The EIP-155 chain id."""
        ...

    async def head(self) -> int:
        """Number of the newest block."""
        ...

    async def block_hash(self, number: int) -> bytes | None:
        """Hash of the canonical block with this number; None if there is none yet."""
        ...

    async def nonce(self, address: str, block: int | None = None) -> int:
        """How many transactions of ``address`` are in blocks, up to ``block`` or the newest; no pool."""
        ...

    async def balance(self, address: str) -> int:
        """Balance in wei at the newest block."""
        ...

    async def call(self, to: str | None, data: bytes, block: int | None = None) -> bytes:
        """The return data of a read call, at the newest block or at ``block``. Raises CallReverted.

        Without ``to`` the data are creation code, which is run and leaves nothing.
        """
        ...

    async def send_raw(self, raw: bytes) -> bytes:
        """Hand over signed bytes and return their hash. Returning means accepted, not mined.

        Raises AlreadyKnown and NonceTooLow, which a sender of stored bytes may ignore, and the other
        refusals.
        """
        ...

    async def receipt(self, tx_hash: bytes) -> Receipt | None:
        """The receipt if the transaction is in a block of the present chain, else None."""
        ...

    async def fees(self) -> Fees:
        """Fees that should be included in one of the next blocks."""
        ...

    async def code(self, address: str) -> bytes:
        """Code at ``address``; empty for a plain account. A delegated account (EIP-7702) has 23 bytes."""
        ...

    async def close(self) -> None:
        """Release connections, threads and files. Nothing may be called after."""
        ...
