"""What the vault asks of a payment provider, in our words. Adapters map every provider status here.

Only an explicit yes is a success and only an explicit no a decline or failure: an answer nobody listed, an
error or silence is *no answer*, and an adapter raises `NoAnswerError` for it. Every request carries our
operation id as the provider's idempotency key and as the reference to look it up by.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from gateway.kernel.money import Money
from gateway.kernel.subjects import OperationId
from wallets.vault.port import Action, Decline
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
    incremental_authorization: bool
    idempotency_key_kept_ms: int
    """How long the provider recognizes our operation id."""
    lookup_fences: bool
    """A look-up that finds nothing also makes the provider refuse the id from then on (like a reversal
    that arrives before its original)."""
    absent_is_final_after_ms: int
    """Without `lookup_fences`: how long after sending a look-up that finds nothing proves absence."""


@dataclass(frozen=True, slots=True)
class ClearCard:
    """A card in the clear, for the one call that needs it."""

    number: Secret
    expiry_month: int
    expiry_year: int
    holder: Secret
    security_code: Secret | None = None
    """Only when the card is verified on being stored; it is never kept."""


@dataclass(frozen=True, slots=True)
class AuthorizeOrder:
    operation_id: OperationId
    card: ClearCard
    amount: Money
    merchant_id: str
    order_id: str
    channel: str
    request_challenge: bool
    network_transaction_id: str | None


@dataclass(frozen=True, slots=True)
class FollowUpOrder:
    """A capture or void of an authorization, or a refund of a capture."""

    operation_id: OperationId
    parent_id: OperationId
    parent_reference: str | None
    """What the provider called the parent."""
    amount: Money


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

    async def find(self, operation_id: OperationId) -> ProviderAnswer | None:
        """Look an operation up by our id; None: not there (see `Capabilities.lookup_fences`)."""
        ...

    async def close(self) -> None: ...
