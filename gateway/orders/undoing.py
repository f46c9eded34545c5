"""Taking a leg back: stopping what is under way, giving back what was delivered, refunding what was captured.

Nothing here looks at the rest of the order; `process.settle` does, after the caller has done all its steps.
"""

from __future__ import annotations

from fulfillment import inventory
from fulfillment.model import HoldId
from gateway.kernel.money import Money
from gateway.kernel.subjects import OperationId
from gateway.kernel.tasks.queue import enqueue
from gateway.orders import books, capturing, ownership
from gateway.orders.model import LegKind, LegState
from gateway.orders.purchase import Leg, Purchase
from gateway.orders.tables import entitlement
from gateway.payments import calls, intents
from gateway.payments.model import OperationState, operation_is_final
from gateway.payments.operations import begin_operation, operation_row, operations_of
from wallets.minting.model import MintState, ReturnState, TokenView
from wallets.minting.requests import cancel_mint, mints_of, request_return
from wallets.vault.port import OperationKind

CANCEL = "fulfillment.cancel"
WITHDRAWN = "canceled while it was being paid"
_BACK = (OperationKind.REFUND, OperationKind.PAYOUT)
"""Money that goes back: the way it came, or to another method."""


def undo_leg(purchase: Purchase, leg: Leg, *, reason: str) -> None:
    """Take a leg back as far as it can be: not started, still in a queue, at the backend, or delivered."""
    match leg.state:
        case LegState.RESERVED | LegState.SECURED:
            leg_canceled(purchase, leg, reason)
        case LegState.STARTED | LegState.ACCEPTED if leg.kind is LegKind.SHIP:
            ask_backend_to_cancel(purchase, leg)
        case LegState.STARTED if leg.kind is LegKind.MINT:
            # Claim and cancel race on one compare-and-set; a claimed mint is returned once it is captured.
            if waits_to_be_paid(purchase, leg) or cancel_mint(purchase.uow, leg.leg_id):
                leg_canceled(purchase, leg, reason)
        case LegState.STARTED if waits_to_be_paid(purchase, leg):
            leg_canceled(purchase, leg, reason)
        case LegState.PAID:
            # As above; of what waits for its time no mint was asked for yet.
            if leg.due_at_ms is not None or cancel_mint(purchase.uow, leg.leg_id):
                give_back(purchase, leg, reason)
        case LegState.UNDELIVERED:
            give_back(purchase, leg, reason)
        case LegState.CAPTURED if leg.digital and not leg.is_outside:
            return_leg(purchase, leg)
        case _:
            return


def withdraw_from(purchase: Purchase, leg: Leg, *, reason: str) -> None:
    """As `undo_leg`, for a customer. Where the share of what is paid first is being captured, which may take
    a provider days, that is remembered: it goes back as soon as it has come, and nothing is delivered."""
    if leg.state is LegState.STARTED and leg.paid_first and not waits_to_be_paid(purchase, leg):
        if leg.due_at_ms is None:
            purchase.wait_until(leg, purchase.uow.now_ms)
    else:
        undo_leg(purchase, leg, reason=reason)


def waits_to_be_paid(purchase: Purchase, leg: Leg) -> bool:
    """Whether nothing of the leg is delivered before its share is captured, and nobody has asked for it."""
    return leg.is_captured_to_start and not capturing.is_asked_for(purchase, leg)


def leg_canceled(purchase: Purchase, leg: Leg, reason: str) -> None:
    """The leg will not be delivered: its units can be sold again."""
    if purchase.move_leg(leg, LegState.CANCELED):
        release_leg(purchase, leg)
        purchase.tell("order.leg_canceled", leg_id=leg.leg_id, reason=reason)


def give_back(purchase: Purchase, leg: Leg, reason: str, *, event_type: str = "order.leg_canceled") -> None:
    """What was paid first will not be delivered: its units can be sold again and its money goes back."""
    if purchase.move_leg(leg, LegState.RETURNING):
        release_leg(purchase, leg)
        purchase.tell(event_type, leg_id=leg.leg_id, reason=reason)
        refund_leg(purchase, leg)


def release_leg(purchase: Purchase, leg: Leg) -> None:
    """Give reserved units back."""
    if leg.hold_id is not None:
        inventory.release(purchase.uow, hold_id=HoldId(leg.hold_id))
    books.post_unreserved(purchase, leg)


def ask_backend_to_cancel(purchase: Purchase, leg: Leg) -> None:
    """The backend decides whether it is too late; the leg waits for its answer."""
    if purchase.move_leg(leg, LegState.CANCELING):
        enqueue(purchase.uow, CANCEL, purchase.order_id, {"leg_id": leg.leg_id})


def return_leg(purchase: Purchase, leg: Leg) -> None:
    """Start giving back a captured leg: first what was delivered, then the money."""
    if not purchase.move_leg(leg, LegState.RETURNING):
        return
    match leg.kind:
        case LegKind.MINT:
            return_token(purchase, leg, moved=True)
        case LegKind.ENTITLE:
            revoke_entitlement(purchase, leg)
            refund_leg(purchase, leg)
        case LegKind.SHIP:
            refund_leg(purchase, leg)


