"""What the rest of Vitrine may ask of the vault, and the plain values it gives and takes.

The vault is another database and often another process. Everything here is a frozen value of text, numbers
and enums; nothing is shared. Three rules hold for every operation:

- the caller makes the `OperationId` before it asks and uses it again until it has an answer;
- the same id with the same request gives the stored answer; with another request it is refused
  (``vault.operation_conflict``);
- an answer `OperationStatus.UNKNOWN`, or none at all, is resolved by `Vault.operation` with the same id,
  never by a new one.

Nothing in these values can print a card number or a security code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, Self

from gateway.kernel.ids import Id
from gateway.kernel.money import Money
from gateway.kernel.subjects import OperationId, PaymentMethodId
from wallets.vault.secret import Secret

_DELEGATED = re.compile(r"vt_[0-9a-f]{32}")


class AllowanceId(Id):
    """A scoped, revocable permission to spend from one stored payment method.

    A delegated token is the id of its allowance: ``vt_`` and 128 random bits.
    """

    prefix = "alw"

    @classmethod
    def parse(cls, text: str) -> Self:
        return cls(text) if _DELEGATED.fullmatch(text) else super().parse(text)


class OperationKind(StrEnum):
    AUTHORIZE = "authorize"
    CAPTURE = "capture"
    VOID = "void"
    REFUND = "refund"
    INCREMENT = "increment"
    """Raise an open authorization (an order that grew)."""
    PAYOUT = "payout"
    """Send money to a method without a capture to refer to (an unreferenced refund)."""


class MethodKind(StrEnum):
    """What a stored payment method is. Only CARD holds a card number, and only inside the vault."""

    CARD = "card"
    CARD_PRESENT = "card_present"
    """A card read by a terminal: the provider's token and the PAR, never a number (PCI P2PE)."""
    APPLE_PAY = "apple_pay"
    GOOGLE_PAY = "google_pay"
    """A wallet's payment token, verified and passed through encrypted. Single use: it holds a cryptogram."""
    SEPA_DEBIT = "sepa_debit"
    CASH = "cash"
    """A promise to pay at the till, the door or the pickup counter; staff confirm what was collected."""
    VOUCHER = "voucher"
    """Stored value that this installation issued."""


class Initiation(StrEnum):
    """Who asks for the money, as networks and regulators tell it apart."""

    CUSTOMER = "customer"
    MERCHANT = "merchant"
    """Without the customer, by an earlier agreement; names the first authorization's network transaction."""
    MOTO = "moto"
    """By mail or telephone; outside strong customer authentication (RTS recital, EBA Q&A)."""


class MerchantReason(StrEnum):
    """Why a merchant asks without the customer (industry codes of merchant-initiated transactions)."""

    RESUBMISSION = "resubmission"
    DELAYED_CHARGE = "delayed_charge"
    REAUTHORIZATION = "reauthorization"
    NO_SHOW = "no_show"
    TOP_UP = "top_up"


class Exemption(StrEnum):
    """An exemption from strong customer authentication to ask for (RTS 2018/389). The issuer decides."""

    LOW_VALUE = "low_value"
    CONTACTLESS = "contactless"
    UNATTENDED = "unattended"
    TRUSTED_PAYEE = "trusted_payee"
    RECURRING = "recurring"
    CORPORATE = "corporate"
    TRANSACTION_RISK = "transaction_risk"


class OperationStatus(StrEnum):
    """What the caller may rely on."""

    SUCCEEDED = "succeeded"
    """The provider did it."""
    DECLINED = "declined"
    """The issuer or the provider said no; `OperationResult.decline` says why. Nothing is held."""
    REQUIRES_ACTION = "requires_action"
    """The customer must complete `OperationResult.action`; ask `Vault.operation` afterwards."""
    FAILED = "failed"
    """Definite: nothing happened and nothing will under this id. Another try needs a new id."""
    UNKNOWN = "unknown"
    """Sent, not answered. Ask `Vault.operation` later with the same id."""
    REFUSED = "refused"
    """The vault itself said no (`OperationResult.refusal`); the provider never heard of it. Final."""

    @property
    def is_final(self) -> bool:
        """Whether the answer under this operation id can no longer change."""
        return self not in (OperationStatus.UNKNOWN, OperationStatus.REQUIRES_ACTION)


