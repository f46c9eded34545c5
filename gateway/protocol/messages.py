"""The messages of ``vitrine.v1.json``: envelopes, commands, replies. Events are in `events`.

One envelope for everything: ``{v, id, type, re?, key?, ts, stream?, epoch?, seq?, body}``. Unknown fields are
ignored; an unknown type is an error, never a closed connection. Amounts are integers of minor units below
2^53 with their currency; integral floats are taken for integers, because every number of an engine is one.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

SUBPROTOCOL = "vitrine.v1.json"
MESSAGE_BYTES = 64 * 1024
"""Most bytes of one message, in both directions."""
MAX_INTEGER = 2**53 - 1


def _integral(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _is_none(value: Any) -> bool:
    return value is None


def _is_at_once(value: Any) -> bool:
    return bool(value == "at_once")


Integer = Annotated[int, BeforeValidator(_integral)]
Amount = Annotated[int, BeforeValidator(_integral), Field(ge=-MAX_INTEGER, le=MAX_INTEGER)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Text = Annotated[str, StringConstraints(max_length=512)]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
MomentText = Annotated[
    str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)$")
]
"""RFC 3339 with an offset."""
Key = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[\x20-\x7e]+$")]


class Wire(BaseModel):
    """Base of everything on the wire: strict types, unknown fields ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class NoPrices(Wire):
    """A body in which a price would be an attempt to set one."""

    _price_names: ClassVar[frozenset[str]] = frozenset(
        {"price", "unit_price", "amount", "amount_minor", "total", "total_minor", "discount", "tax"}
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_prices(cls, data: Any) -> Any:
        if isinstance(data, dict):
            sent = cls._price_names.intersection(data)
            if sent:
                raise PydanticCustomError(
                    "price_sent", "{name} may not be sent: prices come from the quote", {"name": min(sent)}
                )
        return data


class MoneyDocument(Wire):
    """An amount on the wire."""

    amount_minor: Amount
    currency: Currency


# --- What a client sends before it may ask anything -------------------------------------------------


class DeviceDocument(Wire):
    """What connects, for the customer's list of devices."""

    kind: Name = "headset"
    name: Text = ""
    app: Text = ""


class AuthBody(Wire):
    """Sign in with a device token."""

    token: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    device: DeviceDocument = DeviceDocument()


class ResumeBody(AuthBody):
    """Sign in and continue after event number ``seq`` of ``epoch``."""

    epoch: Name
    seq: Annotated[Integer, Field(ge=0, le=MAX_INTEGER)]


class HeartbeatBody(Wire):
    """``seq`` acknowledges every event up to that number."""

    seq: Annotated[Integer, Field(ge=0, le=MAX_INTEGER)] = 0


class Message(Wire):
    """The envelope of what a client sends."""

    v: Annotated[Integer, Field(ge=1, le=1)] = 1
    id: Name


class Auth(Message):
    type: Literal["auth"]
    body: AuthBody


class Resume(Message):
    type: Literal["resume"]
    body: ResumeBody


class Heartbeat(Message):
    type: Literal["heartbeat"]
    body: HeartbeatBody = HeartbeatBody()


# --- Commands ---------------------------------------------------------------------------------------


class Command(Message):
    """A message that gets exactly one ``ok`` or ``error``. ``key`` is required where something changes."""

    changes: ClassVar[bool] = False
    key: Key | None = None


class CatalogListBody(Wire):
    merchant: Name | None = None
    place: Name | None = None
    after: Name | None = None
    limit: Annotated[Integer, Field(ge=1, le=100)] = 25


class CatalogGetBody(Wire):
    """Either a product id, or a merchant with a product handle or a SKU."""

    product_id: Name | None = None
    merchant: Name | None = None
    handle: Name | None = None
    sku: Name | None = None


class QuoteItem(NoPrices):
    sku: Name
    format: Literal["digital", "physical", "bundle"]
    quantity: Annotated[Integer, Field(ge=1, le=100)] = 1


class QuoteCreateBody(NoPrices):
    """Ask what items cost, and hold them for a while."""

    merchant: Name
    items: Annotated[list[QuoteItem], Field(min_length=1, max_length=50)]
    currency: Currency
    country: Country
    """Where the customer lives and goods are shipped: it decides tax and shipping."""
    channel: Literal["ar", "metaverse", "web"] = "ar"
    """Where it is sold. Allowances name it: what an agent or a web page buys says ``web``."""
    place: Name | None = None


class Consent(Wire):
    """What the customer agreed to, in which words (CRD Art. 16(m), 8(7))."""

    kind: Literal["digital_content_start"]
    """Delivery of the digital item starts now and the right of withdrawal is lost."""
    text_version: Name
    locale: Name
    at: Annotated[
        str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)$")
    ]


