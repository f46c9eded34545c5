"""Paying an order through a link: making one, what its page shows, and who was first.

A link pays what the order owes when it is made. Whoever pays is not the customer and learns nothing of them;
their card is nobody's stored method. Several may try at once, also the customer in their own session: the
intent takes one attempt at a time by compare-and-set, and the first approval is the order's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select

from gateway.catalog.loading import payment_policy_of
from gateway.kernel.clock import rfc3339
from gateway.kernel.documents import decode
from gateway.kernel.errors import ConflictError
from gateway.kernel.money import Money
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.orders import capturing
from gateway.orders.model import OrderState
from gateway.orders.purchase import Purchase, wire_money
from gateway.orders.tables import order, order_line
from gateway.payments import intents
from gateway.payments.model import AttemptState, IntentState, OperationState
from gateway.payments.operations import Recorded, operations_of
from gateway.payments.pay_links import (
    PayLinkState,
    add_link,
    end_link,
    link_of_token,
    links_of_order,
    offered_until_ms,
    state_now,
)

_HOUR_MS = 3_600_000
_MOST_OPEN = 10

_ORDER = Statement(select(order).where(order.c.order_id == bindparam("order_id")))
_LINES = Statement(
    select(order_line.c.title, order_line.c.quantity_current, order_line.c.total_minor)
    .where(order_line.c.order_id == bindparam("order_id"))
    .order_by(order_line.c.position)
)


@dataclass(frozen=True, slots=True)
class MadeLink:
    """A fresh link. Its address is told once and stored nowhere."""

    pay_link_id: str
    token: str
    amount: Money
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class LinkView:
    """What the page of a link shows: nothing about the customer."""

    pay_link_id: str
    state: PayLinkState
    order_id: str
    merchant_id: str
    amount: Money
    lines: tuple[tuple[str, int], ...]
    """Title and quantity."""
    expires_at_ms: int
    is_payable: bool
    """Whether a payer may try now."""
    attempts: int
    """Through this link."""
    under_way: bool
    """Whether an attempt, of whoever, is being answered."""
    action_url: str | None
    """Where the payer of this link has to confirm."""
    declined: bool
    """Whether the last attempt through this link was declined."""


def make_link(
    uow: UnitOfWork, purchase: Purchase, token: str, *, created_by: str, hours: int | None = None
) -> MadeLink:
    """Make a link for what the order owes now, and keep its goods for as long.

    The merchant may keep them for as long as it likes. By links of the customer's own they are kept as long
    as one lasts that was made with the order, however many are made.

    Raises ConflictError ``order.not_payable``, ``pay_link.not_offered``, ``pay_link.too_many``.
    """
    policy = payment_policy_of(uow, purchase.merchant_id)
    if not policy.pay_link:
        raise ConflictError("pay_link.not_offered", "This merchant offers no pay links.")
    amount = open_amount(purchase)
    if amount is None or purchase.is_over:
        raise _not_payable(purchase)
    valid_ms = min(hours or policy.pay_link_hours, policy.pay_link_hours) * _HOUR_MS
    expires_at_ms = uow.now_ms + valid_ms
    if purchase.state is OrderState.PLACED and created_by == purchase.customer_id:
        longest_ms = purchase.row.created_at_ms + policy.pay_link_hours * _HOUR_MS
        # Not for as long as an attempt keeps the order: links and attempts would prolong each other for ever.
        promised_ms = offered_until_ms(uow, purchase.order_id)
        expires_at_ms = min(expires_at_ms, max(longest_ms, promised_ms))
        if expires_at_ms <= uow.now_ms:
            raise _not_payable(purchase)
    open_now = [row for row in links_of_order(uow, purchase.order_id) if row.state == PayLinkState.OPEN]
    if len(open_now) >= _MOST_OPEN:
        raise ConflictError(
            "pay_link.too_many", "Too many links to this order are open.", data={"limit": _MOST_OPEN}
        )
    pay_link_id = add_link(
        uow,
        token=token,
        order_id=purchase.order_id,
        merchant_id=purchase.merchant_id,
        customer_id=purchase.customer_id,
        amount=amount,
        created_by=created_by,
        expires_at_ms=expires_at_ms,
    )
    if purchase.state is OrderState.PLACED:
        purchase.wait_for_link(expires_at_ms)
    return MadeLink(pay_link_id, token, amount, expires_at_ms)


def _not_payable(purchase: Purchase) -> ConflictError:
    return ConflictError(
        "order.not_payable",
        "The order does not wait for a payment.",
        data={"state": purchase.state.value, "payment": purchase.intent().state},
    )


def open_amount(purchase: Purchase) -> Money | None:
    """Return what the order waits to be paid, or None when it waits for no payment."""
    if purchase.is_held:
        return Money(capturing.needed(purchase), purchase.currency)
    intent = purchase.intent()
    waits = purchase.state is OrderState.PLACED and intent.state in (
        IntentState.REQUIRES_PAYMENT_METHOD,
        IntentState.REQUIRES_ACTION,
        IntentState.AUTHORIZING,
    )
    return purchase.total if waits and purchase.total else None


def link_paid(purchase: Purchase, recorded: Recorded) -> None:
    """An attempt through a link was approved and counts for the order: the link has done its work."""
    assert recorded.pay_link_id is not None
    if end_link(purchase.uow, recorded.pay_link_id, PayLinkState.PAID, recorded.operation_id):
        purchase.tell(
            "payment.link_paid", pay_link_id=recorded.pay_link_id, amount=wire_money(recorded.amount)
        )


def expire_link(uow: UnitOfWork, pay_link_id: str) -> None:
    """Its time is over. The order's own reservation ends by itself."""
    end_link(uow, pay_link_id, PayLinkState.EXPIRED)


