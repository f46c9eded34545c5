"""Mints that wait for a person: on a merchant's contract, where the chain does not tell what became of one.

It happens when the nonce of the transaction went to another one, or when the call went through without the
event of a new token. The person looks at the contract, and says what is true.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import bindparam, select

from gateway.kernel.errors import ConflictError, InvalidError, NotFoundError
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader, UnitOfWork
from wallets.minting.model import MintOutcome, MintState, OnOutcomes, OutcomeKind, SkipCode
from wallets.minting.moves import mint_move
from wallets.minting.requests import MINTS_SIGNAL
from wallets.minting.tables import chain_tx, mint

MOST_LISTED = 1_000

_VIEW = (
    select(
        mint.c.leg_id,
        mint.c.order_id,
        mint.c.merchant_id,
        mint.c.recipient,
        mint.c.token_id,
        mint.c.serial,
        mint.c.state,
        chain_tx.c.contract,
        chain_tx.c.chain_id,
        chain_tx.c.nonce,
        chain_tx.c.lane,
        chain_tx.c.mined_hash,
        chain_tx.c.block_number,
        chain_tx.c.failure,
    )
    .select_from(mint.join(chain_tx, chain_tx.c.tx_id == mint.c.tx_id))
    .where(mint.c.state == MintState.PARKED.value)
)
_PARKED = Statement(_VIEW.order_by(mint.c.leg_id).limit(MOST_LISTED))
_ONE = Statement(_VIEW.where(mint.c.leg_id == bindparam("leg_id")))
_LEG = mint.c.leg_id == bindparam("leg_id_")
_AGAIN = mint_move(
    MintState.PARKED, MintState.QUEUED, _LEG, tx_id=None, attempts=0, queued_at_ms=bindparam("at")
)
_GIVEN_UP = mint_move(
    MintState.PARKED,
    MintState.SKIPPED,
    _LEG,
    skip_reason=SkipCode.GIVEN_UP.value,
    ended_at_ms=bindparam("at"),
)
_FOUND = mint_move(
    MintState.PARKED,
    MintState.FINAL,
    _LEG,
    token_id=bindparam("token"),
    minted_at_ms=bindparam("at"),
    ended_at_ms=bindparam("at"),
)


class ParkedMint(NamedTuple):
    """A parked mint and the transaction that carried it; ``failure`` is None if its call went through."""

    leg_id: str
    order_id: str
    merchant_id: str
    recipient: str
    contract: str
    lane: str
    nonce: int
    tx_hash: str | None
    failure: str | None


def parked_mints(reader: Reader) -> list[ParkedMint]:
    """Return what waits for a person, oldest first, at most a thousand."""
    return [
        ParkedMint(
            row.leg_id,
            row.order_id,
            row.merchant_id,
            row.recipient,
            row.contract,
            row.lane,
            row.nonce,
            row.mined_hash,
            row.failure,
        )
        for row in reader.rows(_PARKED)
    ]


def mint_again(uow: UnitOfWork, leg_id: str) -> None:
    """It was not minted: try again. Raises NotFoundError ``mint.not_parked``."""
    _parked(uow, leg_id)
    if not uow.run(_AGAIN, {"leg_id_": leg_id, "at": uow.now_ms}):
        raise _meanwhile()
    uow.signal(MINTS_SIGNAL)


def give_up(uow: UnitOfWork, leg_id: str, on_outcomes: OnOutcomes) -> None:
    """It was not minted and will not be: the order hears that it was skipped. Errors as `mint_again`."""
    row = _parked(uow, leg_id)
    if not uow.run(_GIVEN_UP, {"leg_id_": leg_id, "at": uow.now_ms}):
        raise _meanwhile()
    outcome = MintOutcome(
        leg_id,
        row.order_id,
        OutcomeKind.SKIPPED,
        int(row.token_id),
        row.serial,
        row.contract,
        row.chain_id,
        row.mined_hash,
        row.block_number,
        SkipCode.GIVEN_UP,
        final=True,
    )
    on_outcomes(uow, [outcome])


def minted_after_all(uow: UnitOfWork, leg_id: str, token_id: int, on_outcomes: OnOutcomes) -> None:
    """The recipient has it, as this token: the order hears that it was minted.

    Errors as `mint_again`, and InvalidError ``mint.invalid`` for what is no id.
    """
    if not 0 <= token_id < 1 << 256:
        raise InvalidError("mint.invalid", "An id is a number below 2**256.")
    row = _parked(uow, leg_id)
    if not uow.run(_FOUND, {"leg_id_": leg_id, "token": str(token_id), "at": uow.now_ms}):
        raise _meanwhile()
    outcome = MintOutcome(
        leg_id,
        row.order_id,
        OutcomeKind.MINTED,
        token_id,
        row.serial,
        row.contract,
        row.chain_id,
        row.mined_hash,
        row.block_number,
        final=True,
    )
    on_outcomes(uow, [outcome])


def _parked(uow: UnitOfWork, leg_id: str) -> Any:
    row = uow.row(_ONE, {"leg_id": leg_id})
    if row is None:
        raise NotFoundError("mint.not_parked", "This mint waits for nobody.")
    return row


def _meanwhile() -> ConflictError:
    return ConflictError("mint.not_parked", "Somebody else has decided meanwhile.")
