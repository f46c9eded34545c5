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

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from gateway.kernel.ids import Id
from gateway.kernel.money import Money
from gateway.kernel.subjects import OperationId, PaymentMethodId
from wallets.vault.secret import Secret


class AllowanceId(Id):
    """A scoped, revocable permission to spend from one stored payment method."""

    prefix = "alw"


class OperationKind(StrEnum):
    AUTHORIZE = "authorize"
    CAPTURE = "capture"
    VOID = "void"
    REFUND = "refund"


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
    """``card``; other kinds come with their providers."""
    brand: str
    """``visa``, ``mastercard``, ``amex``."""
    last4: str
    expiry_month: int
    expiry_year: int
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class AllowanceTerms:
    """What the customer allowed. Terms never change; another permission is another allowance.

    None in `order_id`, `place_id` or `device_id` means any. `expires_at_ms` is inclusive: at that
    millisecond the allowance is already invalid (ACP 2.5).
    """

    allowance_id: AllowanceId
    payment_method_id: PaymentMethodId
    customer_id: str
    merchant_id: str
    order_id: str | None
    channel: str
    place_id: str | None
    device_id: str | None
    reason: AllowanceReason
    max_amount: Money
    """For all authorizations together that were not declined or voided."""
    max_uses: int
    """Authorizations that were not declined, failed or wholly voided."""
    expires_at_ms: int


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
class Decline:
    """Why the network said no."""

    code: str
    """The raw response code of the network (ISO 8583 data element 39 or the scheme's own)."""
    decline_class: DeclineClass
    message: str
    """For people; safe to show to the customer."""


@dataclass(frozen=True, slots=True)
class Action:
    """What the customer must do on a hosted page."""

    action_id: str
    path: str
    """URL path of the hosted page, to be joined with the public base URL."""


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


@dataclass(frozen=True, slots=True)
class OperationPage:
    """A page for the reconciler. Hand `cursor` to the next call; an empty page keeps it."""

    operations: tuple[OperationResult, ...]
    cursor: str


REFUSALS: dict[str, str] = {
    "allowance.merchant_mismatch": "The allowance is for another merchant.",
    "allowance.order_mismatch": "The allowance is for another order.",
    "allowance.customer_mismatch": "The allowance is another customer's.",
    "allowance.channel_mismatch": "The allowance is for another channel.",
    "allowance.place_mismatch": "The allowance is for another place.",
    "allowance.device_mismatch": "The allowance is for another device.",
    "allowance.currency_mismatch": "The allowance is in another currency.",
    "allowance.amount_exceeded": "The allowance does not cover the amount.",
    "allowance.uses_exceeded": "The allowance was used as often as it allows.",
    "allowance.expired": "The allowance has expired.",
    "allowance.revoked": "The allowance was revoked.",
    "allowance.terms_conflict": "The allowance was granted with other terms.",
    "vault.method_unknown": "No such payment method of this customer.",
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

    async def methods(self, customer_id: str) -> list[StoredMethod]:
        """Return the customer's stored methods, oldest first (at most 100)."""
        ...

    async def authorize(self, request: Authorize) -> OperationResult: ...

    async def capture(self, request: Capture) -> OperationResult: ...

    async def void(self, request: Void) -> OperationResult: ...

    async def refund(self, request: Refund) -> OperationResult: ...

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

    async def revoke(self, allowance_id: AllowanceId) -> None:
        """Forbid every further authorization under the allowance, even one whose grant arrives later."""
        ...