def resume_return(purchase: Purchase, leg: Leg) -> bool:
    """Go on with a return whose refund or token transfer failed; False when it is under way by itself."""
    refunds = [
        row
        for row in operations_of(purchase.uow, purchase.order_id)
        if row.kind in _BACK and row.leg_id == leg.leg_id
    ]
    if any(not operation_is_final(OperationState(row.state)) for row in refunds):
        return False
    if not goods_are_back(purchase, leg):
        return ask_for_token(purchase, leg)
    refund_leg(purchase, leg)
    return True


def return_token(purchase: Purchase, leg: Leg, *, moved: bool = False) -> None:
    """Send the token back to the treasury; before it is final, the final outcome asks again."""
    if not moved and not purchase.move_leg(leg, LegState.RETURNING):
        return
    ask_for_token(purchase, leg)


def ask_for_token(purchase: Purchase, leg: Leg) -> bool:
    """Have a final token sent back; False: it is not final, on its way already, or cannot be.

    An edition may be declared to be on a merchant's own contract after its mint was asked for. Nobody here
    can send such a token back, and an operator is told so.
    """
    token = _token(purchase, leg)
    if token.state is not MintState.FINAL:
        return False
    if not token.returnable:
        purchase.tell("payment.stuck", task="token.return")
        return False
    return request_return(purchase.uow, leg.leg_id)


def give_up_lost(purchase: Purchase, leg: Leg) -> None:
    """End a leg whose token is gone for good: what was paid for it goes back, and nobody is asked to pay."""
    if leg.state is LegState.FULFILLED:
        purchase.move_leg(leg, LegState.CAPTURE_FAILED)
    if purchase.move_leg(leg, LegState.RETURNING):
        refund_leg(purchase, leg)


def revoke_entitlement(purchase: Purchase, leg: Leg) -> None:
    """Take a non-transferable item back."""
    purchase.uow.core(entitlement.update().where(entitlement.c.leg_id == leg.leg_id).values(state="revoked"))
    purchase.tell("entitlement.revoked", leg_id=leg.leg_id)
    ownership.revoked(purchase, leg, "revoked")


def refund_leg(purchase: Purchase, leg: Leg) -> None:
    """Give back what is left of the leg's captured share, to the method it came from.

    What was refunded before, in parts, and what is on its way back already is not refunded again; the leg
    has come back when the last of it has, and at once if nothing was captured for it.
    """
    back = leg_money_back(purchase, leg)
    rest = leg.amount_minor - back.done - back.under_way
    if not is_paid(purchase, leg) or (rest == 0 and back.under_way == 0):
        purchase.move_leg(leg, LegState.RETURNED)
    elif rest and intents.reserve_refund(purchase.uow, purchase.order_id, rest):
        begin_refund(purchase, leg, Money(rest, leg.currency))
    elif rest:
        # Somebody else's request (a refund to another method) has it; the leg waits for its end.
        purchase.tell("payment.stuck", task=calls.REFUND)


def begin_refund(purchase: Purchase, leg: Leg, amount: Money, *, refund_id: str | None = None) -> None:
    """Ask for a refund of a part of the leg's share; its amount was reserved."""
    assert leg.capture_operation_id is not None
    operation_id = purchase.uow.new_id(OperationId)
    begin_operation(
        purchase.uow,
        operation_id,
        OperationKind.REFUND,
        order_id=purchase.order_id,
        amount=amount,
        leg_id=leg.leg_id,
        target_operation_id=leg.capture_operation_id,
        refund_id=refund_id,
    )
    enqueue(
        purchase.uow,
        calls.REFUND,
        purchase.order_id,
        calls.settle_payload(operation_id, leg.capture_operation_id, amount),
    )


class MoneyBack:
    """What of a leg's share has gone back (``done``), or is asked to (``under_way``)."""

    __slots__ = ("done", "under_way")

    def __init__(self) -> None:
        self.done = 0
        self.under_way = 0


def leg_money_back(purchase: Purchase, leg: Leg) -> MoneyBack:
    """Return what has become of the leg's refunds."""
    back = MoneyBack()
    for row in operations_of(purchase.uow, purchase.order_id):
        if row.kind not in _BACK or row.leg_id != leg.leg_id:
            continue
        if row.state == OperationState.SUCCEEDED:
            back.done += row.amount_minor
        elif not operation_is_final(OperationState(row.state)):
            back.under_way += row.amount_minor
    return back


def goods_are_back(purchase: Purchase, leg: Leg) -> bool:
    """Whether a leg on its way back waits for its money alone."""
    if leg.kind is not LegKind.MINT or not leg.is_earned:
        return True
    token = _token(purchase, leg)
    # A mint that was lost for good has nothing to give back.
    return token.return_state is ReturnState.RETURNED or token.state is MintState.SKIPPED


def _token(purchase: Purchase, leg: Leg) -> TokenView:
    return next(one for one in mints_of(purchase.uow, purchase.order_id) if one.leg_id == leg.leg_id)


def is_paid(purchase: Purchase, leg: Leg) -> bool:
    """Whether money was captured for the leg: not for a gift, nor where its capture failed."""
    if not leg.amount_minor or leg.capture_operation_id is None:
        return False
    capture = operation_row(purchase.uow, leg.capture_operation_id)
    return capture is not None and capture.state == OperationState.SUCCEEDED