class DeclineClass(StrEnum):
    """What a decline means for the next step, whatever the network calls it."""

    SOFT_RETRY_LATER = "soft_retry_later"
    SOFT_NEEDS_SCA = "soft_needs_sca"
    """Try once more with `Authorize.request_challenge`."""
    FIX_DATA = "fix_data"
    HARD_NEVER = "hard_never"
    """Never try this payment method again for this purchase."""
    FRAUD_HOLD = "fraud_hold"


class AllowanceReason(StrEnum):
    ONE_TIME = "one_time"
    """One order: one or a few authorizations, e.g. a decline and a second try."""
    MULTI_CAPTURE = "multi_capture"
    """One order that is captured in parts or authorized again for the parts that ship late."""
    RECURRING = "recurring"
    """Several orders, within the limits."""


@dataclass(frozen=True, slots=True)
class CardEntry:
    """A card as the customer typed it. Every field that identifies it prints masked."""

    number: Secret
    expiry_month: int
    expiry_year: int
    """Four digits."""
    security_code: Secret
    holder: Secret

    @classmethod
    def typed(
        cls, number: str, expiry_month: int, expiry_year: int, security_code: str, holder: str = ""
    ) -> CardEntry:
        """Wrap the texts. Blanks and hyphens in the number are allowed; nothing is checked here."""
        return cls(
            Secret(number.replace(" ", "").replace("-", "")),
            expiry_month,
            expiry_year,
            Secret(security_code),
            Secret(holder),
        )


@dataclass(frozen=True, slots=True)
class StoredMethod:
    """What anybody outside the vault may know of a stored payment method."""

    payment_method_id: PaymentMethodId
    customer_id: str
    kind: str
    """A `MethodKind`."""
    brand: str
    """``visa``, ``mastercard``, ``amex``; of another kind the name people know it by."""
    last4: str
    """Of the card or account number; empty where there is none."""
    expiry_month: int
    """0 where the method has no expiry."""
    expiry_year: int
    created_at_ms: int
    account_reference: str | None = None
    """PAR of a card (29 characters): the same for every token of one card, and no means to pay."""


@dataclass(frozen=True, slots=True)
class PassedMethod:
    """A method whose secret is the provider's: a terminal's token, a wallet's payload, a mandate.

    ``reference`` is what the provider is to be handed back; `facts` what may be shown of it.
    """

    kind: MethodKind
    reference: Secret
    brand: str = ""
    last4: str = ""
    expiry_month: int = 0
    expiry_year: int = 0
    account_reference: str | None = None
    mandate_reference: str = ""
    """Of a SEPA mandate: what the customer signed. `reference` is the account number (IBAN) then."""


@dataclass(frozen=True, slots=True)
class AllowanceTerms:
    """What the customer allowed. Terms never change; another permission is another allowance.

    None in a scope (`order_id`, `place_id`, `world_id` and so on) means any, in a limit none.
    `expires_at_ms` is inclusive: at that millisecond the allowance is already invalid (ACP 2.5).
    """

    allowance_id: AllowanceId
    payment_method_id: PaymentMethodId
    customer_id: str
    merchant_id: str
    order_id: str | None
    channel: str | frozenset[str]
    """The only channel, or several."""
    place_id: str | None
    device_id: str | None
    reason: AllowanceReason
    max_amount: Money
    """For all authorizations together that were not declined or voided."""
    max_uses: int
    """Authorizations that were not declined, failed or wholly voided."""
    expires_at_ms: int
    not_before_ms: int = 0
    world_id: str | None = None
    """The virtual world; a place is inside one."""
    device_key: str | None = None
    """RFC 7638 thumbprint of the key the device must hold."""
    category: str | None = None
    """The only product category it pays for."""
    max_item: Money | None = None
    """For one unit of one item."""
    max_per_hour: Money | None = None
    """For everything within any 60 minutes."""
    guardian_id: str | None = None
    """Who must approve what is above `guardian_above`; set for a minor's allowance."""
    guardian_above: Money | None = None
    """None with a guardian: every authorization needs the approval."""
    session_id: str | None = None
    """The checkout or play session; an order's session is named by its `Authorize.session_id`."""


@dataclass(frozen=True, slots=True)
class SpentItem:
    """One line of what is bought, as far as an allowance has rules about it."""

    category: str
    unit_price: Money