class ShipTo(Wire):
    name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    line1: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    line2: Annotated[str, StringConstraints(max_length=200)] = ""
    postal_code: Annotated[str, StringConstraints(min_length=1, max_length=20)]
    city: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    country: Country
    phone: Annotated[str, StringConstraints(max_length=40)] = ""


class PaymentChoice(NoPrices):
    """How the customer wants to pay; a stored method is named, the others are the merchant's to offer.

    ``allowance``: a standing allowance of the customer, or a token that was delegated to an agent.
    ``pay_link``: somebody pays on the page of the link that the reply holds. ``pay_at_delivery`` and
    ``cash_at_pickup``: staff collect the money when they hand the goods over.
    """

    kind: Literal["stored_method", "allowance", "pay_link", "pay_at_delivery", "cash_at_pickup"]
    payment_method_id: Name | None = None
    allowance_id: Name | None = None
    device_proof: Annotated[str, StringConstraints(min_length=1, max_length=2048)] | None = None
    """For an allowance that is bound to a device's key: a signature by that key over this payment (JWS)."""

    @model_validator(mode="after")
    def _one_method(self) -> PaymentChoice:
        if (self.kind == "stored_method") != (self.payment_method_id is not None):
            raise PydanticCustomError(
                "payment_choice", "payment_method_id is for stored_method, and only for that"
            )
        if (self.kind == "allowance") != (self.allowance_id is not None) or (
            self.device_proof is not None and self.kind != "allowance"
        ):
            raise PydanticCustomError(
                "payment_choice", "allowance_id and device_proof are for allowance, and only for that"
            )
        return self


class WithPayment(NoPrices):
    """A body that says how to pay: by a stored method (``payment_method_id``), or by ``payment``."""

    payment_method_id: Name | None = None
    payment: PaymentChoice | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Any:
        if (self.payment_method_id is None) == (self.payment is None):
            raise PydanticCustomError("payment_choice", "either payment_method_id or payment is needed")
        return self


class MintTo(Wire):
    """Where a purchase's tokens are minted: a wallet that the customer has linked."""

    wallet_id: Name


class OrderPlaceBody(WithPayment):
    quote_id: Name
    ship_to: ShipTo | None = None
    consents: Annotated[list[Consent], Field(max_length=10)] = []
    """At most one of each kind."""
    # Left out where they are not given, so that the hash of a body without them stays what it was.
    mint_to: Annotated[MintTo | None, Field(exclude_if=_is_none)] = None
    """None: the customer's account here. What goes to a wallet outside is captured before it is minted."""
    digital_start: Annotated[Literal["at_once", "after_withdrawal_period"], Field(exclude_if=_is_at_once)] = (
        "at_once"
    )
    """``after_withdrawal_period``: instead of consenting. What is digital is paid for and delivered later."""

    @model_validator(mode="after")
    def _one_of_each_kind(self) -> OrderPlaceBody:
        if len({consent.kind for consent in self.consents}) < len(self.consents):
            raise PydanticCustomError("consents", "each kind of consent is given once")
        return self


class OrderPayBody(WithPayment):
    """Pay a declined, unpaid or held order another way, within the same session."""

    order_id: Name


class OrderPayLinkBody(Wire):
    """Ask for a link by which anybody can pay the order, once."""

    order_id: Name
    hours: Annotated[Integer, Field(ge=1, le=720)] | None = None
    """How long it is open; never longer than the merchant allows."""


class OrderGetBody(Wire):
    order_id: Name


class OrderListBody(Wire):
    after: Name | None = None
    """The last order id of the previous page; newest orders come first."""
    limit: Annotated[Integer, Field(ge=1, le=50)] = 20


class WalletListBody(Wire):
    after: Name | None = None
    """The last leg id of the previous page; newest items come first."""
    limit: Annotated[Integer, Field(ge=1, le=50)] = 50


class OrderCancelBody(Wire):
    order_id: Name
    reason: Text = ""
    leg_id: Annotated[Name | None, Field(exclude_if=_is_none)] = None
    """One leg of a paid order; None: all that can be stopped."""


