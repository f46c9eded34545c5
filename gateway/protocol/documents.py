"""What the gateway sends in reply bodies and events: the documents of the wire, as schema.

The program builds them as plain dictionaries; tests hold every message it sends against these models.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.protocol.declines import DeclinedDocument, GuardianQuestion
from gateway.protocol.messages import Amount, Integer, MoneyDocument, Wire

Time = str
"""RFC 3339 in UTC, for example ``2026-11-21T12:00:00.000Z``."""


class LimitsDocument(Wire):
    """What a connection may do."""

    message_bytes: Integer
    json_depth: Integer
    in_flight: Integer
    commands_per_second: Integer
    burst: Integer
    connections_per_account: Integer


class HelloBody(Wire):
    """First message of the gateway."""

    versions: list[str]
    server: str
    heartbeat_ms: Integer
    auth_timeout_ms: Integer
    nonce: str
    limits: LimitsDocument


class ReadyBody(Wire):
    """Signed in. Events that follow continue after ``seq`` of ``epoch``."""

    session_id: str
    customer_id: str
    device_id: str
    epoch: str
    seq: Integer
    resumed: bool
    """True: every event after the number in ``resume`` follows. False after ``resume``: a snapshot does."""


class SnapshotBody(Wire):
    """The customer's latest orders, when a stream cannot be continued; events follow after ``seq``."""

    epoch: str
    seq: Integer
    orders: list[OrderDocument]


class ErrorBody(Wire):
    """Why a command was refused."""

    code: str
    class_: Annotated[Literal["retry", "fix", "fatal", "sca"], Field(alias="class")]
    message: str
    param: str | None = None
    """JSONPath of the offending input."""
    retry_after_ms: Integer | None = None
    data: dict[str, Any] | None = None


class HoldingWallet(Wire):
    """Which wallet holds a token, or is to: the customer's account here, one they linked, or one outside that
    they have unlinked since."""

    kind: Literal["custodial", "linked", "outside"]
    wallet_id: str | None = None
    address: str | None = None


class TokenDocument(Wire):
    """A digital item in a wallet, or on its way there.

    Addresses are paths on the gateway. ``model_url`` is the 3D model (GLB), ``picture_url`` a picture of it.
    """

    kind: Literal["token", "entitlement"]
    order_id: str
    leg_id: str
    sku: str
    title: str
    merchant: str
    quantity: Integer
    acquired_at: Time
    """When it was minted or granted; until then, when it was ordered."""
    state: Literal["reserved", "on_its_way", "owned", "undelivered", "returning", "returned"]
    edition: str | None = None
    copies: Integer | None = None
    """How many there will ever be; None for an open edition."""
    wallet: HoldingWallet | None = None
    """None for an entitlement, which is no token."""
    chain_id: Integer | None = None
    contract: str | None = None
    token_id: str | None = None
    serial: Integer | None = None
    transaction_hash: str | None = None
    model_url: str | None = None
    picture_url: str | None = None
    metadata_url: str | None = None
    """What the token says of itself, once it is minted."""


class WalletBody(Wire):
    address: str | None
    items: list[TokenDocument]
    next: str | None = None


class WalletPageReply(Wire):
    """Where the wallet opens in one browser, once. Whoever has the address may be the one who opens it."""

    url: str
    expires_at: Time


class ShipmentDocument(Wire):
    location: str
    state: str
    carrier: str | None = None
    tracking_number: str | None = None


class LegDocument(Wire):
    """A part of a line that is fulfilled and captured by itself."""

    leg_id: str
    kind: Literal["mint", "entitle", "ship"]
    state: str
    amount: MoneyDocument
    tax: MoneyDocument
    tax_rate_bps: Integer
    tax_country: str
    token: dict[str, Any] | None = None
    wallet_id: str | None = None
    """The linked wallet that its token is minted to; None: the customer's account here."""
    recipient: str | None = None
    """The address outside that its token is minted to."""
    deliver_not_before: Time | None = None
    """When the period to withdraw ends, where delivery waits for that."""
    choose_by: Time | None = None
    """Until when another wallet can be chosen for it: ``order.choose_wallet``."""
    shipment: ShipmentDocument | None = None