@dataclass(frozen=True, slots=True)
class Authorize:
    """Reserve an amount on a payment method, within an allowance.

    The allowance is granted by the first authorization that brings it (idempotent by its id), so that
    granting and spending are one transaction of the vault. The other fields say what is spent, where
    and for whom; each must fit the terms.
    """

    operation_id: OperationId
    allowance: AllowanceTerms
    amount: Money
    customer_id: str
    merchant_id: str
    order_id: str
    channel: str
    place_id: str | None = None
    device_id: str | None = None
    request_challenge: bool = False
    """Ask for strong customer authentication, after a decline of class ``soft_needs_sca``."""
    network_transaction_id: str | None = None
    """Of the first authorization, when this one replaces it (re-authorization, split shipment)."""
    initiation: Initiation = Initiation.CUSTOMER
    merchant_reason: MerchantReason | None = None
    """Required for, and only for, `Initiation.MERCHANT`."""
    exemption: Exemption | None = None
    """Asked for; a soft decline answers a refused one."""
    authentication: str | None = None
    """Reference of a strong customer authentication that was passed for exactly this amount and payee."""
    world_id: str | None = None
    device_key: str | None = None
    items: tuple[SpentItem, ...] = ()
    """Needed only under an allowance with a category or a limit per item."""
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class Capture:
    """Take an amount of an authorization. Many partial captures are allowed up to the authorized amount."""

    operation_id: OperationId
    authorization_id: OperationId
    amount: Money


@dataclass(frozen=True, slots=True)
class Void:
    """Release what is open of an authorization: ``amount`` of it, or all of it.

    An authorization that waits for the customer's action can only be voided whole; that cancels the action.
    """

    operation_id: OperationId
    authorization_id: OperationId
    amount: Money | None = None


@dataclass(frozen=True, slots=True)
class Refund:
    """Give back an amount of a capture."""

    operation_id: OperationId
    capture_id: OperationId
    amount: Money


@dataclass(frozen=True, slots=True)
class Increment:
    """Raise an open authorization by ``amount``, where the provider can (`incremental_authorization`)."""

    operation_id: OperationId
    authorization_id: OperationId
    amount: Money


@dataclass(frozen=True, slots=True)
class Reauthorize:
    """Authorize what is left of an authorization once more, without the customer, before it runs out.

    Method, allowance and agreement (network transaction id) are those of the authorization it replaces;
    within the allowance the spend is swapped, so that nothing is counted twice. From then on the replaced one
    can be voided, not captured. One replacement at a time.
    """

    operation_id: OperationId
    authorization_id: OperationId
    amount: Money
    merchant_reason: MerchantReason = MerchantReason.REAUTHORIZATION


@dataclass(frozen=True, slots=True)
class Payout:
    """Send an amount to a customer's method without a capture to refer to.

    The order side has had it approved by two people (ASVS 2.3.5) before it asks.
    """

    operation_id: OperationId
    payment_method_id: PaymentMethodId
    customer_id: str
    merchant_id: str
    order_id: str
    amount: Money


@dataclass(frozen=True, slots=True)
class Limit:
    """The limit that refused a spend, and by how much it would be exceeded. Whole units of `unit`."""

    name: str
    """``max_amount``, ``max_uses``, ``max_item``, ``max_per_hour``, ``guardian_above``, ``attempts``."""
    unit: str
    """A currency, ``uses`` or ``attempts``."""
    allowed: int
    used: int
    asked: int
    retry_at_ms: int | None = None
    """From when on the same could pass, where waiting is all it takes."""

    @property
    def over_by(self) -> int:
        return self.used + self.asked - self.allowed


@dataclass(frozen=True, slots=True)
class Decline:
    """Why the network said no."""

    code: str
    """The raw response code of the network (ISO 8583 data element 39 or the scheme's own)."""
    decline_class: DeclineClass
    message: str
    """For people; safe to show to the customer."""
    advice: str | None = None
    """The network's advice beside the code, such as Mastercard's merchant advice code."""


@dataclass(frozen=True, slots=True)
class Action:
    """What the customer must do on a hosted page."""

    action_id: str
    path: str
    """URL path of the hosted page, to be joined with the public base URL."""


