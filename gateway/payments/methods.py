"""The gateway's list of a customer's payment methods: names and last digits, the cards stay in the vault."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, delete, select

from gateway.kernel.store.statements import Statement, insert_new
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.payments.tables import payment_method
from wallets.vault.port import StoredMethod

_INSERT = insert_new(payment_method)
_DELETE = Statement(
    delete(payment_method).where(
        payment_method.c.payment_method_id == bindparam("its_id"),
        payment_method.c.customer_id == bindparam("its_customer"),
    )
)
_ONE = Statement(
    select(payment_method).where(payment_method.c.payment_method_id == bindparam("payment_method_id"))
)
_OF_CUSTOMER = Statement(
    select(payment_method)
    .where(payment_method.c.customer_id == bindparam("customer_id"))
    .order_by(payment_method.c.payment_method_id)
    .limit(100)
)


def remember_method(uow: UnitOfWork, method: StoredMethod) -> None:
    """Note a method the vault has stored; a repeat changes nothing."""
    uow.run(
        _INSERT,
        {
            "payment_method_id": method.payment_method_id,
            "customer_id": method.customer_id,
            "kind": method.kind,
            "brand": method.brand,
            "last4": method.last4,
            "expiry_month": method.expiry_month,
            "expiry_year": method.expiry_year,
            "created_at_ms": method.created_at_ms,
        },
    )


def forget_method(uow: UnitOfWork, customer_id: str, payment_method_id: str) -> bool:
    """Drop a method that the vault has removed; False if the customer has none of this id.

    Nothing else is changed: intents and operations keep its id, and go on without the row.
    """
    return bool(uow.run(_DELETE, {"its_id": payment_method_id, "its_customer": customer_id}))


def method_of(reader: Reader, customer_id: str, payment_method_id: str) -> Any | None:
    """Return the method's row if it is this customer's, else None."""
    row = reader.row(_ONE, {"payment_method_id": payment_method_id})
    return row if row is not None and row.customer_id == customer_id else None


def methods_of(reader: Reader, customer_id: str) -> list[Any]:
    """Return the customer's methods, oldest first."""
    return reader.rows(_OF_CUSTOMER, {"customer_id": customer_id})
