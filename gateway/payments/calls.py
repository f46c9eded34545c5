"""The calls to the vault behind the payment tasks. Tasks carry all they need; nothing is looked up here."""

from __future__ import annotations

from typing import Any

import structlog

from gateway.kernel.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from gateway.kernel.money import Money
from gateway.kernel.subjects import OperationId, PaymentMethodId
from gateway.kernel.tasks.model import Task
from gateway.payments.guardians import approval_of
from gateway.payments.spending import Spending
from wallets.vault.port import (
    AllowanceId,
    AllowanceReason,
    AllowanceTerms,
    ApprovalState,
    Authorize,
    Capture,
    Exemption,
    OperationResult,
    OperationStatus,
    Payout,
    Reauthorize,
    Refund,
    Vault,
    Void,
)

log = structlog.get_logger(__name__)

AUTHORIZE = "payment.authorize"
CAPTURE = "payment.capture"
VOID = "payment.void"
REFUND = "payment.refund"
REAUTHORIZE = "payment.reauthorize"
PAYOUT = "payment.payout"
RESOLVE = "payment.resolve"
APPROVE = "payment.guardian_approve"
"""Tells the vault what a guardian approved."""
NOT_APPROVED = "payment.guardian_decline"
"""Tells the vault that a guardian said no."""


def authorize_payload(
    *,
    operation_id: str,
    allowance_id: str,
    payment_method_id: str,
    customer_id: str,
    merchant_id: str,
    order_id: str,
    channel: str,
    place: str | None,
    device_id: str | None,
    amount: Money,
    allowance_expires_at_ms: int,
    request_challenge: bool = False,
    exemption: Exemption | None = None,
    authentication: str | None = None,
    spending: Spending | None = None,
) -> dict[str, Any]:
    """Return the task payload of an authorization: under an allowance for this order alone, or ``spending``
    one that was given before."""
    payload: dict[str, Any] = {
        "operation_id": operation_id,
        "allowance_id": allowance_id,
        "payment_method_id": payment_method_id,
        "customer_id": customer_id,
        "merchant_id": merchant_id,
        "order_id": order_id,
        "channel": channel,
        "place": place,
        "device_id": device_id,
        "amount_minor": amount.amount_minor,
        "currency": amount.currency,
        "expires_at_ms": allowance_expires_at_ms,
    }
    if request_challenge:
        payload["request_challenge"] = True
    if exemption is not None:
        payload["exemption"] = exemption.value
    if authentication is not None:
        payload["authentication"] = authentication
    if spending is not None:
        payload["spending"] = spending.document()
    return payload


def settle_payload(operation_id: str, target_operation_id: str, amount: Money) -> dict[str, Any]:
    """Return the task payload of a capture or void of an authorization, or a refund of a capture."""
    return {
        "operation_id": operation_id,
        "target_operation_id": target_operation_id,
        "amount_minor": amount.amount_minor,
        "currency": amount.currency,
    }


def payout_payload(
    operation_id: str,
    *,
    payment_method_id: str,
    customer_id: str,
    merchant_id: str,
    amount: Money,
) -> dict[str, Any]:
    """Return the task payload of money that is sent to a stored method."""
    return {
        "operation_id": operation_id,
        "payment_method_id": payment_method_id,
        "customer_id": customer_id,
        "merchant_id": merchant_id,
        "amount_minor": amount.amount_minor,
        "currency": amount.currency,
    }


