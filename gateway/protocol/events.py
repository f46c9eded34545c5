"""The events of a customer's stream: past facts, each written in the transaction of its fact."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.protocol.declines import DeclinedDocument, GuardianQuestion, LimitDocument
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
    """The order was taken back, and everything captured has been given back.

    Where money alone goes back, in part or whole, ``refund.done`` says so and the order stays as it is.
    """

    refunded: MoneyDocument


class PaymentAuthorized(OrderEvent):
    operation_id: str
    amount: MoneyDocument


class Alternative(Wire):
    """A way to pay that may work instead: what ``order.pay`` takes as ``payment``.

    Of a stored method its name; of the others the amount, and how long a link would be open.
    """

    kind: Literal["stored_method", "pay_link", "pay_at_delivery", "cash_at_pickup"]
    payment_method_id: str | None = None
    brand: str | None = None
    last4: str | None = None
    amount: MoneyDocument | None = None
    valid_hours: Integer | None = None


class PaymentDeclined(OrderEvent, DeclinedDocument):
    """The order waits for another method until its reservation ends: ``order.pay``."""

    alternatives: list[Alternative]
    pay_until: str


class PaymentGuardianRequired(GuardianQuestion):
    """A guardian must approve this payment first: ``guardian.approve`` or ``guardian.decline``.

    Customer and guardian are told. The customer's copy also says how else the order could be paid, and until
    when it waits.
    """

    alternatives: list[Alternative] | None = None
    pay_until: str | None = None


class PaymentGuardianDecided(OrderEvent):
    """The guardian's word, or that none is needed any more; customer and guardian are told.

    After ``approved`` the payment goes on, after ``declined`` and ``expired`` follows ``payment.declined``.
    """

    approval_id: str
    guardian_id: str
    state: Literal["approved", "declined", "expired", "ended"]


class OrderHeld(OrderEvent):
    """The authorization was lost before everything had shipped, and could not be renewed.

    What is paid for goes on. The rest waits for another method (``order.pay``) until ``pay_until``.
    """

    reason: str
    amount: MoneyDocument
    alternatives: list[Alternative]
    pay_until: str


class OrderReleased(OrderEvent):
    """The rest of a held order is paid for and goes on."""


class LegRefused(OrderEvent):
    """Nobody paid for the goods at the door: they go back."""

    leg_id: str


class PaymentReauthorized(OrderEvent):
    """What is left of the order was authorized anew, before the first authorization ran out."""

    operation_id: str
    amount: MoneyDocument


class PaymentReauthorizationDeclined(OrderEvent):
    """The present authorization could not be replaced yet; what it still covers goes on."""

    decline_class: str
    code: str
    limit: LimitDocument | None = None


class PaymentLinkPaid(OrderEvent):
    """Somebody has paid through a link."""

    pay_link_id: str
    amount: MoneyDocument


class PaymentCollected(OrderEvent):
    """Staff have collected the money in person."""

    operation_id: str
    amount: MoneyDocument
    change: MoneyDocument


class RefundEvent(OrderEvent):
    refund_id: str


class RefundRequested(RefundEvent):
    """``pending`` waits for a second person of the merchant; ``approved`` is on its way."""

    amount: MoneyDocument
    way: Literal["original", "method", "payout"]
    state: Literal["pending", "approved"]
    reason: str


class RefundApproved(RefundEvent):
    pass


class RefundRejected(RefundEvent):
    pass


class RefundExpired(RefundEvent):
    """Nobody approved it in time."""


class RefundDone(RefundEvent):
    amount: MoneyDocument


class RefundFailed(RefundEvent):
    """The provider did not do all of it; ``done`` was given back."""

    code: str
    done: MoneyDocument


class PayoutSent(RefundEvent):
    """Money was sent to a method of the customer."""

    amount: MoneyDocument
    leg_id: str | None = None


class PaymentActionRequired(OrderEvent):
    """The customer must approve on a hosted page; this session may wait or drop meanwhile.

    The page opens by ``url``, by the QR picture at ``qr_url``, or by typing ``user_code`` at
    ``verification_url``; all of them until ``expires_at``.
    """

    action_id: str
    url: str
    user_code: str
    verification_url: str
    qr_url: str
    expires_at: str


class PaymentAuthenticated(OrderEvent):
    """The customer was authenticated, by their bank or by a passkey; the payment's outcome follows."""

    action_id: str
    method: Literal["passkey", "three_ds"]


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
    """A part or the whole of a leg's money has gone back."""

    leg_id: str
    amount: MoneyDocument
    refund_id: str | None = None


class PaymentStuck(OrderEvent):
    """An operation ran out of attempts and waits for an operator."""

    task: str


