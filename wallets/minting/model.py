"""What minting talks about: states and their moves, requests, outcomes, settings. No I/O.

A **mint** delivers one leg: so many of one token to one address. It gets its **purchase number** when it is
claimed into a transaction and keeps it for ever; the contract mints a number at most once, whatever happens
to transactions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from gateway.kernel.ids import Id
from gateway.kernel.store.unit import UnitOfWork


class TxId(Id):
    """A transaction of ours: one nonce of one lane. Its hash may change (fee bumps), its nonce never."""

    prefix = "ctx"


class OwnContractId(Id):
    """A contract that a merchant brought."""

    prefix = "oct"


class MintState(StrEnum):
    """Where a mint is."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    """Part of a transaction. The point of no return: from here on a cancel is a return."""
    SENT = "sent"
    """The signed bytes are stored; they may be at the node."""
    MINTED = "minted"
    """In a block, but not yet as deep as the settings ask."""
    FINAL = "final"
    SKIPPED = "skipped"
    """The contract left it out for a reason that does not pass. Nothing was minted, and nothing will be
    unless another recipient is chosen."""
    CANCELED = "canceled"
    HELD = "held"
    """In the queue, but its merchant's gas of the day is used up. It goes on by itself the next day."""
    PARKED = "parked"
    """On a merchant's own contract, and the chain does not tell whether it was minted. A person decides."""

    @property
    def is_terminal(self) -> bool:
        """Say whether the lanes are done with it. A skipped one may still be given another recipient."""
        return self in (MintState.FINAL, MintState.SKIPPED, MintState.CANCELED)


class ReturnState(StrEnum):
    """A final mint on its way back to the treasury."""

    NONE = "none"
    REQUESTED = "requested"
    SENT = "sent"
    RETURNED = "returned"
    FAILED = "failed"
    """The holder no longer has it. It may be asked for again."""


class TxState(StrEnum):
    CLAIMED = "claimed"
    """Nonce and calldata are fixed; no signed bytes are stored, so nothing was sent."""
    SIGNED = "signed"
    """Signed bytes are stored: it may be at the node, and is sent again until it is in a block."""
    MINED = "mined"
    FINAL = "final"
    FAILED = "failed"
    """In a block but reverted, or its nonce went to a transaction that is not ours."""


class ItemState(StrEnum):
    """Whether the contract knows an edition."""

    NEW = "new"
    SENT = "sent"
    DEFINED = "defined"


class ContractState(StrEnum):
    """Whether the contract stands on its chain."""

    DEPLOYING = "deploying"
    DEPLOYED = "deployed"
    FAILED = "failed"


class LaneState(StrEnum):
    """Whether a lane's key may mint."""

    NEW = "new"
    SENT = "sent"
    ENABLED = "enabled"