class LineDocument(Wire):
    line_id: str
    sku: str
    title: str
    format: Literal["digital", "physical", "bundle"]
    quantity: Integer
    unit_price: MoneyDocument
    total: MoneyDocument
    legs: list[LegDocument]


class WaitingActionDocument(Wire):
    """What the customer is asked to do for a payment in ``requires_action``; see ``payment.action``."""

    action_id: str
    expires_at: Time


class WaitingGuardianDocument(Wire):
    """A guardian is asked; the order can be paid another way meanwhile."""

    approval_id: str
    guardian_id: str
    amount: MoneyDocument
    expires_at: Time


class PaymentDocument(Wire):
    state: str
    authorized_minor: Amount
    captured_minor: Amount
    voided_minor: Amount
    refunded_minor: Amount
    refunding_minor: Amount = 0
    """Refunds under way."""
    pay_until: Time | None = None
    """Until when a payment is waited for: the first one, or one in place of an authorization that is lost."""
    action: WaitingActionDocument | None = None
    guardian: WaitingGuardianDocument | None = None
    declined: DeclinedDocument | None = None
    """Why it waits for another way to pay. Told to the customer alone, as what they have to do is."""


class ConsentDocument(Wire):
    """What the customer has agreed to, in which words, and when that was confirmed to them."""

    kind: str
    text_version: str
    locale: str
    given_at: str
    confirmed_at: Time | None = None


class OrderDocument(Wire):
    order_id: str
    merchant: str
    channel: str
    place: str | None = None
    state: str
    reason: str | None = None
    country: str
    total: MoneyDocument
    tax: MoneyDocument
    shipping: MoneyDocument
    placed_at: Time
    lines: list[LineDocument]
    payment: PaymentDocument
    consents: list[ConsentDocument] | None = None


class OrderSummary(Wire):
    order_id: str
    merchant: str
    state: str
    total: MoneyDocument
    placed_at: Time


class OrderListReply(Wire):
    orders: list[OrderSummary]
    next: str | None = None


class QuoteLineDocument(Wire):
    sku: str
    title: str
    format: Literal["digital", "physical", "bundle"]
    quantity: Integer
    unit_price: MoneyDocument
    total: MoneyDocument


class TaxLineDocument(Wire):
    country: str
    rate_bps: Integer
    gross: MoneyDocument
    tax: MoneyDocument


class DeliveryPromise(Wire):
    location: str
    days_min: Integer
    days_max: Integer


class QuoteDocument(Wire):
    """What the customer will pay, tax included, and until when the items are held."""

    quote_id: str
    merchant: str
    lines: list[QuoteLineDocument]
    total: MoneyDocument
    tax: MoneyDocument
    shipping: MoneyDocument
    taxes: list[TaxLineDocument]
    delivery: DeliveryPromise | None = None
    consents_required: list[str]
    ship_to_required: bool
    expires_at: Time


class PayLinkDocument(Wire):
    """A fresh link. Its address is in this reply and nowhere else."""

    pay_link_id: str
    url: str
    qr_url: str
    """A picture of the address as a QR code (SVG)."""
    amount: MoneyDocument
    expires_at: Time


class PayLinkReply(Wire):
    order_id: str
    pay_link: PayLinkDocument | None = None
    """None when this key was answered before: ask for another link with another key."""
    replayed: bool = False


class PlacedReply(Wire):
    """The order is accepted; what becomes of it follows as events."""

    order_id: str
    state: str
    total: MoneyDocument
    replayed: bool = False
    """True when this key had been answered before."""
    pay_link: PayLinkDocument | None = None
    """Where it is to be paid through a link: in the first reply to this key."""


class CanceledReply(Wire):
    order_id: str
    state: str
    replayed: bool = False


class PaymentMethodDocument(Wire):
    payment_method_id: str
    kind: str
    brand: str
    last4: str
    expiry_month: Integer
    expiry_year: Integer


class PaymentMethodsReply(Wire):
    methods: list[PaymentMethodDocument]


class CardPageReply(Wire):
    """A page for entering one card. Whoever has the address may use it, once."""

    url: str
    expires_at: str


class BoughtDocument(Wire):
    title: str
    quantity: Integer