def link_view(reader: Reader, token: str) -> LinkView:
    """Return what the page shows now; NotFoundError ``pay_link.not_found``."""
    row = link_of_token(reader, token)
    placed = reader.row(_ORDER, {"order_id": row.order_id})
    intent = intents.intent_of(reader, row.order_id)
    assert placed is not None and intent is not None
    attempts = {one.operation_id: one for one in intents.attempts_of(reader, row.order_id)}
    mine = [one for one in operations_of(reader, row.order_id) if one.pay_link_id == row.pay_link_id]
    last = mine[-1] if mine else None
    under_way = last is not None and last.state in (OperationState.CREATED, OperationState.UNKNOWN)
    state = state_now(row, reader.now_ms)
    held = placed.state == OrderState.CONFIRMED and placed.pay_until_ms is not None
    waits = (placed.state == OrderState.PLACED and intent.state == IntentState.REQUIRES_PAYMENT_METHOD) or (
        held and intent.reauthorization_id is None
    )
    return LinkView(
        pay_link_id=row.pay_link_id,
        state=state,
        order_id=row.order_id,
        merchant_id=row.merchant_id,
        amount=Money(row.amount_minor, row.currency),
        lines=tuple(
            (line.title, line.quantity_current) for line in reader.rows(_LINES, {"order_id": row.order_id})
        ),
        expires_at_ms=row.expires_at_ms,
        is_payable=state is PayLinkState.OPEN and waits,
        attempts=len(mine),
        under_way=under_way or (state is PayLinkState.OPEN and intent.state == IntentState.AUTHORIZING),
        action_url=_action_of(last),
        declined=last is not None
        and last.operation_id in attempts
        and attempts[last.operation_id].state in (AttemptState.DECLINED, AttemptState.FAILED),
    )


def _action_of(row: Any | None) -> str | None:
    if row is None or row.state != OperationState.REQUIRES_ACTION or row.detail is None:
        return None
    return str(decode(row.detail)["path"])


def link_document(row: Any, now_ms: int) -> dict[str, Any]:
    """Return a link as its merchant sees it; its address was told when it was made."""
    return {
        "pay_link_id": row.pay_link_id,
        "order_id": row.order_id,
        "state": state_now(row, now_ms).value,
        "amount": {"amount_minor": row.amount_minor, "currency": row.currency},
        "created_by": row.created_by,
        "created_at": rfc3339(row.created_at_ms),
        "expires_at": rfc3339(row.expires_at_ms),
    }
