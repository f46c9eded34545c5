"""Custodial accounts: the chain address of a customer who has no wallet of their own.

The account's number comes from the database and its key from the seed by that number, so the row holds no
secret and an address can be derived again at any time.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from sqlalchemy import BigInteger, Text, bindparam, func, select, true, update
from sqlalchemy.dialects import postgresql, sqlite

from gateway.kernel.errors import UnavailableError
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader, Store, UnitOfWork
from wallets.custody.tables import custody_account
from wallets.signer import Signer

_CACHED = 50_000
_TRIES = 5

_OF = Statement(select(custody_account).where(custody_account.c.customer_id == bindparam("customer_id")))
_LOCKED = Statement(
    select(custody_account.c.customer_id)
    .where(custody_account.c.customer_id == bindparam("customer_id"))
    .with_for_update()
)
# Shared with others who only look.
_HELD = Statement(
    select(custody_account)
    .where(custody_account.c.customer_id == bindparam("customer_id"))
    .with_for_update(read=True)
)
_NEXT_INDEX = (
    select(
        bindparam("customer_id", type_=Text()),
        func.coalesce(func.max(custody_account.c.account_index), -1) + 1,
        bindparam("at", type_=BigInteger()),
    )
    .select_from(custody_account)
    # SQLite needs a WHERE to tell ON CONFLICT from a join's ON.
    .where(true())
)
_COLUMNS = ["customer_id", "account_index", "created_at_ms"]
_TAKE = Statement(
    {
        "sqlite": sqlite.insert(custody_account).from_select(_COLUMNS, _NEXT_INDEX).on_conflict_do_nothing(),
        "postgresql": postgresql.insert(custody_account)
        .from_select(_COLUMNS, _NEXT_INDEX)
        .on_conflict_do_nothing(),
    }
)
_NAME = Statement(
    update(custody_account)
    .where(custody_account.c.customer_id == bindparam("customer_id_"), custody_account.c.address.is_(None))
    .values(address=bindparam("address"))
)


@dataclass(frozen=True, slots=True)
class CustodyAccount:
    """``key_ref`` is the name of the account's key at the signer."""

    customer_id: str
    account_index: int
    address: str

    @property
    def key_ref(self) -> str:
        return f"customer/{self.account_index}"


def account_of(reader: Reader, customer_id: str) -> CustodyAccount | None:
    """Return a customer's account, in a unit or a query; None if it was never ensured."""
    row = reader.row(_OF, {"customer_id": customer_id})
    if row is None or row.address is None:
        return None
    return CustodyAccount(row.customer_id, row.account_index, row.address)


def is_exported(reader: Reader, customer_id: str) -> bool:
    """Whether the customer took the key of their account: from then on it is a wallet like any outside."""
    row = reader.row(_OF, {"customer_id": customer_id})
    return row is not None and row.exported_at_ms is not None


def held_account(uow: UnitOfWork, customer_id: str) -> tuple[CustodyAccount, bool] | None:
    """Return a customer's account and whether its key was taken, which stays so until the unit ends; None if
    the account was never ensured."""
    row = uow.row(_HELD, {"customer_id": customer_id})
    if row is None or row.address is None:
        return None
    account = CustodyAccount(row.customer_id, row.account_index, row.address)
    return account, row.exported_at_ms is not None


def lock_account(uow: UnitOfWork, customer_id: str) -> None:
    """Wait for units that hold the account as it is (`held_account`), and keep others from doing so."""
    uow.row(_LOCKED, {"customer_id": customer_id})


class Custody:
    """Gives every customer one account."""

    def __init__(self, signer: Signer, store: Store) -> None:
        self._signer = signer
        self._store = store
        self._known: OrderedDict[str, CustodyAccount] = OrderedDict()

    async def ensure_account(self, customer_id: str) -> str:
        """Return the address of the customer's account, which is made on first use. Idempotent."""
        return (await self.account(customer_id)).address

    async def account(self, customer_id: str) -> CustodyAccount:
        """Return the customer's account with its key's name, made on first use. Idempotent."""
        known = self._known.get(customer_id)
        if known is not None:
            self._known.move_to_end(customer_id)
            return known
        account = await self._store.read(lambda reader: account_of(reader, customer_id))
        if account is None:
            account = await self._make(customer_id)
        self._known[customer_id] = account
        if len(self._known) > _CACHED:
            self._known.popitem(last=False)
        return account

    async def _make(self, customer_id: str) -> CustodyAccount:
        index = await self._take_index(customer_id)
        address = await self._signer.address(f"customer/{index}")
        # Two callers derive the same address, so it does not matter whose is stored.
        row = {"customer_id_": customer_id, "address": address}
        await self._store.write(lambda uow: uow.run(_NAME, row))
        return CustodyAccount(customer_id, index, address)

    async def _take_index(self, customer_id: str) -> int:
        def take(uow: UnitOfWork) -> int | None:
            uow.run(_TAKE, {"customer_id": customer_id, "at": uow.now_ms})
            row = uow.row(_OF, {"customer_id": customer_id})
            return None if row is None else int(row.account_index)

        for _ in range(_TRIES):
            index = await self._store.write(take)
            if index is not None:
                return index
            # Another node took the same number for another customer in the same moment.
        raise UnavailableError("custody.busy", "Too many accounts are being made at once; try again.")
