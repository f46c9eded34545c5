"""What others may ask of minting, inside their own units: request, cancel, return, define; and what they may
read.

Nothing here touches the chain; the lanes are woken once the commit is durable.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Text, bindparam, case, func, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite

from gateway.kernel.errors import ConflictError, InvalidError, NotFoundError
from gateway.kernel.store.statements import Statement, insert_new
from gateway.kernel.store.unit import Reader, UnitOfWork
from wallets.minting.model import (
    ItemState,
    MintRequest,
    MintState,
    Receiver,
    ReturnState,
    TokenView,
    token_id_of,
)
from wallets.minting.moves import mint_move, return_move
from wallets.minting.own_contracts import contract_from
from wallets.minting.tables import chain_tx, mint, own_contract, token_item

MINTS_SIGNAL = "mints"
"""Told after a commit that queued something for the lanes."""

_OPEN_CAP = 2**128 - 1
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
# Most columns of a new mint are empty; naming only the others makes the insert a third cheaper.
_NEW_MINT = {
    **{
        name: bindparam(name)
        for name in (
            "leg_id", "order_id", "merchant_id", "recipient", "holder_key", "item_number",
            "serial", "amount", "token_id", "queued_at_ms",
        )
    },
    # Whoever gets it: a token of a merchant's own contract has a transaction of its own.
    "receiver": func.coalesce(
        select(literal(Receiver.OWN.value, Text))
        .where(
            token_item.c.item_number == bindparam("item_number"), token_item.c.own_contract_id.is_not(None)
        )
        .scalar_subquery(),
        bindparam("receiver"),
    ),
    "state": MintState.QUEUED.value,
    "return_state": ReturnState.NONE.value,
    "attempts": 0,
    "return_attempts": 0,
}  # fmt: skip
_INSERT_MINT = Statement(
    {
        "sqlite": sqlite.insert(mint).values(_NEW_MINT).on_conflict_do_nothing(),
        "postgresql": postgresql.insert(mint).values(_NEW_MINT).on_conflict_do_nothing(),
    }
)
_INSERT_ITEM = insert_new(token_item)
_CANCEL = [
    mint_move(
        waiting,
        MintState.CANCELED,
        mint.c.leg_id == bindparam("leg_id_"),
        # A mint that went back to the queue was claimed once: that it is a leg nobody may cancel stays true.
        mint.c.purchase_number.is_(None),
        ended_at_ms=bindparam("at"),
    )
    for waiting in (MintState.QUEUED, MintState.HELD)
]
_KIND = case((mint.c.receiver == Receiver.OWN.value, Receiver.OWN.value), else_=bindparam("kind"))
_CHOOSE = {
    MintState.SKIPPED: mint_move(
        MintState.SKIPPED,
        MintState.QUEUED,
        mint.c.leg_id == bindparam("leg_id_"),
        recipient=bindparam("to"),
        receiver=_KIND,
        holder_key=bindparam("holder"),
        attempts=0,
        skip_reason=None,
        tx_id=None,
        ended_at_ms=None,
        queued_at_ms=bindparam("at"),
    ),
    # No move of its state, so built here. A claim that holds the row leaves nothing to change.
    MintState.QUEUED: Statement(
        update(mint)
        .where(
            mint.c.leg_id == bindparam("leg_id_"),
            mint.c.state.in_([MintState.QUEUED.value, MintState.HELD.value]),
        )
        .values(recipient=bindparam("to"), receiver=_KIND, holder_key=bindparam("holder"), attempts=0)
    ),
}
_REQUEST_RETURN = {
    origin: return_move(
        origin,
        ReturnState.REQUESTED,
        mint.c.leg_id == bindparam("leg_id_"),
        mint.c.state == MintState.FINAL.value,
        return_attempts=bindparam("none"),
    )
    for origin in (ReturnState.NONE, ReturnState.FAILED)
}
_STATES = Statement(
    select(mint.c.state, mint.c.return_state, mint.c.holder_key, mint.c.receiver).where(
        mint.c.leg_id == bindparam("leg_id")
    )
)
_OWN_CONTRACT = Statement(
    select(own_contract)
    .select_from(own_contract.join(token_item, token_item.c.own_contract_id == own_contract.c.contract_id))
    .where(token_item.c.item_number == bindparam("item_number"))
)
_ON_OWN_CONTRACT = Statement(
    select(token_item.c.item_number).where(
        token_item.c.item_number == bindparam("item_number"), token_item.c.own_contract_id.is_not(None)
    )
)
# An edition may become known after its first mint was asked for.
_QUEUED_BEFORE = Statement(
    update(mint)
    .where(mint.c.state == MintState.QUEUED.value, mint.c.item_number == bindparam("item"))
    .values(receiver=Receiver.OWN.value)
)
_ITEM = Statement(select(token_item).where(token_item.c.item_number == bindparam("item_number")))
_VIEW = select(
    mint.c.leg_id,
    mint.c.order_id,
    mint.c.recipient,
    mint.c.item_number,
    mint.c.token_id,
    mint.c.serial,
    mint.c.amount,
    mint.c.state,
    mint.c.return_state,
    mint.c.skip_reason,
    mint.c.holder_key,
    mint.c.receiver,
    chain_tx.c.contract,
    chain_tx.c.chain_id,
    chain_tx.c.mined_hash,
    chain_tx.c.block_number,
).select_from(mint.outerjoin(chain_tx, chain_tx.c.tx_id == mint.c.tx_id))
_OF_ORDER = Statement(_VIEW.where(mint.c.order_id == bindparam("order_id")).order_by(mint.c.leg_id))
_OF_ADDRESS = Statement(
    _VIEW.where(
        mint.c.recipient == bindparam("recipient"),
        mint.c.leg_id > bindparam("after"),
        mint.c.state.not_in([MintState.CANCELED.value, MintState.SKIPPED.value]),
    )
    .order_by(mint.c.leg_id)
    .limit(bindparam("limit"))
)


def request_mint(uow: UnitOfWork, request: MintRequest) -> bool:
    """Queue a mint. A repeat for the same leg changes nothing and returns False.

    Raises InvalidError ``mint.invalid`` for a request the contract could never carry out.
    """
    if request.amount > 1:
        contract = uow.row(_OWN_CONTRACT, {"item_number": request.item_number})
        if contract is not None and contract_from(contract).description.is_single:
            raise InvalidError("mint.invalid", "A call of this contract mints one token.")
    if not 1 <= request.amount < 1 << 63 or (request.serial is not None and request.amount != 1):
        raise InvalidError("mint.invalid", "An amount is at least 1, and 1 for a numbered copy.")
    _check_address(request.recipient)
    try:
        token_id = token_id_of(request.item_number, request.serial)
    except ValueError as error:
        raise InvalidError("mint.invalid", str(error)) from error
    row = {
        "leg_id": request.leg_id,
        "order_id": request.order_id,
        "merchant_id": request.merchant_id,
        "recipient": request.recipient,
        "receiver": _receiver(request.holder_key).value,
        "holder_key": request.holder_key,
        "item_number": request.item_number,
        "serial": request.serial,
        "amount": request.amount,
        "token_id": str(token_id),
        "queued_at_ms": uow.now_ms,
    }
    # Not appended: a cancel in the same batch must find it.
    if not uow.run(_INSERT_MINT, row):
        return False
    uow.signal(MINTS_SIGNAL)
    return True


def cancel_mint(uow: UnitOfWork, leg_id: str) -> bool:
    """Take a mint out of the queue. False: it was claimed already, the point of no return; or it is unknown.

    A repeated cancel answers True.
    """
    if any(uow.run(cancel, {"leg_id_": leg_id, "at": uow.now_ms}) for cancel in _CANCEL):
        return True
    found = uow.row(_STATES, {"leg_id": leg_id})
    return found is not None and found.state == MintState.CANCELED


def choose_recipient(uow: UnitOfWork, leg_id: str, *, recipient: str, holder_key: str | None) -> bool:
    """Give a skipped or still queued mint to another recipient. False: it is past that, or canceled.

    ``recipient`` and ``holder_key`` are as in MintRequest. The mint keeps its purchase number, which the
    contract mints at most once, and its attempts begin anew. Raises InvalidError ``mint.invalid`` for what is
    no address, NotFoundError ``mint.unknown``.
    """
    _check_address(recipient)
    if uow.row(_STATES, {"leg_id": leg_id}) is None:
        raise NotFoundError("mint.unknown", "There is no such mint.")
    values = {"leg_id_": leg_id, "to": recipient, "kind": _receiver(holder_key).value, "holder": holder_key}
    moved = uow.run(_CHOOSE[MintState.QUEUED], values) or uow.run(
        _CHOOSE[MintState.SKIPPED], {**values, "at": uow.now_ms}
    )
    if not moved:
        return False
    uow.signal(MINTS_SIGNAL)
    return True


def request_return(uow: UnitOfWork, leg_id: str) -> bool:
    """Ask for a final mint to go back to the treasury. False: it is on its way or was returned already.

    Raises ConflictError ``mint.not_final`` before it is final, ``mint.return_needs_holder`` for an outside
    wallet and for a merchant's own contract, which has no way back that we could use; NotFoundError
    ``mint.unknown``.
    """
    found = uow.row(_STATES, {"leg_id": leg_id})
    if found is None:
        raise NotFoundError("mint.unknown", "There is no such mint.")
    if not _returnable(found):
        raise ConflictError("mint.return_needs_holder", "Only its holder can give it back.")
    if found.state != MintState.FINAL:
        raise ConflictError(
            "mint.not_final", "Only a final mint can be returned.", data={"state": found.state}
        )
    statement = _REQUEST_RETURN.get(ReturnState(found.return_state))
    if statement is None or not uow.run(statement, {"leg_id_": leg_id, "none": 0}):
        return False
    uow.signal(MINTS_SIGNAL)
    return True


def define_item(
    uow: UnitOfWork,
    *,
    item_number: int,
    sku: str,
    cap: int | None,
    numbered: bool,
    uri: str = "",
    own_contract_id: str | None = None,
    first_token_id: int | None = None,
) -> bool:
    """Make an edition known; the lanes define it on the contract before its first mint. A repeat returns
    False.

    With ``own_contract_id`` it is minted on a merchant's own contract, where nothing is defined, nobody but
    the stock keeps its cap, and ``first_token_id`` may name its ids. That is for ever too: ConflictError
    ``mint.contract_fixed``.

    ``cap`` None is an open edition. An edition's cap is for ever: ConflictError ``mint.cap_fixed`` if another
    is asked for. ``uri`` has at most 256 bytes. Raises InvalidError ``mint.invalid`` for what the contract
    refuses.
    """
    most = (1 << 63) - 1 if numbered else _OPEN_CAP - 1
    if not 0 < item_number < 1 << 63 or len(uri.encode()) > 256 or (cap is not None and not 1 <= cap <= most):
        raise InvalidError("mint.invalid", "Item number, cap or URI is out of the contract's range.")
    row = {
        "item_number": item_number,
        "sku": sku,
        "cap": None if cap is None else str(cap),
        "numbered": int(numbered),
        "uri": uri,
        "state": (ItemState.NEW if own_contract_id is None else ItemState.DEFINED).value,
        "tx_id": None,
        "created_at_ms": uow.now_ms,
        "own_contract_id": own_contract_id,
        "first_token_id": None if first_token_id is None else str(first_token_id),
    }
    if uow.run(_INSERT_ITEM, row):
        if own_contract_id is not None:
            uow.run(_QUEUED_BEFORE, {"item": item_number})
        uow.signal(MINTS_SIGNAL)
        return True
    known = uow.row(_ITEM, {"item_number": item_number})
    if known is not None and (known.own_contract_id, known.first_token_id) != (
        row["own_contract_id"],
        row["first_token_id"],
    ):
        raise ConflictError(
            "mint.contract_fixed", "Where an edition is minted cannot change.", data={"sku": sku}
        )
    if known is None or known.cap != row["cap"] or known.numbered != row["numbered"]:
        raise ConflictError(
            "mint.cap_fixed",
            "The cap of an edition on the chain cannot change.",
            data={"sku": sku, "cap": None if known is None else known.cap},
        )
    return False


def is_on_own_contract(reader: Reader, item_number: int) -> bool:
    """Say whether an edition is minted on a merchant's own contract, from where no token comes back to us."""
    return reader.row(_ON_OWN_CONTRACT, {"item_number": item_number}) is not None


