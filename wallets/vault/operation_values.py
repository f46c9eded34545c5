"""Operations as the port gives and takes them: what is asked of a provider, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gateway.kernel.money import Money
from gateway.kernel.subjects import OperationId, PaymentMethodId
from wallets.vault.allowance_values import AllowanceTerms, Limit, SpentItem


class OperationKind(StrEnum):
    AUTHORIZE = "authorize"
    CAPTURE = "capture"
    VOID = "void"
    REFUND = "refund"
    INCREMENT = "increment"
    """Raise an open authorization (an order that grew)."""
    PAYOUT = "payout"
    """Send money to a method without a capture to refer to (an unreferenced refund)."""


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
    by_hand: bool = False
    """People hand the money over and count it: they decide its operations (`Vault.confirm_cash`)."""


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
class OperationPage:
    """A page for the reconciler. Hand `cursor` to the next call; an empty page keeps it."""

    operations: tuple[OperationResult, ...]
    cursor: str
