"""Wallets of their own that customers have linked: an address they proved to control, on one chain.

A link says nothing about who somebody is and consents to no purchase. An address belongs to at most one
customer at a time. Unlinking changes nothing about tokens that were or are being minted to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import bindparam, select, update

from gateway.kernel.errors import ConflictError, NotFoundError
from gateway.kernel.events.model import Event
from gateway.kernel.ids import Id
from gateway.kernel.store.statements import Statement, insert_into
from gateway.kernel.store.unit import Reader, UnitOfWork
from wallets.custody.tables import linked_wallet as _table

MOST_WALLETS = 20
"""Linked by one customer at a time."""

_ACTIVE = _table.c.unlinked_at_ms.is_(None)
_ONE = Statement(
    select(_table).where(
        _table.c.wallet_id == bindparam("wallet_id"),
        _table.c.customer_id == bindparam("customer_id"),
        _ACTIVE,
    )
)
_OF_CUSTOMER = Statement(
    select(_table)
    .where(_table.c.customer_id == bindparam("customer_id"), _ACTIVE)
    .order_by(_table.c.wallet_id)
    .limit(MOST_WALLETS)
)
_AT_ADDRESS = Statement(
    select(_table).where(
        _table.c.chain_id == bindparam("chain_id"), _table.c.address == bindparam("address"), _ACTIVE
    )
)
_INSERT = insert_into(_table)
_UNLINK = Statement(
    update(_table)
    .where(
        _table.c.wallet_id == bindparam("its_id"),
        _table.c.customer_id == bindparam("its_customer_id"),
        _ACTIVE,
    )
    .values(unlinked_at_ms=bindparam("now_ms"))
)


class WalletId(Id):
    prefix = "wal"


class WalletKind(StrEnum):
    """How an address showed who controls it."""

    KEY = "key"
    """By a signature of its key."""
    CONTRACT = "contract"
    """By its code (EIP-1271)."""
    UNDEPLOYED = "undeployed"
    """By the code that it will have (ERC-6492): nothing is there yet."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What was signed and how; kept with the link as its evidence."""

    message: str
    signature: str
    kind: WalletKind


@dataclass(frozen=True, slots=True)
class LinkedWallet:
    """A link that stands. ``address`` is checksummed (EIP-55)."""

    wallet_id: str
    customer_id: str
    chain_id: int
    address: str
    kind: WalletKind
    linked_at_ms: int


def linked_wallet(reader: Reader, customer_id: str, wallet_id: str) -> LinkedWallet | None:
    """Return a wallet that this customer has linked, in a unit or a query; None for any other."""
    row = reader.row(_ONE, {"wallet_id": wallet_id, "customer_id": customer_id})
    return None if row is None else _wallet(row)


def linked_wallets(reader: Reader, customer_id: str) -> list[LinkedWallet]:
    """Return the wallets that the customer has linked, in the order of linking."""
    return [_wallet(row) for row in reader.rows(_OF_CUSTOMER, {"customer_id": customer_id})]


def require_room(reader: Reader, customer_id: str, chain_id: int, address: str) -> LinkedWallet | None:
    """Return the customer's own link of this address, if there is one.

    Raises ConflictError ``wallet.too_many`` where there is none and no room for it.
    """
    wallets = linked_wallets(reader, customer_id)
    for wallet in wallets:
        if (wallet.chain_id, wallet.address) == (chain_id, address):
            return wallet
    if len(wallets) >= MOST_WALLETS:
        raise ConflictError("wallet.too_many", "Unlink a wallet first.", data={"limit": MOST_WALLETS})
    return None


def link_wallet(uow: UnitOfWork, customer_id: str, chain_id: int, address: str, proof: Proof) -> LinkedWallet:
    """Link an address whose control was proved, and tell the customer.

    A link that stands is returned as it is. Raises ConflictError ``wallet.linked_elsewhere``,
    ``wallet.too_many``. The caller holds the lock of the address.
    """
    taken = uow.row(_AT_ADDRESS, {"chain_id": chain_id, "address": address})
    if taken is not None and taken.customer_id != customer_id:
        raise ConflictError(
            "wallet.linked_elsewhere", "Another account has linked this address.", param="$.body.message"
        )
    own = require_room(uow, customer_id, chain_id, address)
    if own is not None:
        return own
    wallet = LinkedWallet(uow.new_id(WalletId), customer_id, chain_id, address, proof.kind, uow.now_ms)
    uow.run(
        _INSERT,
        {
            "wallet_id": wallet.wallet_id,
            "customer_id": customer_id,
            "chain_id": chain_id,
            "address": address,
            "kind": proof.kind.value,
            "message": proof.message,
            "signature": proof.signature,
            "linked_at_ms": uow.now_ms,
            "unlinked_at_ms": None,
        },
    )
    uow.emit(Event(customer_id, "wallet.linked", {**_event(wallet), "kind": proof.kind.value}))
    return wallet


def unlink_wallet(uow: UnitOfWork, customer_id: str, wallet_id: str) -> None:
    """End a link and tell the customer. Raises NotFoundError ``wallet.not_found``."""
    wallet = linked_wallet(uow, customer_id, wallet_id)
    values = {"its_id": wallet_id, "its_customer_id": customer_id, "now_ms": uow.now_ms}
    if wallet is None or not uow.run(_UNLINK, values):
        raise NotFoundError("wallet.not_found", "There is no such wallet.", param="$.body.wallet_id")
    uow.emit(Event(customer_id, "wallet.unlinked", _event(wallet)))


def _event(wallet: LinkedWallet) -> dict[str, Any]:
    return {"wallet_id": wallet.wallet_id, "chain_id": wallet.chain_id, "address": wallet.address}


def _wallet(row: Any) -> LinkedWallet:
    return LinkedWallet(
        row.wallet_id,
        row.customer_id,
        row.chain_id,
        row.address,
        WalletKind(row.kind),
        row.linked_at_ms,
    )