def mints_of(reader: Reader, order_id: str) -> list[TokenView]:
    """Return the mints of an order."""
    return [_view(row) for row in reader.rows(_OF_ORDER, {"order_id": order_id})]


def tokens_of(reader: Reader, address: str, *, after: str = "", limit: int = 100) -> list[TokenView]:
    """Return a wallet's mints by leg id (oldest first), from after ``after``, without canceled and skipped
    ones.

    A returned one is listed with its return state.
    """
    found = reader.rows(_OF_ADDRESS, {"recipient": address, "after": after, "limit": limit})
    return [_view(row) for row in found]


def _check_address(recipient: str) -> None:
    if _ADDRESS.fullmatch(recipient) is None:
        raise InvalidError("mint.invalid", "A recipient is an address of 0x and 40 hex digits.")


def _receiver(holder_key: str | None) -> Receiver:
    """A custodial account is known to have no code; an outside wallet is asked about."""
    return Receiver.UNKNOWN if holder_key is None else Receiver.PLAIN


def _view(row: Any) -> TokenView:
    return TokenView(
        leg_id=row.leg_id,
        order_id=row.order_id,
        recipient=row.recipient,
        item_number=row.item_number,
        token_id=int(row.token_id),
        serial=row.serial,
        amount=row.amount,
        state=MintState(row.state),
        return_state=ReturnState(row.return_state),
        skip_reason=row.skip_reason,
        contract=row.contract,
        chain_id=row.chain_id,
        tx_hash=row.mined_hash,
        block_number=row.block_number,
        returnable=_returnable(row),
    )


def _returnable(row: Any) -> bool:
    """Whether our key holds the token and its contract lets us send it to the treasury."""
    return row.holder_key is not None and row.receiver != Receiver.OWN
