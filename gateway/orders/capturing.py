"""Asking for the shares of fulfilled legs, as the provider of the authorization lets it be used.

Most providers take any number of partial captures: each leg's share is asked for when the leg is fulfilled.
Where they take fewer (`ProviderTerms`), the last capture that is left takes together what waits by then. What
comes later is authorized anew, as a split shipment; where that is not possible either, the last capture waits
for the other legs. A leg also waits while its order's authorization is being replaced (`reauthorizing`).

A waiting leg is fulfilled (or started, where nothing is delivered before it is paid) and names a capture that
does not exist, or that failed because the authorization had run out.
"""

from __future__ import annotations

from typing import Any

from gateway.kernel.money import Money
from gateway.kernel.subjects import OperationId
from gateway.kernel.tasks.queue import enqueue
from gateway.orders.model import LegState, needs_money
from gateway.orders.purchase import Leg, Purchase
from gateway.payments import calls
from gateway.payments.model import OperationState, operation_is_final
from gateway.payments.operations import begin_operation, operations_of
from gateway.payments.provider_terms import terms_of
from wallets.vault.port import OperationKind, ProviderTerms

_ANY_NUMBER = 1_000_000
EXPIRED = "provider.authorization_expired"
"""Why a capture, void or increment of an authorization fails that the issuer has let go."""


def begin_capture(
    purchase: Purchase, operation_id: OperationId, authorization_id: str, amount: Money, leg: Leg | None
) -> None:
    """Write a capture and the task that asks for it. Without ``leg`` it is for all legs that name it."""
    begin_operation(
        purchase.uow,
        operation_id,
        OperationKind.CAPTURE,
        order_id=purchase.order_id,
        amount=amount,
        leg_id=None if leg is None else leg.leg_id,
        target_operation_id=authorization_id,
    )
    enqueue(
        purchase.uow,
        calls.CAPTURE,
        purchase.order_id,
        calls.settle_payload(operation_id, authorization_id, amount),
    )


def capture_waiting(purchase: Purchase, intent: Any) -> bool:
    """Ask for what waits, as far as the authorization can be captured now.

    False where it cannot be captured any more: it has taken as many captures as its provider allows, or
    it can only be captured whole and is for more than is owed by now.
    """
    if purchase.is_held or intent.reauthorization_id is not None:
        return True
    operations = operations_of(purchase.uow, purchase.order_id)
    waiting = waiting_legs(purchase, operations)
    if not waiting:
        return True
    terms = terms_of(intent)
    left = captures_left(terms, intent.authorization_id, operations)
    if left <= 0:
        return False
    if terms is not None and not terms.partial_capture:
        return _capture_whole(purchase, intent, waiting)
    if terms is not None and not terms.authorizes:
        # Nothing is held that could run out, and whoever collects the money counts once.
        _ask(purchase, intent.authorization_id, waiting)
        return True
    while waiting and left > 1:
        _ask(purchase, intent.authorization_id, [waiting.pop(0)])
        left -= 1
    if waiting and (terms is None or terms.merchant_initiated or not _others(purchase, waiting)):
        _ask(purchase, intent.authorization_id, waiting)
    return True


def _capture_whole(purchase: Purchase, intent: Any, waiting: list[Leg]) -> bool:
    """One capture of the whole amount, when nothing else is to come."""
    if _others(purchase, waiting):
        return True
    open_minor = intent.authorized_minor - intent.captured_minor - intent.voided_minor
    if sum(leg.amount_minor for leg in waiting) != open_minor:
        return False
    _ask(purchase, intent.authorization_id, waiting)
    return True


def captures_left(terms: ProviderTerms | None, authorization_id: str, operations: list[Any]) -> int:
    """Return how many captures the authorization still takes."""
    if terms is None:
        return _ANY_NUMBER
    most = terms.most_captures if terms.partial_capture else 1
    begun: int = sum(
        row.kind == OperationKind.CAPTURE
        and row.target_operation_id == authorization_id
        and row.state not in (OperationState.FAILED, OperationState.DECLINED)
        for row in operations
    )
    return most - begun


def waiting_legs(purchase: Purchase, operations: list[Any]) -> list[Leg]:
    """Return fulfilled legs whose share nobody has been asked for, by position."""
    states = {row.operation_id: row.state for row in operations}
    asked = (OperationState.CREATED, OperationState.UNKNOWN, OperationState.SUCCEEDED)
    return [
        leg
        for leg in purchase.legs
        if _is_due(leg) and leg.amount_minor and states.get(leg.capture_operation_id or "") not in asked
    ]


def is_asked_for(purchase: Purchase, leg: Leg) -> bool:
    """Whether a capture of the fulfilled leg's share is under way."""
    return leg not in waiting_legs(purchase, operations_of(purchase.uow, purchase.order_id))


def in_flight(operations: list[Any]) -> bool:
    """Whether a capture has no answer yet."""
    return any(
        row.kind == OperationKind.CAPTURE and not operation_is_final(OperationState(row.state))
        for row in operations
    )


def legs_of_capture(purchase: Purchase, operation_id: str, leg_id: str | None) -> list[Leg]:
    """Return the legs whose shares a capture takes."""
    if leg_id is not None:
        return [purchase.leg(leg_id)]
    return [leg for leg in purchase.legs if leg.capture_operation_id == operation_id]


def needed(purchase: Purchase) -> int:
    """Return what legs may still capture, in minor units."""
    return sum(leg.amount_minor for leg in purchase.legs if needs_money(leg.state))


def _is_due(leg: Leg) -> bool:
    return leg.state is LegState.FULFILLED or (leg.is_captured_to_start and leg.state is LegState.STARTED)


def _others(purchase: Purchase, waiting: list[Leg]) -> bool:
    """Whether other legs may want a capture later."""
    return any(
        needs_money(leg.state) and leg.amount_minor and not _is_due(leg) and leg not in waiting
        for leg in purchase.legs
    )


def _ask(purchase: Purchase, authorization_id: str, legs: list[Leg]) -> None:
    operation_id = purchase.uow.new_id(OperationId)
    for leg in legs:
        purchase.set_capture(leg, operation_id)
    amount = Money(sum(leg.amount_minor for leg in legs), purchase.currency)
    begin_capture(purchase, operation_id, authorization_id, amount, legs[0] if len(legs) == 1 else None)
