"""What the vault asks of a payment provider, in our words. Adapters map every provider status here.

Only an explicit yes is a success and only an explicit no a decline or failure: an answer nobody listed, an
error or silence is *no answer*, and an adapter raises `NoAnswerError` for it. Every request carries our
operation id as the provider's idempotency key and as the reference to look it up by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from gateway.kernel.money import Money
from gateway.kernel.subjects import OperationId
from wallets.vault.port import (
    Action,
    Decline,
    Exemption,
    Initiation,
    MerchantReason,
    MethodKind,
    OperationKind,
)
from wallets.vault.secret import Secret


class NoAnswerError(Exception):
    """The provider did not say what became of the operation. The text names no card data."""


class Outcome(StrEnum):
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    REQUIRES_ACTION = "requires_action"
    FAILED = "failed"
    """Definitely not done, for a reason that is no decline: an unknown authorization, a wrong state."""
    PENDING = "pending"
    """Received and not decided yet; ask again."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a provider can do. Flows are decided by these flags, never by the provider's name."""

    name: str
    test_numbers: frozenset[str] | None
    """The only numbers it takes, or None for a provider that moves real money."""
    partial_capture: bool
    most_captures: int
    """Captures per authorization; 1 without multiple captures."""
    partial_void: bool
    partial_refund: bool
    challenge: bool
    """It runs 3-D Secure and can answer REQUIRES_ACTION."""
    incremental_authorization: bool
    idempotency_key_kept_ms: int
    """How long the provider recognizes our operation id."""
    lookup_fences: bool
    """A look-up that finds nothing also makes the provider refuse the id from then on (like a reversal
    that arrives before its original)."""
    absent_is_final_after_ms: int
    """Without `lookup_fences`: how long after sending a look-up that finds nothing proves absence."""
    kinds: frozenset[MethodKind] = frozenset({MethodKind.CARD})
    """The kinds of payment method it takes."""
    authorizes: bool = True
    """It holds money before it is captured. False: the promise is ours alone (cash, direct debit)."""
    by_hand: bool = False
    """Its network is people, who say what was handed over."""
    settled_with: str = ""
    """The provider in whose settlement file its operations are; empty: its own."""
    overcapture: bool = False
    extended_authorization_days: int = 0
    """How long it can hold an authorization when asked to; 0: only as long as the network's table says."""
    void_after_capture: bool = False
    """What is left after a capture can be voided by itself; False: a final capture releases it."""
    unreferenced_refund: bool = False
    payout: bool = False
    """It can send money to a stored method (`Provider.payout`)."""
    moto: bool = False
    merchant_initiated: bool = False
    offline: bool = False
    """It can accept while its network is away; such an approval is a risk, not a promise."""
    async_capture_result: bool = False
    """A capture is answered PENDING; its result comes by webhook or query."""
    network_tokens: bool = False
    test_references: frozenset[str] | None = None
    """The only terminals' tokens and accounts it takes; None: any."""
    exemptions: frozenset[Exemption] = frozenset()
    """Exemptions from strong customer authentication that it can pass on."""


@dataclass(frozen=True, slots=True)
class ClearCard:
    """A card in the clear, for the one call that needs it."""

    number: Secret
    expiry_month: int
    expiry_year: int
    holder: Secret
    security_code: Secret | None = None
    """Only when the card is verified on being stored; it is never kept."""
    network_token: Secret | None = None
    """A token of the card for this requestor, where the network gave one; kept like the number."""


@dataclass(frozen=True, slots=True)
class PassedInstrument:
    """A method whose secret is the provider's own: handed back as it was given (see `port.PassedMethod`)."""

    kind: MethodKind
    reference: Secret


Instrument = ClearCard | PassedInstrument


@dataclass(frozen=True, slots=True)
class AuthorizeOrder:
    operation_id: OperationId
    card: Instrument
    amount: Money
    merchant_id: str
    order_id: str
    channel: str
    request_challenge: bool
    network_transaction_id: str | None
    initiation: Initiation = Initiation.CUSTOMER
    merchant_reason: MerchantReason | None = None
    exemption: Exemption | None = None
    authentication: str | None = None


@dataclass(frozen=True, slots=True)
class FollowUpOrder:
    """A capture or void of an authorization, or a refund of a capture."""

    operation_id: OperationId
    parent_id: OperationId
    parent_reference: str | None
    """What the provider called the parent."""
    amount: Money


@dataclass(frozen=True, slots=True)
class PayoutOrder:
    operation_id: OperationId
    card: Instrument
    amount: Money
    merchant_id: str


@dataclass(frozen=True, slots=True)
class Lookup:
    """Which operation to look up, and what helps a provider to find it that knows no ids of ours."""

    operation_id: OperationId
    kind: OperationKind
    amount: Money
    sent_at_ms: int
    parent_reference: str | None = None
    """What the provider called the parent; a capture is found at its authorization."""


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    outcome: Outcome
    reference: str | None = None
    decline: Decline | None = None
    """For DECLINED; the adapter knows the network and so the class of its code."""
    network_transaction_id: str | None = None
    capture_before_ms: int | None = None
    action: Action | None = None
    failure: str | None = None
    """For FAILED, the reason as a stable code, ``provider.not_open``."""
    account_reference: str | None = None
    """PAR: returned with an authorization or verification by networks that know one."""
    network_token: Secret | None = None
    """A network token of the card for this requestor, to be stored like the number itself."""
    liability: str | None = None


class Provider(Protocol):
    """A payment provider. Every method may raise NoAnswerError and may be cancelled at the deadline."""

    @property
    def capabilities(self) -> Capabilities: ...

    async def verify(self, card: ClearCard) -> ProviderAnswer:
        """Check that the card exists and the security code fits, without holding money."""
        ...

    async def authorize(self, order: AuthorizeOrder) -> ProviderAnswer: ...

    async def capture(self, order: FollowUpOrder) -> ProviderAnswer: ...

    async def void(self, order: FollowUpOrder) -> ProviderAnswer:
        """Release an amount; of an authorization that waits for an action, all of it."""
        ...

    async def refund(self, order: FollowUpOrder) -> ProviderAnswer: ...

    async def increment(self, order: FollowUpOrder) -> ProviderAnswer:
        """Raise an authorization by the amount; only with `Capabilities.incremental_authorization`."""
        ...

    async def payout(self, order: PayoutOrder) -> ProviderAnswer:
        """Send money to a method; only with `Capabilities.payout`."""
        ...

    async def find(self, lookup: Lookup) -> ProviderAnswer | None:
        """Look an operation up by our id; None: not there (see `Capabilities.lookup_fences`)."""
        ...

    async def close(self) -> None: ...


class NotAuthenticError(Exception):
    """A webhook whose signature or age is wrong. Nothing of it may be believed, not even its reference."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What an authentic webhook is about. It says whom to ask, never what to believe: the query decides."""

    event_id: str
    """The provider's; sent again under the same id."""
    type: str
    operation_id: OperationId | None
    reference: str | None
    """The provider's name of the operation, where it does not say ours."""


@runtime_checkable
class Notifying(Protocol):
    """A provider that sends webhooks."""

    def notice(self, headers: Mapping[str, str], body: bytes, now_ms: int) -> Notice:
        """Check the signature over the raw body, then read it. ``headers`` have lower-case names.

        Raises NotAuthenticError, and ValueError for an authentic body that is no event.
        """
        ...