class PaymentCalls:
    """Performs payment tasks. Each may be called again with the same task: operation ids never change."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def authorize(self, task: Task) -> OperationResult:
        """Grant the order's allowance and spend it, or spend the one that the attempt names."""
        wanted = task.payload
        amount = _amount(wanted)
        spending = _spending(wanted, amount)
        return await self._vault.authorize(
            Authorize(
                operation_id=OperationId(wanted["operation_id"]),
                allowance=spending.terms,
                amount=amount,
                customer_id=wanted["customer_id"],
                merchant_id=wanted["merchant_id"],
                order_id=wanted["order_id"],
                channel=wanted["channel"],
                place_id=wanted["place"],
                device_id=spending.device_id,
                request_challenge=wanted.get("request_challenge", False),
                exemption=None if "exemption" not in wanted else Exemption(wanted["exemption"]),
                authentication=wanted.get("authentication"),
                world_id=spending.world_id,
                device_key=spending.device_key,
                items=spending.items,
                session_id=spending.session_id,
            )
        )

    async def approve(self, task: Task) -> ApprovalState | None:
        """Tell the vault what a guardian approved; None: it does not take that, and never will."""
        approval = approval_of(task.subject, task.payload)
        try:
            return await self._vault.approve(approval)
        except (ConflictError, InvalidError, NotFoundError) as error:
            log.error("guardian.approval_refused", approval_id=approval.approval_id, code=error.code)
            return None

    async def decline(self, task: Task) -> ApprovalState | None:
        """Tell the vault that a guardian said no; None: it knows no such allowance of this guardian."""
        approval = approval_of(task.subject, task.payload)
        try:
            return await self._vault.decline_approval(approval)
        except (ConflictError, InvalidError, NotFoundError) as error:
            log.error("guardian.no_refused", approval_id=approval.approval_id, code=error.code)
            return None

    async def capture(self, task: Task) -> OperationResult:
        """Take a leg's share."""
        operation_id, target = _ids(task.payload)
        return await self._vault.capture(Capture(operation_id, target, _amount(task.payload)))

    async def void(self, task: Task) -> OperationResult:
        """Release what will not be captured."""
        operation_id, target = _ids(task.payload)
        return await self._vault.void(Void(operation_id, target, _amount(task.payload)))

    async def refund(self, task: Task) -> OperationResult:
        """Give a captured share back to the method it came from."""
        operation_id, target = _ids(task.payload)
        return await self._vault.refund(Refund(operation_id, target, _amount(task.payload)))

    async def reauthorize(self, task: Task) -> OperationResult:
        """Authorize what is left of an authorization anew, without the customer."""
        operation_id, target = _ids(task.payload)
        return await self._vault.reauthorize(Reauthorize(operation_id, target, _amount(task.payload)))

    async def payout(self, task: Task) -> OperationResult:
        """Send money to a stored method."""
        wanted = task.payload
        return await self._vault.payout(
            Payout(
                OperationId(wanted["operation_id"]),
                PaymentMethodId(wanted["payment_method_id"]),
                wanted["customer_id"],
                wanted["merchant_id"],
                task.subject,
                _amount(wanted),
            )
        )

    async def resolve(self, task: Task) -> OperationResult:
        """Ask about an operation whose answer is missing.

        An operation the vault has never seen is given up with a tombstone, so that a request still under
        way is refused when it arrives. An unknown one raises, and the task asks again later; one that takes
        its time (``waited_ms``) is told as it is, and asked about again for as long as it takes.
        """
        operation_id = OperationId(task.payload["operation_id"])
        result = await self._vault.operation(operation_id)
        if result is None or task.payload.get("abandon"):
            result = await self._vault.abandon(operation_id)
        if result.status is OperationStatus.UNKNOWN and "waited_ms" not in task.payload:
            raise UnavailableError("payment.unknown", "The provider has not answered yet.")
        return result


def _spending(wanted: Any, amount: Money) -> Spending:
    """Return the allowance that a payload names, or one for its order and amount alone."""
    if "spending" in wanted:
        return Spending.from_document(wanted["spending"])
    terms = AllowanceTerms(
        allowance_id=AllowanceId(wanted["allowance_id"]),
        payment_method_id=PaymentMethodId(wanted["payment_method_id"]),
        customer_id=wanted["customer_id"],
        merchant_id=wanted["merchant_id"],
        order_id=wanted["order_id"],
        channel=wanted["channel"],
        place_id=wanted["place"],
        device_id=wanted["device_id"],
        reason=AllowanceReason.MULTI_CAPTURE,
        max_amount=amount,
        max_uses=1,
        expires_at_ms=wanted["expires_at_ms"],
    )
    return Spending(terms, wanted["device_id"])


def _ids(payload: Any) -> tuple[OperationId, OperationId]:
    return OperationId(payload["operation_id"]), OperationId(payload["target_operation_id"])


def _amount(payload: Any) -> Money:
    return Money(payload["amount_minor"], payload["currency"])
