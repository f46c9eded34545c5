"""Customers and the merchants that registered them."""

from __future__ import annotations

from sqlalchemy import bindparam, select

from gateway.identity.tables import customer, merchant_customer
from gateway.kernel.errors import NotFoundError
from gateway.kernel.events.log import open_stream
from gateway.kernel.store.statements import Statement, insert_into
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.kernel.subjects import CustomerId

_INSERT = insert_into(customer)
_LINK = insert_into(merchant_customer)
_BY_REFERENCE = Statement(
    select(merchant_customer.c.customer_id).where(
        merchant_customer.c.merchant_id == bindparam("merchant_id"),
        merchant_customer.c.reference == bindparam("reference"),
    )
)
_LINKED = Statement(
    select(merchant_customer.c.customer_id).where(
        merchant_customer.c.merchant_id == bindparam("merchant_id"),
        merchant_customer.c.customer_id == bindparam("customer_id"),
    )
)


def register_customer(uow: UnitOfWork, merchant_id: str, reference: str) -> str:
    """Return the customer a merchant knows under ``reference``, made on first use, with their stream."""
    known = uow.row(_BY_REFERENCE, {"merchant_id": merchant_id, "reference": reference})
    if known is not None:
        return str(known.customer_id)
    customer_id = uow.new_id(CustomerId)
    uow.run(_INSERT, {"customer_id": customer_id, "created_at_ms": uow.now_ms})
    uow.run(_LINK, {"merchant_id": merchant_id, "reference": reference, "customer_id": customer_id})
    open_stream(uow, customer_id)
    return customer_id


def require_customer_of(reader: Reader, merchant_id: str, customer_id: str) -> None:
    """Raise NotFoundError ``customer.not_found`` unless this merchant registered the customer."""
    if reader.row(_LINKED, {"merchant_id": merchant_id, "customer_id": customer_id}) is None:
        raise NotFoundError("customer.not_found", "There is no such customer.")