@dataclass(frozen=True, slots=True)
class ProviderTerms:
    """How the provider of an authorization lets it be used (P4), where that is not everything at once."""

    provider: str
    """Names the account in the books; never decides a flow."""
    most_captures: int
    partial_capture: bool
    partial_refund: bool
    void_after_capture: bool
    """False: a capture that is final releases the rest by itself."""
    merchant_initiated: bool
    async_capture_result: bool
    """A capture stays unknown until the provider, or whoever collects the money, says more: days, perhaps."""
    authorizes: bool
    """False: nobody holds the money; the authorization is a promise."""


@dataclass(frozen=True, slots=True)
class OperationResult:
    """What the vault knows of an operation."""

    operation_id: OperationId
    kind: OperationKind | None
    """None only for an id that was abandoned before anything was asked under it."""
    status: OperationStatus
    amount: Money | None
    """Authorized, captured, released or refunded. None where `kind` is None, and for a refused request
    that names no usable amount."""
    parent_id: OperationId | None = None
    """The authorization of a capture or void, the capture of a refund."""
    provider_reference: str | None = None
    network_transaction_id: str | None = None
    capture_before_ms: int | None = None
    """When the issuer lets the authorization go."""
    decline: Decline | None = None
    action: Action | None = None
    refusal: str | None = None
    """Stable code of the rule that refused it, ``allowance.expired``, or the reason of FAILED."""
    changed_at_ms: int = 0
    limit: Limit | None = None
    """Which limit a REFUSED operation would exceed, and by how much."""
    account_reference: str | None = None
    """PAR, where the provider returned one with an authorization."""
    liability: str | None = None
    """Who bears fraud: ``issuer`` after authentication, ``merchant`` after an exemption or without SCA."""
    terms: ProviderTerms | None = None
    """Of an authorization: None where any number of partial captures, voids and refunds is possible."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """A granted allowance and what was spent of it."""

    terms: AllowanceTerms
    used: Money
    """By authorizations that were not declined, failed or voided."""
    used_count: int
    used_last_hour: Money | None
    """None without `AllowanceTerms.max_per_hour`."""
    created_at_ms: int
    revoked_at_ms: int | None = None

    @property
    def left(self) -> Money:
        return self.terms.max_amount - self.used

    @property
    def uses_left(self) -> int:
        return self.terms.max_uses - self.used_count


class ApprovalId(Id):
    """A guardian's answer to one purchase."""

    prefix = "apr"


class ApprovalState(StrEnum):
    APPROVED = "approved"
    USED = "used"
    """It carries an authorization; it is free again only if the issuer declines that one or it fails."""
    DECLINED = "declined"
    """The guardian said no, or took an unused approval back."""
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Approval:
    """What a guardian approves or declines: one order at one merchant, up to an amount, for a while.

    Whoever asks has authenticated the guardian; the vault only compares ids.
    """

    approval_id: ApprovalId
    """Made by the caller, so that a repeat is recognized."""
    allowance_id: AllowanceId
    guardian_id: str
    merchant_id: str
    order_id: str
    max_amount: Money
    expires_at_ms: int
    """Inclusive, as for allowances."""


@dataclass(frozen=True, slots=True)
class OperationPage:
    """A page for the reconciler. Hand `cursor` to the next call; an empty page keeps it."""

    operations: tuple[OperationResult, ...]
    cursor: str


@dataclass(frozen=True, slots=True)
class CardSession:
    """A page on which the customer enters one card. Whoever has the address may use it, once."""

    url: str
    """Absolute where the vault is a process of its own; otherwise a path, to be joined with the public
    base URL."""
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class CardKey:
    """The public key to which a card is encrypted before it is sent (RSA, RFC 7518 section 6.3.1)."""

    key_id: str
    modulus: str
    """Base64url, as the JWK member ``n``."""
    exponent: str
    """Base64url, as the JWK member ``e``."""
    now_s: int
    """The vault's clock in whole seconds: what ``iat`` is measured against."""


@dataclass(frozen=True, slots=True)
class MethodPage:
    """Methods in the order in which their cards were entered. Hand `cursor` to the next call."""

    methods: tuple[StoredMethod, ...]
    cursor: str


