"""The events of a customer's stream: past facts, each written in the transaction of its fact."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.protocol.messages import Integer, MoneyDocument, Wire


class OrderEvent(Wire):
    order_id: str


class OrderPlaced(OrderEvent):
    """Accepted: reserved and durable; payment is under way."""

    merchant: str
    total: MoneyDocument


class OrderConfirmed(OrderEvent):
    """Paid for and reserved: every leg is secured."""


class OrderCompleted(OrderEvent):
    """Every leg has ended, at least one of them captured."""

    captured: MoneyDocument


class OrderCanceled(OrderEvent):
    """Nothing was or will be delivered; what was authorized is released."""

    reason: str


class OrderRefunded(OrderEvent):
    """Everything captured has been given back."""

    refunded: MoneyDocument


class PaymentAuthorized(OrderEvent):
    operation_id: str
    amount: MoneyDocument


class Alternative(Wire):
    """A way to pay that may work instead."""

    kind: Literal["stored_method"]
    payment_method_id: str
    brand: str
    last4: str


class PaymentDeclined(OrderEvent):
    """The order waits for another method until its reservation ends: ``order.pay``."""

    decline_class: str
    code: str
    message: str
    alternatives: list[Alternative]
    pay_until: str


class PaymentActionRequired(OrderEvent):
    """The customer must pass a challenge on a hosted page; this session may wait or drop meanwhile."""

    action_id: str
    url: str


class PaymentUnknown(OrderEvent):
    """The provider has not answered; it is being asked. Nothing to do for the client."""

    operation_id: str


class PaymentCaptured(OrderEvent):
    leg_id: str
    amount: MoneyDocument


class PaymentCaptureFailed(OrderEvent):
    leg_id: str
    code: str


class PaymentVoided(OrderEvent):
    amount: MoneyDocument


class PaymentRefunded(OrderEvent):
    leg_id: str
    amount: MoneyDocument


class PaymentStuck(OrderEvent):
    """An operation ran out of attempts and waits for an operator."""

    task: str


class TokenMinted(OrderEvent):
    leg_id: str
    sku: str
    chain_id: Integer
    contract: str
    token_id: str
    serial: Integer | None = None
    transaction_hash: str
    block_number: Integer


class TokenReopened(OrderEvent):
    """A chain reorganization took the block of the mint away; it is being minted again."""

    leg_id: str


class TokenReturned(OrderEvent):
    leg_id: str
    transaction_hash: str


class EntitlementGranted(OrderEvent):
    leg_id: str
    sku: str


class EntitlementRevoked(OrderEvent):
    leg_id: str


class FulfillmentAccepted(OrderEvent):
    """The order backend has the fulfillment order."""

    fulfillment_order_id: str
    location: str


class ShipmentDispatched(OrderEvent):
    fulfillment_order_id: str
    carrier: str | None = None
    tracking_number: str | None = None


class ShipmentDelivered(OrderEvent):
    fulfillment_order_id: str


class LegCanceled(OrderEvent):
    leg_id: str
    reason: str


class LegFailed(OrderEvent):
    leg_id: str
    reason: str


class CancelRefused(OrderEvent):
    """The goods had left already: this leg goes on."""

    leg_id: str


class FulfillmentContradiction(OrderEvent):
    """The order backend says what cannot be true beside the order's state; a person has to look."""

    fulfillment_order_id: str
    state: str
    told: str


EVENTS: dict[str, type[Wire]] = {
    "order.placed": OrderPlaced,
    "order.confirmed": OrderConfirmed,
    "order.completed": OrderCompleted,
    "order.canceled": OrderCanceled,
    "order.refunded": OrderRefunded,
    "order.cancel_refused": CancelRefused,
    "order.leg_canceled": LegCanceled,
    "order.leg_failed": LegFailed,
    "payment.authorized": PaymentAuthorized,
    "payment.declined": PaymentDeclined,
    "payment.action_required": PaymentActionRequired,
    "payment.unknown": PaymentUnknown,
    "payment.captured": PaymentCaptured,
    "payment.capture_failed": PaymentCaptureFailed,
    "payment.voided": PaymentVoided,
    "payment.refunded": PaymentRefunded,
    "payment.stuck": PaymentStuck,
    "token.minted": TokenMinted,
    "token.reopened": TokenReopened,
    "token.returned": TokenReturned,
    "entitlement.granted": EntitlementGranted,
    "entitlement.revoked": EntitlementRevoked,
    "fulfillment.accepted": FulfillmentAccepted,
    "fulfillment.contradiction": FulfillmentContradiction,
    "shipment.dispatched": ShipmentDispatched,
    "shipment.delivered": ShipmentDelivered,
}
"""Body by event type."""


class EventMessage(Wire):
    """The envelope of an event."""

    v: Literal[1]
    id: str
    type: str
    ts: str
    stream: str
    epoch: str
    seq: Annotated[Integer, Field(ge=1)]
    body: dict[str, Any]