class OrderChooseWalletBody(Wire):
    """Another wallet for a token that the one before refused."""

    order_id: Name
    leg_id: Name
    wallet_id: Name | None
    """A linked wallet, or null for the customer's account here."""


class PaymentAddCardBody(Wire):
    return_url: Annotated[str, StringConstraints(min_length=1, max_length=2000)] | None = None
    """Offered as a link once the card is saved: https, or http to this machine."""


class PaymentActionBody(Wire):
    action_id: Name


class PaymentAuthenticateBody(Wire):
    """``credential`` is the assertion, as WebAuthn's ``AuthenticationResponseJSON``."""

    action_id: Name
    credential: dict[str, Any]


class PasskeyOptionsBody(Wire):
    """An action that the customer has just passed: a passkey is added on the strength of it."""

    action_id: Name


class PasskeyAddBody(Wire):
    """``credential`` is what was created, as WebAuthn's ``RegistrationResponseJSON``."""

    action_id: Name
    credential: dict[str, Any]
    name: Name = "Passkey"


class PasskeyRemoveBody(Wire):
    passkey_id: Name


class WalletLinkBeginBody(Wire):
    address: Annotated[str, StringConstraints(pattern=r"^0x[0-9A-Fa-f]{40}$")]
    """Letters in both cases are its checksum (EIP-55), which must be right; those of one case carry none."""
    chain_id: Annotated[Integer, Field(ge=1, le=MAX_INTEGER)] | None = None
    """Where it is given it must be the chain of this installation."""


class WalletLinkBody(Wire):
    """``message`` is the text of ``wallet.link.begin``, unchanged; ``signature`` is hexadecimal after ``0x``:
    65 bytes of a key (EIP-191), what a contract account takes (EIP-1271), or that wrapped (ERC-6492)."""

    message: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    signature: Annotated[str, StringConstraints(min_length=1, max_length=33792)]


class WalletUnlinkBody(Wire):
    wallet_id: Name


class GuardianAnswerBody(Wire):
    """The question that is answered, by the guardian it was put to."""

    approval_id: Name


class WorldScopes(Wire):
    """What the player lets a world's server see. ``wallets`` comes with ``items``, never alone."""

    scopes: Annotated[list[Literal["items", "wallets"]], Field(min_length=1, max_length=2)] = ["items"]
    expires_at: MomentText | None = None
    """When the consent ends by itself; null: when it is revoked."""

    @model_validator(mode="after")
    def _with_items(self) -> WorldScopes:
        if "items" not in self.scopes or len(set(self.scopes)) < len(self.scopes):
            raise PydanticCustomError("scopes", "scopes must contain items, and each only once")
        return self


class WorldAllowBody(WorldScopes):
    world_id: Name


class WorldRevokeBody(Wire):
    world_id: Name


class NoBody(Wire):
    pass


class CatalogList(Command):
    type: Literal["catalog.list"]
    body: CatalogListBody = CatalogListBody()


class CatalogGet(Command):
    type: Literal["catalog.get"]
    body: CatalogGetBody


class QuoteCreate(Command):
    changes: ClassVar[bool] = True
    type: Literal["quote.create"]
    body: QuoteCreateBody


class OrderPlace(Command):
    changes: ClassVar[bool] = True
    type: Literal["order.place"]
    body: OrderPlaceBody


class OrderPay(Command):
    changes: ClassVar[bool] = True
    type: Literal["order.pay"]
    body: OrderPayBody


class OrderPayLink(Command):
    changes: ClassVar[bool] = True
    type: Literal["order.pay_link"]
    body: OrderPayLinkBody


class OrderGet(Command):
    type: Literal["order.get"]
    body: OrderGetBody


class OrderList(Command):
    type: Literal["order.list"]
    body: OrderListBody = OrderListBody()


class OrderCancel(Command):
    changes: ClassVar[bool] = True
    type: Literal["order.cancel"]
    body: OrderCancelBody


class OrderChooseWallet(Command):
    """For a leg that is ``undelivered``. Who wants the money back cancels the leg instead."""

    changes: ClassVar[bool] = True
    type: Literal["order.choose_wallet"]
    body: OrderChooseWalletBody


class PaymentMethods(Command):
    type: Literal["payment.methods"]
    body: NoBody = NoBody()


class PaymentAddCard(Command):
    """Ask for a page on which the customer enters a card; ``payment_method.added`` follows."""

    type: Literal["payment.add_card"]
    body: PaymentAddCardBody = PaymentAddCardBody()