REFUSALS: dict[str, str] = {
    "allowance.merchant_mismatch": "The allowance is for another merchant.",
    "allowance.order_mismatch": "The allowance is for another order.",
    "allowance.customer_mismatch": "The allowance is another customer's.",
    "allowance.channel_mismatch": "The allowance is for another channel.",
    "allowance.place_mismatch": "The allowance is for another place.",
    "allowance.device_mismatch": "The allowance is for another device.",
    "allowance.device_key_mismatch": "The allowance is for a device with another key.",
    "allowance.session_mismatch": "The allowance is for another session.",
    "allowance.world_mismatch": "The allowance is for another world.",
    "allowance.category_mismatch": "The allowance does not pay for this category of product.",
    "allowance.items_missing": "The allowance has rules about items, and none were named.",
    "allowance.currency_mismatch": "The allowance is in another currency.",
    "allowance.amount_exceeded": "The allowance does not cover the amount.",
    "allowance.item_exceeded": "An item costs more than the allowance pays for one.",
    "allowance.hour_exceeded": "The allowance does not cover this much within an hour.",
    "allowance.uses_exceeded": "The allowance was used as often as it allows.",
    "allowance.guardian_approval_required": "A guardian must approve this purchase first.",
    "allowance.guardian_declined": "The guardian has declined this purchase.",
    "allowance.not_yet_valid": "The allowance is not valid yet.",
    "allowance.expired": "The allowance has expired.",
    "allowance.revoked": "The allowance was revoked.",
    "allowance.terms_conflict": "The allowance was granted with other terms.",
    "allowance.terms_invalid": "The terms of the allowance contradict each other.",
    "vault.authorization_replaced": "The authorization was replaced by another one.",
    "vault.increment_undecided": "Another increment of the authorization is not decided yet.",
    "vault.initiation_invalid": "A request without the customer must say why, and only such a request.",
    "vault.retry_forbidden": "The network forbids another attempt of this kind with this card.",
    "vault.retry_too_early": "The network asks to wait before another attempt with this card.",
    "vault.attempts_exceeded": "The network allows no more attempts with this card for now.",
    "vault.method_unknown": "No such payment method of this customer.",
    "vault.method_delegated": "The card was delegated for one session: only its token pays with it.",
    "vault.method_kind": "No provider here takes this kind of payment method.",
    "vault.provider_cannot": "The provider of this payment method cannot do this.",
    "vault.amount_invalid": "The amount must be positive and below 2^53.",
    "vault.operation_conflict": "This operation id was used for another request.",
    "vault.operation_abandoned": "This operation id was given up before it was used.",
    "vault.authorization_unknown": "No such authorization.",
    "vault.authorization_not_open": "The authorization is not in a state that allows this.",
    "vault.capture_unknown": "No such capture.",
    "vault.capture_not_done": "The capture is not in a state that allows a refund.",
    "vault.currency_mismatch": "The amount is in another currency than the operation it refers to.",
    "vault.amount_exceeds_open": "The amount is more than what is open of the authorization.",
    "vault.amount_exceeds_captured": "The amount is more than what is left of the capture.",
    "vault.nothing_open": "Nothing is open of the authorization.",
}
"""Every code that `OperationResult.refusal` of a REFUSED operation can hold, with its message."""


