"""What people decide about an order after it was placed: cancel, pay another way, refund, let it expire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.catalog.model import FailurePolicy
from gateway.kernel.errors import ConflictError, NotFoundError
from gateway.kernel.store.unit import UnitOfWork
from gateway.orders import actions, capturing, process, undoing, voiding
from gateway.orders.guardian_asking import end_open
from gateway.orders.idempotency import earlier_result, keep_result
from gateway.orders.model import LegKind, LegState, OrderState, is_owed
from gateway.orders.payment_facts import amount_of, ask_again
from gateway.orders.process import ProcessRules
from gateway.orders.purchase import Leg, Purchase, load_purchase
from gateway.payments import intents
from gateway.payments.model import IntentState, OperationState
from gateway.payments.operations import operations_of
from wallets.minting.model import MintState
from wallets.minting.requests import mints_of
from wallets.vault.port import OperationKind

CANCEL_OPERATION = "order.cancel"
REFUND_OPERATION = "order.refund"


@dataclass(frozen=True, slots=True)
class Request:
    """Who asks for a change of which order, under which key. ``principal`` is a customer or a merchant."""

    principal: str
    order_id: str
    key: str
    request_hash: str


@dataclass(frozen=True, slots=True)
class Changed:
    order_id: str
    state: str
    replayed: bool


def cancel_order(
    uow: UnitOfWork, request: Request, rules: ProcessRules, *, reason: str, leg_id: str | None = None
) -> Changed:
    """Stop what has not passed its point of no return, of the whole order or of one leg.

    What is queued or reserved ends at once; a parcel is asked back from its backend, whose answer follows
    as an event. What was paid first and is not delivered yet is withdrawn from: its money goes back. Raises
    ConflictError ``order.not_cancelable`` when nothing can be stopped, NotFoundError ``leg.not_found``.
    """
    earlier = earlier_result(uow, request.principal, CANCEL_OPERATION, request.key, request.request_hash)
    if earlier is not None:
        return Changed(request.order_id, earlier["state"], replayed=True)
    purchase = own_purchase(uow, request)
    if leg_id is not None and not any(leg.leg_id == leg_id for leg in purchase.legs):
        raise NotFoundError("leg.not_found", "The order has no such leg.", param="$.body.leg_id")
    stoppable = [leg for leg in purchase.legs if leg_id in (None, leg.leg_id) and _can_stop(purchase, leg)]
    # What is not paid for is given up as a whole.
    if not stoppable or (leg_id is not None and purchase.state is OrderState.PLACED):
        raise _too_late(purchase, leg_id)
    if purchase.state is OrderState.PLACED:
        give_up_unpaid(purchase, reason)
    else:
        before = [(leg.state, leg.due_at_ms) for leg in stoppable]
        for leg in stoppable:
            if not _follows_its_parcel(purchase, leg):
                undoing.withdraw_from(purchase, leg, reason=reason)
        if [(leg.state, leg.due_at_ms) for leg in stoppable] == before:
            # A mint was claimed between the look and the compare-and-set; nothing was written.
            raise _too_late(purchase, leg_id)
        if leg_id is None:
            purchase.set_reason(reason)
        process.settle(purchase, rules)
    keep_result(
        uow,
        request.principal,
        CANCEL_OPERATION,
        request.key,
        request.request_hash,
        {"order_id": purchase.order_id, "state": purchase.state.value},
    )
    return Changed(purchase.order_id, purchase.state.value, replayed=False)


def give_up_unpaid(purchase: Purchase, reason: str) -> None:
    """End an order that was never authorized; an approval that still arrives will be voided."""
    uow = purchase.uow
    if not purchase.move(OrderState.CANCELED, reason):
        return
    intents.move_intent(uow, purchase.order_id, IntentState.CANCELED)
    for leg in purchase.legs:
        undoing.leg_canceled(purchase, leg, reason)
    _call_off_attempts(purchase)
    end_open(purchase)
    purchase.tell("order.canceled", reason=reason)


def refund_order(uow: UnitOfWork, request: Request, rules: ProcessRules) -> Changed:
    """Give the whole order back: tokens to the treasury, entitlements revoked, every capture refunded.

    Legs that are still under way are stopped where they can be, and otherwise go back once they are
    captured. A refund that failed before is tried again. A token in a wallet outside stays with its holder,
    and its money here; that can be refunded by amount. Raises ConflictError ``order.not_refundable``, or
    ``order.return_needs_holder`` where such tokens are all there is.
    """
    earlier = earlier_result(uow, request.principal, REFUND_OPERATION, request.key, request.request_hash)
    purchase = merchants_purchase(uow, request)
    if earlier is not None:
        return Changed(purchase.order_id, purchase.state.value, replayed=True)
    captured = any(
        (leg.state is LegState.CAPTURED and not leg.is_outside)
        or (is_owed(leg.state) and _can_stop(purchase, leg))
        for leg in purchase.legs
    )
    stranded = [leg for leg in purchase.legs if leg.state is LegState.RETURNING]
    resumed = [leg for leg in stranded if undoing.resume_return(purchase, leg)]
    if not captured and not resumed:
        if any(leg.state is LegState.CAPTURED for leg in purchase.legs):
            raise ConflictError(
                "order.return_needs_holder",
                "The token is in a wallet outside: only its holder can give it back.",
                data={"state": purchase.state.value},
            )
        raise ConflictError(
            "order.not_refundable",
            "Nothing of this order was captured and is not refunded.",
            data={"state": purchase.state.value},
        )
    purchase.request_refund()
    for leg in purchase.legs:
        if leg.state is not LegState.CAPTURED:
            undoing.undo_leg(purchase, leg, reason="refunded")
    process.settle(purchase, rules)
    _keep(uow, REFUND_OPERATION, request)
    return Changed(purchase.order_id, purchase.state.value, replayed=False)


def expire_order(uow: UnitOfWork, order_id: str, rules: ProcessRules) -> None:
    """The reservation ended before the payment came, or the hold before another one."""
    purchase = load_purchase(uow, order_id)
    if purchase is None or purchase.pay_until_ms is None or purchase.pay_until_ms > uow.now_ms:
        return
    if purchase.state is OrderState.PLACED:
        give_up_unpaid(purchase, "payment did not arrive in time")
    elif purchase.is_held:
        give_up_held(purchase, rules)


def give_up_held(purchase: Purchase, rules: ProcessRules) -> None:
    """Nobody has paid for the rest: what has not left is taken back, what has is owed by the customer."""
    reason = "the payment could not be renewed"
    purchase.let_go()
    waiting = capturing.waiting_legs(purchase, operations_of(purchase.uow, purchase.order_id))
    for leg in purchase.legs:
        # What was paid for already goes on, also where it is still to be delivered.
        if leg not in waiting and not is_owed(leg.state):
            undoing.undo_leg(purchase, leg, reason=reason)
    _call_off_attempts(purchase)
    process.capture_failed(purchase, waiting, "authorization_lost", rules)


def _call_off_attempts(purchase: Purchase) -> None:
    """End what is still being asked for; what is approved all the same will be voided."""
    uow = purchase.uow
    for row in operations_of(uow, purchase.order_id):
        if row.kind != OperationKind.AUTHORIZE:
            continue
        if row.state == OperationState.REQUIRES_ACTION:
            voiding.void_once(purchase, row.operation_id, amount_of(row))
            actions.call_off(uow, row.operation_id)
        elif row.state in (OperationState.CREATED, OperationState.UNKNOWN):
            ask_again(uow, purchase.order_id, row.operation_id, after_ms=0, abandon=True)


def own_purchase(uow: UnitOfWork, request: Request) -> Purchase:
    """Return the customer's order; NotFoundError ``order.not_found`` for anybody else's."""
    purchase = load_purchase(uow, request.order_id)
    if purchase is None or purchase.customer_id != request.principal:
        raise order_not_found()
    return purchase


def merchants_purchase(uow: UnitOfWork, request: Request) -> Purchase:
    """Return the merchant's order; NotFoundError ``order.not_found`` for anybody else's."""
    purchase = load_purchase(uow, request.order_id)
    if purchase is None or purchase.merchant_id != request.principal:
        raise order_not_found()
    return purchase


def order_not_found() -> NotFoundError:
    """The same answer for an unknown order and for somebody else's."""
    return NotFoundError("order.not_found", "There is no such order.", param="$.body.order_id")


