"""Orders as their customer and their merchant see them. Reading only."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, select

from fulfillment.tables import fulfillment_line, fulfillment_order
from gateway.kernel.clock import rfc3339
from gateway.kernel.documents import decode
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader
from gateway.orders.actions import waiting_action
from gateway.orders.changes import order_not_found
from gateway.orders.declining import told
from gateway.orders.guardian_asking import open_question, reason_after
from gateway.orders.model import LegKind, LegState, OrderState
from gateway.orders.tables import consent, leg, order, order_line
from gateway.payments import intents
from gateway.payments.guardians import requests_of
from gateway.payments.model import IntentState
from gateway.payments.tables import payment_intent

_ORDER = Statement(
    select(
        order,
        payment_intent.c.state.label("payment_state"),
        payment_intent.c.authorized_minor,
        payment_intent.c.captured_minor,
        payment_intent.c.voided_minor,
        payment_intent.c.refunded_minor,
        payment_intent.c.refunding_minor,
    )
    .select_from(order.join(payment_intent, payment_intent.c.order_id == order.c.order_id))
    .where(order.c.order_id == bindparam("order_id"))
)
_LINES = Statement(
    select(order_line).where(order_line.c.order_id == bindparam("order_id")).order_by(order_line.c.position)
)
_LEGS = Statement(select(leg).where(leg.c.order_id == bindparam("order_id")).order_by(leg.c.position))
_CONSENTS = Statement(
    select(consent).where(consent.c.order_id == bindparam("order_id")).order_by(consent.c.kind)
)
_SHIPMENTS = Statement(
    select(
        fulfillment_line.c.leg_id,
        fulfillment_order.c.location_code,
        fulfillment_order.c.state,
        fulfillment_order.c.tracking_carrier,
        fulfillment_order.c.tracking_number,
    )
    .select_from(
        fulfillment_order.join(
            fulfillment_line,
            fulfillment_line.c.fulfillment_order_id == fulfillment_order.c.fulfillment_order_id,
        )
    )
    .where(fulfillment_order.c.order_id == bindparam("order_id"))
)
_summary = select(
    order.c.order_id,
    order.c.merchant_slug,
    order.c.state,
    order.c.currency,
    order.c.total_minor,
    order.c.created_at_ms,
)
_OF_CUSTOMER = Statement(
    _summary.where(order.c.customer_id == bindparam("owner"), order.c.order_id < bindparam("before"))
    .order_by(order.c.order_id.desc())
    .limit(bindparam("most"))
)
_OF_MERCHANT = Statement(
    _summary.where(order.c.merchant_id == bindparam("owner"), order.c.order_id < bindparam("before"))
    .order_by(order.c.order_id.desc())
    .limit(bindparam("most"))
)
_LAST = "ord_~"
"""Sorts behind every id of an order."""


def order_document(reader: Reader, order_id: str, *, customer_id: str | None, merchant_id: str | None) -> Any:
    """Return an order for its customer or its merchant; NotFoundError ``order.not_found`` otherwise."""
    row = reader.row(_ORDER, {"order_id": order_id})
    if (
        row is None
        or (customer_id is not None and row.customer_id != customer_id)
        or (merchant_id is not None and row.merchant_id != merchant_id)
    ):
        raise order_not_found()
    currency = row.currency
    legs = reader.rows(_LEGS, {"order_id": order_id})
    shipments = {}
    if any(one.kind == LegKind.SHIP for one in legs):
        shipments = {one.leg_id: one for one in reader.rows(_SHIPMENTS, {"order_id": order_id})}
    by_line: dict[int, list[dict[str, Any]]] = {}
    for one in legs:
        by_line.setdefault(one.line_position, []).append(_leg_document(one, currency, shipments))
    document = {
        "order_id": row.order_id,
        "merchant": row.merchant_slug,
        "channel": row.channel,
        "place": row.place,
        "state": row.state,
        "reason": row.reason,
        "country": row.country,
        "total": {"amount_minor": row.total_minor, "currency": currency},
        "tax": {"amount_minor": row.tax_minor, "currency": currency},
        "shipping": {"amount_minor": row.shipping_minor, "currency": currency},
        "placed_at": rfc3339(row.created_at_ms),
        "lines": [
            {
                "line_id": line.line_id,
                "sku": line.sku,
                "title": line.title,
                "format": line.format,
                "quantity": line.quantity_current,
                "unit_price": {"amount_minor": line.unit_price_minor, "currency": currency},
                "total": {"amount_minor": line.total_minor, "currency": currency},
                "legs": by_line.get(line.position, []),
            }
            for line in reader.rows(_LINES, {"order_id": order_id})
        ],
        "payment": {
            "state": row.payment_state,
            "authorized_minor": row.authorized_minor,
            "captured_minor": row.captured_minor,
            "voided_minor": row.voided_minor,
            "refunded_minor": row.refunded_minor,
            "refunding_minor": row.refunding_minor,
        },
        "consents": [
            {
                "kind": given.kind,
                "text_version": given.text_version,
                "locale": given.locale,
                "given_at": given.given_at,
                "confirmed_at": None if given.confirmed_at_ms is None else rfc3339(given.confirmed_at_ms),
            }
            for given in reader.rows(_CONSENTS, {"order_id": order_id})
        ],
    }
    if row.pay_until_ms is not None:
        document["payment"]["pay_until"] = rfc3339(row.pay_until_ms)
    if customer_id is not None:
        document["payment"].update(_for_customer(reader, row))
    if merchant_id is not None and row.ship_to is not None:
        # The merchant ships it; the customer knows it.
        document["ship_to"] = decode(row.ship_to)
    return document


def _for_customer(reader: Reader, row: Any) -> dict[str, Any]:
    """Return what the customer has to do about the payment, or why it waits for another way."""
    if row.payment_state == IntentState.REQUIRES_ACTION:
        return {"action": waiting_action(reader, row.order_id)}
    held = row.state == OrderState.CONFIRMED and row.pay_until_ms is not None
    if row.payment_state != IntentState.REQUIRES_PAYMENT_METHOD and not held:
        return {}
    question = open_question(reader, row.order_id)
    if question is not None:
        return {"guardian": question}
    attempts = intents.attempts_of(reader, row.order_id)
    if not attempts or attempts[-1].decline is None:
        return {}
    reason = decode(attempts[-1].decline)
    asked = [
        one for one in requests_of(reader, row.order_id) if one.operation_id == attempts[-1].operation_id
    ]
    return {"declined": told(reason_after(asked[0], reason) if asked else reason)}


def order_page(
    reader: Reader, *, customer_id: str | None, merchant_id: str | None, after: str | None, limit: int
) -> Any:
    """Return a page of orders, newest first, with the cursor of the next."""
    statement, owner = (_OF_CUSTOMER, customer_id) if customer_id is not None else (_OF_MERCHANT, merchant_id)
    rows = reader.rows(statement, {"owner": owner, "before": after or _LAST, "most": limit + 1})
    return {
        "orders": [
            {
                "order_id": row.order_id,
                "merchant": row.merchant_slug,
                "state": row.state,
                "total": {"amount_minor": row.total_minor, "currency": row.currency},
                "placed_at": rfc3339(row.created_at_ms),
            }
            for row in rows[:limit]
        ],
        "next": rows[limit - 1].order_id if len(rows) > limit else None,
    }


def open_orders(reader: Reader, customer_id: str) -> list[Any]:
    """Return the customer's latest orders as documents, for a snapshot."""
    page = order_page(reader, customer_id=customer_id, merchant_id=None, after=None, limit=10)
    return [
        order_document(reader, found["order_id"], customer_id=customer_id, merchant_id=None)
        for found in page["orders"]
    ]


def _leg_document(row: Any, currency: str, shipments: dict[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = {
        "leg_id": row.leg_id,
        "kind": row.kind,
        "state": row.state,
        "amount": {"amount_minor": row.amount_minor, "currency": currency},
        "tax": {"amount_minor": row.tax_minor, "currency": currency},
        "tax_rate_bps": row.tax_rate_bps,
        "tax_country": row.tax_country,
    }
    if row.token is not None:
        document["token"] = decode(row.token)
    if row.recipient is not None:
        document |= {"wallet_id": row.wallet_id, "recipient": row.recipient}
    if row.mint_not_before_ms is not None:
        document["deliver_not_before"] = rfc3339(row.mint_not_before_ms)
    if row.state == LegState.UNDELIVERED and row.due_at_ms is not None:
        document["choose_by"] = rfc3339(row.due_at_ms)
    shipment = shipments.get(row.leg_id)
    if shipment is not None:
        document["shipment"] = {
            "location": shipment.location_code,
            "state": shipment.state,
            "carrier": shipment.tracking_carrier,
            "tracking_number": shipment.tracking_number,
        }
    return document