class PaymentActionReply(Wire):
    """What the customer is asked to approve. ``passkey`` is WebAuthn's
    ``PublicKeyCredentialRequestOptionsJSON``, where one of the customer's passkeys can answer."""

    action_id: str
    order_id: str
    state: str
    payee: str
    amount: MoneyDocument
    items: list[BoughtDocument]
    url: str
    qr_url: str
    expires_at: Time
    passkey: dict[str, Any] | None = None


class PaymentAuthenticateReply(Wire):
    action_id: str
    state: str
    replayed: bool = False


class PasskeyOptionsReply(Wire):
    """WebAuthn's ``PublicKeyCredentialCreationOptionsJSON``."""

    options: dict[str, Any]


class PasskeyAddReply(Wire):
    passkey_id: str
    replayed: bool = False


class PasskeyDocument(Wire):
    passkey_id: str
    name: str
    transports: list[str]
    backed_up: bool
    created_at: Time
    last_used_at: Time | None = None


class PasskeyListReply(Wire):
    passkeys: list[PasskeyDocument]


class WalletLinkBeginReply(Wire):
    """``message`` is signed as it is (EIP-4361 by ``personal_sign``), until ``expires_at``."""

    message: str
    nonce: str
    expires_at: Time


class LinkedWalletDocument(Wire):
    """``kind``: the wallet showed who controls it by its ``key``, by its code (``contract``), or by the code
    that it will have (``undeployed``)."""

    wallet_id: str
    chain_id: Integer
    address: str
    kind: Literal["key", "contract", "undeployed"]
    linked_at: Time


class WalletLinkReply(Wire):
    wallet: LinkedWalletDocument
    replayed: bool = False


class WalletLinksReply(Wire):
    wallets: list[LinkedWalletDocument]


class WalletUnlinkReply(Wire):
    wallet_id: str
    replayed: bool = False


class GuardianListReply(Wire):
    requests: list[GuardianQuestion]


class GuardianAnswerReply(Wire):
    """How the request stands; what follows for the payment comes as events."""

    approval_id: str
    order_id: str
    state: Literal["approved", "declined"]
    replayed: bool = False


class WorldConsentDocument(Wire):
    """What the player lets a world see, and what the world calls them: another name in every world."""

    world_id: str
    title: str
    state: Literal["allowed", "expired", "revoked"]
    player_id: str
    scopes: list[str]
    allowed_at: Time
    expires_at: Time | None = None


class WorldConsentReply(WorldConsentDocument):
    replayed: bool = False


class WorldListReply(Wire):
    worlds: list[WorldConsentDocument]


class ProductReply(Wire):
    product: dict[str, Any]


class CatalogReply(Wire):
    products: list[dict[str, Any]]
    next: str | None = None


class HeartbeatReply(Wire):
    seq: Integer


REPLIES: dict[str, type[Wire]] = {
    "catalog.list": CatalogReply,
    "catalog.get": ProductReply,
    "quote.create": QuoteDocument,
    "order.place": PlacedReply,
    "order.pay": PlacedReply,
    "order.pay_link": PayLinkReply,
    "order.get": OrderDocument,
    "order.list": OrderListReply,
    "order.cancel": CanceledReply,
    "order.choose_wallet": CanceledReply,
    "payment.methods": PaymentMethodsReply,
    "payment.action": PaymentActionReply,
    "payment.authenticate": PaymentAuthenticateReply,
    "passkey.options": PasskeyOptionsReply,
    "passkey.add": PasskeyAddReply,
    "passkey.list": PasskeyListReply,
    "passkey.remove": PasskeyAddReply,
    "payment.add_card": CardPageReply,
    "guardian.list": GuardianListReply,
    "guardian.approve": GuardianAnswerReply,
    "guardian.decline": GuardianAnswerReply,
    "wallet.list": WalletBody,
    "wallet.page": WalletPageReply,
    "wallet.link.begin": WalletLinkBeginReply,
    "wallet.link": WalletLinkReply,
    "wallet.links": WalletLinksReply,
    "wallet.unlink": WalletUnlinkReply,
    "world.allow": WorldConsentReply,
    "world.revoke": WorldConsentReply,
    "world.list": WorldListReply,
}
"""The body of ``ok`` by command."""

SnapshotBody.model_rebuild()