class Vault(Protocol):
    """The vault as its callers see it.

    Operations answer with an `OperationResult` in every case the protocol knows; they raise
    `UnavailableError` only when the vault cannot say (then the operation is unknown: ask again).
    """

    async def tokenize(self, customer_id: str, card: CardEntry) -> StoredMethod:
        """Check a card with the provider and store it; the same card of a customer gives the same method.

        Raises InvalidError ``card.invalid`` (``param`` names the field), ``card.declined`` (``data`` has
        the network code and class), ``vault.live_card_refused`` where only test numbers are accepted.
        """
        ...

    async def store_method(self, customer_id: str, passed: PassedMethod) -> StoredMethod:
        """Check and store a method that is no typed card; the same again gives the same method.

        A wallet's payload is verified, not opened, and pays once. Raises InvalidError ``method.invalid``
        (``param`` names the field), ``vault.method_kind``, ``method.card_number_refused``,
        ``method.payload_refused``, ``method.voucher_unknown``, ``method.voucher_expired``; ConflictError
        ``method.payload_replayed``.
        """
        ...

    async def methods(self, customer_id: str) -> list[StoredMethod]:
        """Return the customer's stored methods, oldest first (at most 100)."""
        ...

    async def open_card_session(self, customer_id: str, return_url: str | None) -> CardSession:
        """Return a fresh page for entering a card; `methods_since` tells when that has been done.

        ``return_url`` is offered as a link afterwards: https, or http to this machine. Raises InvalidError
        ``card_session.return_url``.
        """
        ...

    async def card_key(self) -> CardKey:
        """Return the key to encrypt a card to; it changes now and then, so do not keep it for long."""
        ...

    async def store_sealed_card(self, customer_id: str, sealed: str) -> StoredMethod:
        """Store a card that the customer's device encrypted (JWE, see `wallets.vault.sealed_cards`).

        Raises as `tokenize`, and InvalidError ``card.sealed_invalid`` for what was not made for this vault,
        customer and time, ``card.sealed_replayed`` for one that was used before.
        """
        ...

    async def methods_since(self, cursor: str, limit: int) -> MethodPage:
        """Return methods whose card was entered on a page or arrived encrypted, after ``cursor``.

        A method appears again when its card is entered again. The last moment is held back, as in
        `operations_since`.
        """
        ...

    async def remove_method(self, customer_id: str, payment_method_id: PaymentMethodId) -> bool:
        """Destroy a stored method; False if the customer has no such method (any more).

        What was authorized with it can still be captured, voided and refunded. Later authorizations are
        refused with ``vault.method_unknown``.
        """
        ...

    async def authorize(self, request: Authorize) -> OperationResult: ...

    async def capture(self, request: Capture) -> OperationResult: ...

    async def void(self, request: Void) -> OperationResult: ...

    async def reauthorize(self, request: Reauthorize) -> OperationResult: ...

    async def refund(self, request: Refund) -> OperationResult: ...

    async def increment(self, request: Increment) -> OperationResult:
        """Raise an authorization; once it has succeeded, the authorization's amount is the higher one."""
        ...

    async def payout(self, request: Payout) -> OperationResult: ...

    async def confirm_cash(
        self, operation_id: OperationId, tendered: Money, confirmed_by: str
    ) -> OperationResult:
        """Record what staff counted for a capture, refund or payout in cash.

        Raises NotFoundError ``cash.unknown``; InvalidError ``cash.currency``, ``cash.not_enough`` (``data``
        has ``owed_minor``); ConflictError ``cash.decided``.
        """
        ...

    async def decline_cash(self, operation_id: OperationId, confirmed_by: str) -> OperationResult:
        """Record that nothing changed hands. Raises as `confirm_cash`."""
        ...

    async def operation(self, operation_id: OperationId) -> OperationResult | None:
        """Return what is known; where that is not final, the provider is asked first. None: never seen.

        None is no promise that the request will not arrive yet; `abandon` makes that promise.
        """
        ...

    async def abandon(self, operation_id: OperationId) -> OperationResult:
        """Give an operation up: a late request under this id will be refused.

        If the operation exists already, what is known of it is returned instead (as `operation` does).
        """
        ...

    async def operations_since(self, cursor: str, limit: int) -> OperationPage:
        """Return operations in the order of their last change, after ``cursor`` (empty: from the start).

        An operation appears again after each change. Changes of the last moments are held back until no
        earlier one can turn up.
        """
        ...

    async def grant(self, terms: AllowanceTerms) -> Allowance:
        """Grant an allowance that is spent later, from several orders or by somebody else.

        An authorization spends it by bringing the same terms. Idempotent by the id; the same id with other
        terms raises ConflictError ``allowance.terms_conflict``, one that was revoked before it was granted
        ``allowance.revoked``. Raises InvalidError ``allowance.terms_invalid``, ``allowance.expired``,
        ``vault.amount_invalid``, NotFoundError ``vault.method_unknown``.
        """
        ...

    async def allowance(self, allowance_id: AllowanceId) -> Allowance | None:
        """Return the terms of an allowance and what was spent of it; None if it was never granted."""
        ...

    async def approve(self, approval: Approval) -> ApprovalState:
        """Record that the guardian of an allowance agrees to one purchase, and return how that stands.

        The next authorization that needs it uses it. Idempotent by its id; raises ConflictError
        ``allowance.approval_conflict`` for the same id with another purchase, NotFoundError
        ``allowance.unknown`` when the allowance names another guardian.
        """
        ...

    async def decline_approval(self, approval: Approval) -> ApprovalState:
        """Record that the guardian says no, or take an approval back; one that was used stays used."""
        ...

    async def revoke(self, allowance_id: AllowanceId) -> None:
        """Forbid every further authorization under the allowance, even one whose grant arrives later."""
        ...