class PaymentAction(Command):
    type: Literal["payment.action"]
    body: PaymentActionBody


class PaymentAuthenticate(Command):
    changes: ClassVar[bool] = True
    type: Literal["payment.authenticate"]
    body: PaymentAuthenticateBody


class PasskeyOptions(Command):
    type: Literal["passkey.options"]
    body: PasskeyOptionsBody


class PasskeyAdd(Command):
    changes: ClassVar[bool] = True
    type: Literal["passkey.add"]
    body: PasskeyAddBody


class PasskeyList(Command):
    type: Literal["passkey.list"]
    body: NoBody = NoBody()


class PasskeyRemove(Command):
    changes: ClassVar[bool] = True
    type: Literal["passkey.remove"]
    body: PasskeyRemoveBody


class WalletLinkBegin(Command):
    """Ask for a message that a wallet of the customer's own signs to be linked."""

    type: Literal["wallet.link.begin"]
    body: WalletLinkBeginBody


class WalletLink(Command):
    """Link the wallet that has signed. Only the device that asked for the message can."""

    changes: ClassVar[bool] = True
    type: Literal["wallet.link"]
    body: WalletLinkBody


class WalletLinks(Command):
    """The wallets that the customer has linked."""

    type: Literal["wallet.links"]
    body: NoBody = NoBody()


class WalletUnlink(Command):
    """End a link. What is being minted to the wallet is minted all the same."""

    changes: ClassVar[bool] = True
    type: Literal["wallet.unlink"]
    body: WalletUnlinkBody


class GuardianList(Command):
    """What this customer is asked as a guardian, now."""

    type: Literal["guardian.list"]
    body: NoBody = NoBody()


class GuardianApprove(Command):
    """Agree to one purchase; the payment goes on under the same allowance."""

    changes: ClassVar[bool] = True
    type: Literal["guardian.approve"]
    body: GuardianAnswerBody


class GuardianDecline(Command):
    """Say no to one purchase; the order waits for another way to pay."""

    changes: ClassVar[bool] = True
    type: Literal["guardian.decline"]
    body: GuardianAnswerBody


class WalletList(Command):
    type: Literal["wallet.list"]
    body: WalletListBody = WalletListBody()


class WalletPage(Command):
    """Ask for a page that shows the wallet in a browser, for looking alone."""

    type: Literal["wallet.page"]
    body: NoBody = NoBody()


class WorldAllow(Command):
    """Let a world see what the player owns: the reply says what the world calls them."""

    changes: ClassVar[bool] = True
    type: Literal["world.allow"]
    body: WorldAllowBody


class WorldRevoke(Command):
    """Take it back: the world is told nothing more, and finds no such player."""

    changes: ClassVar[bool] = True
    type: Literal["world.revoke"]
    body: WorldRevokeBody


class WorldList(Command):
    """What the player has said about worlds."""

    type: Literal["world.list"]
    body: NoBody = NoBody()


AnyCommand = (
    CatalogList
    | CatalogGet
    | QuoteCreate
    | OrderPlace
    | OrderPay
    | OrderPayLink
    | OrderGet
    | OrderList
    | OrderCancel
    | OrderChooseWallet
    | PaymentMethods
    | PaymentAction
    | PaymentAuthenticate
    | PasskeyOptions
    | PasskeyAdd
    | PasskeyList
    | PasskeyRemove
    | PaymentAddCard
    | GuardianList
    | GuardianApprove
    | GuardianDecline
    | WalletList
    | WalletPage
    | WalletLinkBegin
    | WalletLink
    | WalletLinks
    | WalletUnlink
    | WorldAllow
    | WorldRevoke
    | WorldList
)
ClientMessage = Auth | Resume | Heartbeat | AnyCommand
COMMANDS: tuple[type[Command], ...] = (
    CatalogList,
    CatalogGet,
    QuoteCreate,
    OrderPlace,
    OrderPay,
    OrderPayLink,
    OrderGet,
    OrderList,
    OrderCancel,
    OrderChooseWallet,
    PaymentMethods,
    PaymentAction,
    PaymentAuthenticate,
    PasskeyOptions,
    PasskeyAdd,
    PasskeyList,
    PasskeyRemove,
    PaymentAddCard,
    GuardianList,
    GuardianApprove,
    GuardianDecline,
    WalletList,
    WalletPage,
    WalletLinkBegin,
    WalletLink,
    WalletLinks,
    WalletUnlink,
    WorldAllow,
    WorldRevoke,
    WorldList,
)
