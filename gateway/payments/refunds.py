"""Rows of refund requests: asked for, decided once, ended once. Conditional updates say who won."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, case, func, select, update

from gateway.kernel.errors import NotFoundError
from gateway.kernel.money import Money
from gateway.kernel.store.statements import Statement, insert_into
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.payments.intents import inline, sources
from gateway.payments.refunds_model import REFUND_MOVES, RefundId, RefundState, RefundWay, needs_second_person
from gateway.payments.tables import refund_request

_r = refund_request.c
_INSERT = insert_into(refund_request)
_BY_ID = Statement(select(refund_request).where(_r.refund_id == bindparam("refund_id")))
_OF_ORDER = Statement(
    select(refund_request).where(_r.order_id == bindparam("order_id")).order_by(_r.refund_id)
)
_OF_MERCHANT = Statement(
    select(refund_request)
    .where(_r.merchant_id == bindparam("merchant_id"), _r.refund_id < bindparam("before"))
    .order_by(_r.refund_id.desc())
    .limit(bindparam("most"))
)
_DECIDE = {
    state: Statement(
        update(refund_request)
        .where(_r.refund_id == bindparam("its_id"), _r.state.in_(inline(sources(REFUND_MOVES, state))))
        .values(
            state=state.value,
            decided_by=bindparam("who"),
            decided_at_ms=bindparam("now_ms"),
            expires_at_ms=None,
            **({} if state is RefundState.APPROVED else {"ended_at_ms": bindparam("now_ms")}),
        )
    )
    for state in (RefundState.APPROVED, RefundState.REJECTED, RefundState.EXPIRED)
}
_END = {
    state: Statement(
        update(refund_request)
        .where(_r.refund_id == bindparam("its_id"), _r.state.in_(inline(sources(REFUND_MOVES, state))))
        .values(state=state.value, failure=bindparam("why"), ended_at_ms=bindparam("now_ms"))
    )
    for state in (RefundState.DONE, RefundState.FAILED)
}
_COUNT_DONE = Statement(
    update(refund_request)
    .where(_r.refund_id == bindparam("its_id"))
    .values(done_minor=_r.done_minor + bindparam("amount"))
)
_EXPIRED = Statement(
    select(_r.refund_id)
    .where(_r.expires_at_ms.is_not(None), _r.expires_at_ms <= bindparam("now_ms"))
    .order_by(_r.expires_at_ms)
    .limit(bindparam("most"))
)
# What is on its way counts whole. Of what has ended counts what was sent, also where a part of it failed.
_COUNTED = case((_r.state == RefundState.APPROVED.value, _r.amount_minor), else_=_r.done_minor)
_SENT = Statement(
    select(
        func.count().label("times"),
        func.coalesce(func.sum(case((_r.currency == bindparam("in_currency"), _COUNTED), else_=0)), 0).label(
            "amount_minor"
        ),
    )
    .select_from(refund_request)
    .where(
        _r.customer_id == bindparam("customer_id"),
        _r.merchant_id == bindparam("merchant_id"),
        _r.way != RefundWay.ORIGINAL.value,
        _r.decided_at_ms > bindparam("since_ms"),
        _COUNTED > 0,
    )
)
_LAST = "rfd_~"
"""Sorts behind every id."""


def open_refund(
    uow: UnitOfWork,
    *,
    order_id: str,
    merchant_id: str,
    customer_id: str,
    way: RefundWay,
    amount: Money,
    leg_id: str | None,
    payment_method_id: str | None,
    reason: str,
    requested_by: str,
    authentication_id: str | None,
    expires_at_ms: int,
) -> RefundId:
    """Insert a request. One that needs no second person is approved as it is."""
    refund_id = uow.new_id(RefundId)
    waits = needs_second_person(way)
    uow.run(
        _INSERT,
        {
            "refund_id": refund_id,
            "order_id": order_id,
            "merchant_id": merchant_id,
            "customer_id": customer_id,
            "state": (RefundState.PENDING if waits else RefundState.APPROVED).value,
            "way": way.value,
            "currency": amount.currency,
            "amount_minor": amount.amount_minor,
            "done_minor": 0,
            "leg_id": leg_id,
            "payment_method_id": payment_method_id,
            "reason": reason,
            "requested_by": requested_by,
            "decided_by": None,
            "authentication_id": authentication_id,
            "failure": None,
            "created_at_ms": uow.now_ms,
            "decided_at_ms": None if waits else uow.now_ms,
            "ended_at_ms": None,
            "expires_at_ms": expires_at_ms if waits else None,
        },
    )
    return refund_id


def decide_refund(uow: UnitOfWork, refund_id: str, state: RefundState, who: str | None) -> bool:
    """Approve, reject or let expire; the answer says who won."""
    return uow.run(_DECIDE[state], {"its_id": refund_id, "who": who, "now_ms": uow.now_ms}) == 1


def end_refund(uow: UnitOfWork, refund_id: str, state: RefundState, failure: str | None = None) -> bool:
    """Note that all of it was done, or that some of it cannot be."""
    return uow.run(_END[state], {"its_id": refund_id, "why": failure, "now_ms": uow.now_ms}) == 1


def count_done(uow: UnitOfWork, refund_id: str, amount_minor: int) -> None:
    """Count what the provider has done of it."""
    uow.run(_COUNT_DONE, {"its_id": refund_id, "amount": amount_minor})


def refund_row(reader: Reader, refund_id: str) -> Any | None:
    """Return a request's row, or None."""
    return reader.row(_BY_ID, {"refund_id": refund_id})


def merchants_refund(reader: Reader, merchant_id: str, refund_id: str) -> Any:
    """Return the merchant's request; NotFoundError ``refund.not_found`` also for another merchant's."""
    row = refund_row(reader, refund_id)
    if row is None or row.merchant_id != merchant_id:
        raise NotFoundError("refund.not_found", "There is no such refund.")
    return row


def refunds_of_order(reader: Reader, order_id: str) -> list[Any]:
    """Return the order's requests, oldest first."""
    return reader.rows(_OF_ORDER, {"order_id": order_id})


def refunds_of_merchant(reader: Reader, merchant_id: str, after: str | None, most: int) -> list[Any]:
    """Return a page of the merchant's requests, newest first."""
    return reader.rows(_OF_MERCHANT, {"merchant_id": merchant_id, "before": after or _LAST, "most": most})


def expired_refunds(reader: Reader, most: int) -> list[str]:
    """Return requests that nobody has decided in time."""
    return [row.refund_id for row in reader.rows(_EXPIRED, {"now_ms": reader.now_ms, "most": most})]


def sent_since(
    reader: Reader, *, merchant_id: str, customer_id: str, currency: str, since_ms: int
) -> tuple[int, int]:
    """Return how often, in any currency, and how much in this one the customer was sent money elsewhere."""
    row = reader.row(
        _SENT,
        {
            "merchant_id": merchant_id,
            "customer_id": customer_id,
            "in_currency": currency,
            "since_ms": since_ms,
        },
    )
    assert row is not None
    return int(row.times), int(row.amount_minor)
