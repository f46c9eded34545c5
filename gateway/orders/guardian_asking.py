"""Asking a guardian about a purchase above what the customer may spend alone.

The vault has refused the authorization with ``allowance.guardian_approval_required``; nothing is held. The
order stays payable: the customer may also choose another way, and whoever is approved first has paid. Its
goods are kept for as long as the guardian is asked, and for a while after that.

There is one open question per order. Asked again with the same allowance it is the same question; with
another allowance the new one takes its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, select

from gateway.kernel.clock import rfc3339
from gateway.kernel.events.model import Event
from gateway.kernel.money import Money
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader
from gateway.orders.alternatives import alternatives
from gateway.orders.declining import owed
from gateway.orders.process import ProcessRules
from gateway.orders.purchase import Purchase, wire_money
from gateway.orders.tables import order, order_line
from gateway.payments import intents
from gateway.payments.guardians import (
    add_request,
    amount_asked,
    decide_request,
    pending_of,
    request_row,
    requests_of,
)
from gateway.payments.guardians_model import MOST_REQUESTS, GuardianState, shown_state
from gateway.payments.operations import Recorded
from gateway.payments.spending import spending_of
from wallets.vault.port import AllowanceTerms

REQUIRED = "allowance.guardian_approval_required"
DECLINED = "allowance.guardian_declined"
EXPIRED = "allowance.guardian_expired"
"""The decline after a guardian who did not answer in time."""

_LINES = Statement(
    select(order_line.c.title, order_line.c.quantity_current)
    .where(order_line.c.order_id == bindparam("order_id"))
    .order_by(order_line.c.position)
)
_SELLER = Statement(select(order.c.merchant_slug).where(order.c.order_id == bindparam("order_id")))


def ask_guardian(purchase: Purchase, recorded: Recorded, rules: ProcessRules) -> bool:
    """Ask the guardian of the allowance that was refused; False if there is nobody to ask, or no more."""
    if recorded.result.refusal != REQUIRED:
        return False
    uow = purchase.uow
    attempts = intents.attempts_of(uow, purchase.order_id)
    (attempt,) = [one for one in attempts if one.attempt_id == recorded.attempt_id]
    spending = spending_of(attempt)
    if spending is None or spending.terms.guardian_id is None:
        return False
    earlier = requests_of(uow, purchase.order_id)
    pending = pending_of(earlier)
    if pending is not None and _is_same(pending, spending.terms, recorded.amount, uow.now_ms):
        _tell_customer(purchase, pending)
        return True
    if len(earlier) >= MOST_REQUESTS:
        return False
    if pending is not None:
        end_request(purchase, pending)
    row = _open(purchase, recorded, spending.terms, spending.terms.guardian_id, rules)
    _tell_customer(purchase, row)
    if row.guardian_id != purchase.customer_id:
        uow.emit(Event(row.guardian_id, "payment.guardian_required", request_document(uow, row)))
    return True


def end_open(purchase: Purchase) -> None:
    """The order was given up: nobody has to decide about it any more."""
    pending = pending_of(requests_of(purchase.uow, purchase.order_id))
    if pending is not None:
        end_request(purchase, pending)


def end_request(purchase: Purchase, row: Any) -> None:
    """There is nothing left to decide."""
    if decide_request(purchase.uow, row.approval_id, GuardianState.ENDED):
        tell_decided(purchase, row, GuardianState.ENDED)


def tell_decided(purchase: Purchase, row: Any, state: GuardianState) -> None:
    """Tell customer and guardian what became of the question; what follows for the payment is told apart."""
    body = {"approval_id": row.approval_id, "guardian_id": row.guardian_id, "state": shown_state(state)}
    purchase.tell("payment.guardian_decided", **body)
    if row.guardian_id != purchase.customer_id:
        event = {"order_id": purchase.order_id, **body}
        purchase.uow.emit(Event(row.guardian_id, "payment.guardian_decided", event))


def request_document(reader: Reader, row: Any) -> dict[str, Any]:
    """Return what a guardian is asked: what, how much, whose purchase, at whom, until when."""
    seller = reader.row(_SELLER, {"order_id": row.order_id})
    assert seller is not None
    return {
        "order_id": row.order_id,
        "approval_id": row.approval_id,
        "guardian_id": row.guardian_id,
        "customer_id": row.customer_id,
        "merchant": seller.merchant_slug,
        "amount": wire_money(amount_asked(row)),
        "may_spend_alone": {"amount_minor": row.above_minor, "currency": row.currency},
        "items": [
            {"title": line.title, "quantity": line.quantity_current}
            for line in reader.rows(_LINES, {"order_id": row.order_id})
        ],
        "expires_at": rfc3339(row.expires_at_ms),
    }


def open_question(reader: Reader, order_id: str) -> dict[str, Any] | None:
    """Return the order's open question for its customer, or None."""
    row = pending_of(requests_of(reader, order_id))
    if row is None or row.expires_at_ms <= reader.now_ms:
        return None
    return {
        "approval_id": row.approval_id,
        "guardian_id": row.guardian_id,
        "amount": wire_money(amount_asked(row)),
        "expires_at": rfc3339(row.expires_at_ms),
    }


def reason_after(row: Any, reason: Mapping[str, Any]) -> dict[str, Any]:
    """Return why the payment was not made, after the guardian's no or silence, or after the vault's no.

    ``reason`` is what the attempt was refused with.
    """
    later = {
        GuardianState.DECLINED.value: ("hard_never", DECLINED, "The guardian has declined this purchase."),
        GuardianState.EXPIRED.value: ("soft_retry_later", EXPIRED, "The guardian did not answer in time."),
    }
    if row.state not in later:
        return dict(reason)
    decline_class, code, message = later[row.state]
    return {**reason, "class": decline_class, "code": code, "message": message}


def _is_same(pending: Any, terms: AllowanceTerms, amount: Money, now_ms: int) -> bool:
    return bool(
        pending.allowance_id == terms.allowance_id
        and amount_asked(pending) == amount
        and pending.expires_at_ms > now_ms
    )


def _open(
    purchase: Purchase, recorded: Recorded, terms: AllowanceTerms, guardian_id: str, rules: ProcessRules
) -> Any:
    uow = purchase.uow
    expires_at_ms = min(uow.now_ms + rules.guardian_ms, terms.expires_at_ms)
    if purchase.is_held:
        assert purchase.pay_until_ms is not None
        expires_at_ms = min(expires_at_ms, purchase.pay_until_ms)
    approval_id = add_request(
        uow,
        order_id=purchase.order_id,
        merchant_id=purchase.merchant_id,
        customer_id=purchase.customer_id,
        guardian_id=guardian_id,
        allowance_id=terms.allowance_id,
        operation_id=recorded.operation_id,
        amount=recorded.amount,
        above_minor=0 if terms.guardian_above is None else terms.guardian_above.amount_minor,
        expires_at_ms=expires_at_ms,
        kept_until_ms=expires_at_ms + rules.action_ms,
    )
    if not purchase.is_held:
        purchase.extend_payment(expires_at_ms + rules.action_ms)
    row = request_row(uow, approval_id)
    assert row is not None
    return row


def _tell_customer(purchase: Purchase, row: Any) -> None:
    purchase.tell(
        "payment.guardian_required",
        **{
            **request_document(purchase.uow, row),
            "alternatives": alternatives(purchase, owed(purchase)),
            "pay_until": rfc3339(purchase.pay_until_ms or row.expires_at_ms),
        },
    )