MINT_MOVES: Mapping[MintState, frozenset[MintState]] = {
    # Skipped unclaimed where its merchant's contract is not on the chain.
    MintState.QUEUED: frozenset({MintState.CLAIMED, MintState.CANCELED, MintState.HELD, MintState.SKIPPED}),
    MintState.HELD: frozenset({MintState.QUEUED, MintState.CANCELED}),
    MintState.CLAIMED: frozenset({MintState.SENT}),
    # Back to the queue when its transaction was reverted or the contract's reason may pass.
    MintState.SENT: frozenset(
        {MintState.MINTED, MintState.FINAL, MintState.SKIPPED, MintState.QUEUED, MintState.PARKED}
    ),
    MintState.PARKED: frozenset({MintState.QUEUED, MintState.SKIPPED, MintState.FINAL}),
    # Back to sent when the block that held it is gone.
    MintState.MINTED: frozenset({MintState.FINAL, MintState.SENT}),
    MintState.FINAL: frozenset(),
    # Another recipient was chosen. Its purchase number stays, so nothing can be minted twice.
    MintState.SKIPPED: frozenset({MintState.QUEUED}),
    MintState.CANCELED: frozenset(),
}
RETURN_MOVES: Mapping[ReturnState, frozenset[ReturnState]] = {
    ReturnState.NONE: frozenset({ReturnState.REQUESTED}),
    ReturnState.REQUESTED: frozenset({ReturnState.SENT, ReturnState.FAILED}),
    ReturnState.SENT: frozenset({ReturnState.RETURNED, ReturnState.FAILED, ReturnState.REQUESTED}),
    ReturnState.RETURNED: frozenset(),
    ReturnState.FAILED: frozenset({ReturnState.REQUESTED}),
}
TX_MOVES: Mapping[TxState, frozenset[TxState]] = {
    TxState.CLAIMED: frozenset({TxState.SIGNED}),
    TxState.SIGNED: frozenset({TxState.MINED, TxState.FINAL, TxState.FAILED}),
    TxState.MINED: frozenset({TxState.FINAL, TxState.FAILED, TxState.SIGNED}),
    TxState.FINAL: frozenset(),
    TxState.FAILED: frozenset(),
}
ITEM_MOVES: Mapping[ItemState, frozenset[ItemState]] = {
    ItemState.NEW: frozenset({ItemState.SENT}),
    ItemState.SENT: frozenset({ItemState.DEFINED, ItemState.NEW}),
    ItemState.DEFINED: frozenset(),
}
CONTRACT_MOVES: Mapping[ContractState, frozenset[ContractState]] = {
    ContractState.DEPLOYING: frozenset({ContractState.DEPLOYED, ContractState.FAILED}),
    ContractState.DEPLOYED: frozenset(),
    # A reverted deployment left nothing behind; the next start tries with a new nonce.
    ContractState.FAILED: frozenset({ContractState.DEPLOYING}),
}
LANE_MOVES: Mapping[LaneState, frozenset[LaneState]] = {
    LaneState.NEW: frozenset({LaneState.SENT, LaneState.ENABLED}),
    LaneState.SENT: frozenset({LaneState.ENABLED, LaneState.NEW}),
    LaneState.ENABLED: frozenset(),
}


class TxKind(StrEnum):
    """What a transaction does."""

    DEPLOY = "deploy"
    SET_MINTER = "set_minter"
    DEFINE = "define"
    MINT = "mint"
    OWN_MINT = "own_mint"
    """One mint on a merchant's own contract."""
    RETURN = "return"


class Receiver(StrEnum):
    """Whether a recipient runs code when it is given a token."""

    PLAIN = "plain"
    CODE = "code"
    """It does, so it may refuse or burn gas: it gets a transaction of its own."""
    UNKNOWN = "unknown"
    """An outside wallet the chain has not been asked about."""
    OWN = "own"
    """Whoever it is: the token is of a merchant's own contract, and each has a transaction of its own."""


NUMBERED = 1 << 255
SERIAL_BITS = 64


def token_id_of(item_number: int, serial: int | None) -> int:
    """Return the ERC-1155 id of an item, or of its numbered copy ``serial`` (from 1).

    Stated here as well as beside the contract's calls, so that asking for a mint needs no chain library.
    """
    if not 0 < item_number < 1 << 63:
        raise ValueError("item numbers are positive and below 2**63")
    if serial is None:
        return item_number
    if not 1 <= serial < 1 << 63:
        raise ValueError("serials count from 1 and are below 2**63")
    return NUMBERED | item_number << SERIAL_BITS | serial


@dataclass(frozen=True, slots=True)
class MintRequest:
    """One mint leg.

    ``recipient`` is a checksummed address. ``holder_key`` names the signer's key of a custodial recipient
    (``customer/<index>``) and is None for an outside wallet: without it the token cannot be taken back by us.
    A numbered copy has ``serial`` and amount 1.
    """

    leg_id: str
    order_id: str
    merchant_id: str
    recipient: str
    item_number: int
    amount: int = 1
    serial: int | None = None
    holder_key: str | None = None


class OutcomeKind(StrEnum):
    """What became of a leg."""

    MINTED = "minted"
    """In a block. With ``final`` False a FINAL or REOPENED follows."""
    FINAL = "final"
    """As deep as the settings ask, after a MINTED that was not final."""
    REOPENED = "reopened"
    """The block is gone; it will be MINTED again. No new decision is needed, and nothing is minted twice."""
    SKIPPED = "skipped"
    """Not minted, and not tried again for this recipient; ``skip_reason`` says why. Comes only when it is
    final, once per recipient."""
    RETURNED = "returned"
    """Back at the treasury, for good."""
    RETURN_FAILED = "return_failed"
    """The holder no longer has it."""