class PaymentMethodAdded(Wire):
    """The customer has entered a card on the vault's page, or sent one encrypted; it can pay now."""

    payment_method_id: str
    kind: str
    brand: str
    last4: str
    expiry_month: Integer
    expiry_year: Integer


class PaymentMethodUpdated(PaymentMethodAdded):
    """A known card was entered again, with a new expiry."""


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


class TokenUndelivered(OrderEvent):
    """The chosen wallet refused a token that is paid for: another wallet (``order.choose_wallet``) or the
    money back (``order.cancel``), which comes by itself after ``choose_by``."""

    leg_id: str
    reason: str
    choose_by: str


class TokenWalletChosen(OrderEvent):
    """The token is minted to this wallet now; null is the customer's account here."""

    leg_id: str
    wallet_id: str | None


class ConsentConfirmed(OrderEvent):
    """What the customer has agreed to and lost by it, for them to keep (directive 2011/83/EU Art. 8(7))."""

    kind: str
    text_version: str
    locale: str
    given_at: str
    confirmed_at: str


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


class PasskeyAdded(Wire):
    """A passkey can approve the customer's payments from now on; one they do not know is to be removed."""

    passkey_id: str
    name: str


class WalletLinked(Wire):
    """A wallet of the customer's own can be chosen from now on; one they do not know is to be unlinked."""

    wallet_id: str
    chain_id: Integer
    address: str
    kind: Literal["key", "contract", "undeployed"]


class WalletUnlinked(Wire):
    wallet_id: str
    chain_id: Integer
    address: str


class WalletKeyExported(Wire):
    """The customer, approving with a passkey, was given the private key of their account here."""

    export_id: str
    address: str
    device_id: str


class WorldAllowed(Wire):
    """A world may see what the player owns from now on; one they do not know is to be revoked."""

    world_id: str
    title: str
    player_id: str
    scopes: list[str]
    allowed_at: str
    expires_at: str | None = None


class WorldRevoked(Wire):
    """The world is told nothing more."""

    world_id: str


EVENTS: dict[str, type[Wire]] = {
    "order.placed": OrderPlaced,
    "order.confirmed": OrderConfirmed,
    "order.completed": OrderCompleted,
    "order.canceled": OrderCanceled,
    "order.refunded": OrderRefunded,
    "order.held": OrderHeld,
    "order.released": OrderReleased,
    "order.cancel_refused": CancelRefused,
    "order.leg_refused": LegRefused,
    "order.leg_canceled": LegCanceled,
    "order.leg_failed": LegFailed,
    "payment.authorized": PaymentAuthorized,
    "payment.declined": PaymentDeclined,
    "payment.guardian_required": PaymentGuardianRequired,
    "payment.guardian_decided": PaymentGuardianDecided,
    "payment.action_required": PaymentActionRequired,
    "payment.authenticated": PaymentAuthenticated,
    "payment.unknown": PaymentUnknown,
    "payment.captured": PaymentCaptured,
    "payment.capture_failed": PaymentCaptureFailed,
    "payment.voided": PaymentVoided,
    "payment.refunded": PaymentRefunded,
    "payment.reauthorized": PaymentReauthorized,
    "payment.reauthorization_declined": PaymentReauthorizationDeclined,
    "payment.link_paid": PaymentLinkPaid,
    "payment.collected": PaymentCollected,
    "refund.requested": RefundRequested,
    "refund.approved": RefundApproved,
    "refund.rejected": RefundRejected,
    "refund.expired": RefundExpired,
    "refund.done": RefundDone,
    "refund.failed": RefundFailed,
    "payout.sent": PayoutSent,
    "payment.stuck": PaymentStuck,
    "payment_method.added": PaymentMethodAdded,
    "payment_method.updated": PaymentMethodUpdated,
    "passkey.added": PasskeyAdded,
    "wallet.linked": WalletLinked,
    "wallet.unlinked": WalletUnlinked,
    "wallet.key_exported": WalletKeyExported,
    "token.minted": TokenMinted,
    "token.reopened": TokenReopened,
    "token.returned": TokenReturned,
    "token.undelivered": TokenUndelivered,
    "token.wallet_chosen": TokenWalletChosen,
    "consent.confirmed": ConsentConfirmed,
    "entitlement.granted": EntitlementGranted,
    "entitlement.revoked": EntitlementRevoked,
    "fulfillment.accepted": FulfillmentAccepted,
    "fulfillment.contradiction": FulfillmentContradiction,
    "shipment.dispatched": ShipmentDispatched,
    "shipment.delivered": ShipmentDelivered,
    "world.allowed": WorldAllowed,
    "world.revoked": WorldRevoked,
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