def _too_late(purchase: Purchase, leg_id: str | None) -> ConflictError:
    asked = [leg for leg in purchase.legs if leg_id in (None, leg.leg_id) and not leg.is_gone]
    # A token in a wallet outside is nothing that we or the merchant could take back.
    returnable = any(not leg.is_outside for leg in asked)
    return ConflictError(
        "order.not_cancelable",
        "It is too late to cancel" + ("; the items can be returned." if returnable else "."),
        data={"state": purchase.state.value},
    )


def _can_stop(purchase: Purchase, leg: Leg) -> bool:
    match leg.state:
        case LegState.RESERVED | LegState.SECURED:
            return True
        case LegState.STARTED | LegState.ACCEPTED if leg.kind is LegKind.SHIP:
            return not _token_stays(purchase, leg)
        case LegState.STARTED:
            may_withdraw = leg.paid_first or undoing.waits_to_be_paid(purchase, leg)
            return may_withdraw or _is_queued(purchase, leg)
        case LegState.PAID:
            return leg.due_at_ms is not None or _is_queued(purchase, leg)
        case LegState.UNDELIVERED:
            return True
        case _:
            return False


def _token_stays(purchase: Purchase, parcel: Leg) -> bool:
    """Whether a wallet outside has, or gets, the token of a line that is all or nothing: nobody can take it
    back, so nobody calls the parcel back from under it."""
    return parcel.policy is FailurePolicy.ALL_OR_NOTHING and any(
        leg.is_outside
        and (leg.state is LegState.CAPTURED or (leg.state is LegState.PAID and not _can_stop(purchase, leg)))
        for leg in purchase.line_of(parcel)
    )


def _is_queued(purchase: Purchase, leg: Leg) -> bool:
    found: list[Any] = [one for one in mints_of(purchase.uow, purchase.order_id) if one.leg_id == leg.leg_id]
    return bool(found) and found[0].state in (MintState.QUEUED, MintState.HELD)


def _follows_its_parcel(purchase: Purchase, leg: Leg) -> bool:
    """Whether the order backend's answer about the parcel decides about this digital leg too.

    Taking the token first would leave a line that is all or nothing half delivered if the parcel has gone.
    Within the period to withdraw the customer may leave it so.
    """
    return (
        leg.digital
        and not is_owed(leg.state)
        and not (leg.state is LegState.STARTED and leg.paid_first)
        and leg.policy is FailurePolicy.ALL_OR_NOTHING
        and any(
            other.kind is LegKind.SHIP
            and other.state in (LegState.STARTED, LegState.ACCEPTED, LegState.CANCELING)
            for other in purchase.line_of(leg)
        )
    )


def _keep(uow: UnitOfWork, operation: str, request: Request) -> None:
    keep_result(
        uow,
        request.principal,
        operation,
        request.key,
        request.request_hash,
        {"order_id": request.order_id},
    )