class SkipCode(StrEnum):
    """Why a mint or a return will not happen, as an outcome says it."""

    SOLD_OUT = "sold_out"
    RECEIVER_REFUSED = "receiver_refused"
    """The outside wallet is a contract that does not take ERC-1155 tokens: choose another wallet."""
    NOT_HELD = "not_held"
    RETURN_REFUSED = "return_refused"
    CALL_REVERTED = "call_reverted"
    """A merchant's own contract refused it every time."""
    CONTRACT_MISSING = "contract_missing"
    """There is no contract where the merchant says: a call there would succeed and mint nothing."""
    GIVEN_UP = "given_up"
    """It was parked, and a person found that it was not minted and will not be."""


class MintOutcome(NamedTuple):
    """What became of a leg's mint or return. ``tx_hash`` is 0x hex; ``block_number`` and it are None if
    no receipt of ours tells."""

    leg_id: str
    order_id: str
    kind: OutcomeKind
    token_id: int
    serial: int | None
    contract: str
    chain_id: int
    tx_hash: str | None = None
    block_number: int | None = None
    skip_reason: SkipCode | None = None
    final: bool = False


OnOutcomes = Callable[[UnitOfWork, list[MintOutcome]], None]
"""Turns outcomes into facts and events, inside the unit that records the settlement."""
OnClaimed = Callable[[UnitOfWork, list[str]], None]
"""Told the leg ids of a claim, inside the unit that makes it. Each leg is told once."""


@dataclass(frozen=True, slots=True)
class TokenView:
    """A mint as a wallet or an order shows it. What belongs to a transaction is None while
    it is queued."""

    leg_id: str
    order_id: str
    recipient: str
    item_number: int
    token_id: int
    serial: int | None
    amount: int
    state: MintState
    return_state: ReturnState
    skip_reason: str | None
    contract: str | None
    chain_id: int | None
    tx_hash: str | None
    block_number: int | None
    returnable: bool = True
    """Whether we can take it back: not out of an outside wallet, nor on a merchant's own contract."""


@dataclass(frozen=True, slots=True)
class MintingSettings:
    """Bounds of the lanes. Defaults suit the embedded chain; a real one has its own depth, window and fees.

    ``confirmations`` is how many blocks must stand on a transaction's block before it is final (0: its block
    is enough). ``batch_gas`` bounds the estimate of a batch; the gas limit sent with it is the same figure.
    ``open_transactions`` bounds what is signed but in no block, per lane.
    """

    batch_items: int = 200
    batch_gas: int = 12_000_000
    window_ms: int = 250
    poll_ms: int = 250
    confirmations: int = 0
    open_transactions: int = 3
    minters: int = 1
    code_minter: bool = False
    """Give recipients with code a key of their own, so that a hostile one cannot hold up a batch lane."""
    rebroadcast_after_ms: int = 15_000
    stuck_after_ms: int = 60_000
    """A transaction next in line that is in no block for so long is signed again with a higher fee."""
    most_fee_wei: int = 500 * 10**9
    """Never offer more than this per gas; a stuck transaction then waits."""
    lost_after_ms: int = 600_000
    """A nonce that is used while none of our hashes has a receipt for so long went to somebody else."""
    return_valid_s: int = 7 * 86_400
    base_uri: str = ""
    royalty_bps: int = 0
    start_timeout_s: float = 120.0
    """How long opening waits for the contract to stand."""
    gas_per_day: int = 0
    """Gas that the mints of a merchant without a limit of its own may use in a day of UTC; 0: any."""

    def __post_init__(self) -> None:
        if not 1 <= self.batch_items <= 256:
            raise ValueError("the contract takes at most 256 items per call, and at least 1")
        if self.minters < 1 or self.open_transactions < 1:
            raise ValueError("there is at least one minter with one open transaction")
        if not 0 < self.batch_gas <= 1 << 24:
            raise ValueError("EIP-7825 caps a transaction at 2**24 gas")
