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

from typing import Protocol

from gateway.kernel.money import Money
from gateway.kernel.subjects import OperationId, PaymentMethodId
from wallets.vault.allowance_values import (
    Allowance,
    AllowanceId,
    AllowanceReason,
    AllowanceTerms,
    Approval,
    ApprovalId,
    ApprovalState,
    Limit,
    SpentItem,
)
from wallets.vault.method_values import (
    CardEntry,
    CardKey,
    CardSession,
    MethodKind,
    MethodPage,
    PassedMethod,
    StoredMethod,
)
from wallets.vault.operation_values import (
    Action,
    Authorize,
    Capture,
    Decline,
    DeclineClass,
    Exemption,
    Increment,
    Initiation,
    MerchantReason,
    OperationKind,
    OperationPage,
    OperationResult,
    OperationStatus,
    Payout,
    ProviderTerms,
    Reauthorize,
    Refund,
    Void,
)
from wallets.vault.refusals import REFUSALS

__all__ = [
    "REFUSALS",
    "Action",
    "Allowance",
    "AllowanceId",
    "AllowanceReason",
    "AllowanceTerms",
    "Approval",
    "ApprovalId",
    "ApprovalState",
    "Authorize",
    "Capture",
    "CardEntry",
    "CardKey",
    "CardSession",
    "Decline",
    "DeclineClass",
    "Exemption",
    "Increment",
    "Initiation",
    "Limit",
    "MerchantReason",
    "MethodKind",
    "MethodPage",
    "OperationKind",
    "OperationPage",
    "OperationResult",
    "OperationStatus",
    "PassedMethod",
    "Payout",
    "ProviderTerms",
    "Reauthorize",
    "Refund",
    "SpentItem",
    "StoredMethod",
    "Vault",
    "Void",
]
"""Callers take everything from here; which file a value is defined in is the vault's own matter."""


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

        A method appears again when its card is entered again.
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

    async def note_settled(
        self, operation_id: OperationId, provider: str, provider_reference: str
    ) -> OperationResult | None:
        """Settle an unknown capture, refund or payout by the file of ``provider``, which lists it.

        For what is older than the provider's memory: it is never sent again, and where a look-up cannot tell
        any more the file can. An operation that is decided already stays as it is. None: never seen, or not
        this provider's, or one that people decide. The caller has compared kind and amount with the file's
        line.
        """
        ...

    async def operations_since(self, cursor: str, limit: int) -> OperationPage:
        """Return operations in the order of their last change, after ``cursor`` (empty: from the start).

        An operation appears again after each change, and every change that was committed is listed, however
        late that was.
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
