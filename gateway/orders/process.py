"""The purchase on one page: what follows from each fact.

    placed -> authorize -> secured -> start the legs -> fulfilled -> capture -> ended
                 |                        |                |
                 v                        v                v
             declined: another method   failed: policy   not captured: token back
             or the reservation ends

Every function here runs inside the unit that records a fact. It moves states by compare-and-set, writes
events and the next tasks, and leaves the rest to `settle`, which looks at the whole order and does what
has become possible. Recording a fact twice changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from fulfillment import inventory, serials
from fulfillment.model import FulfillmentLine, HoldId
from fulfillment.shipments import create_fulfillment_order
from gateway.catalog.model import FailurePolicy
from gateway.kernel.documents import decode
from gateway.kernel.money import Money
from gateway.kernel.store.statements import insert_into
from gateway.kernel.subjects import LegId, MerchantId, OperationId, OrderId
from gateway.kernel.tasks.queue import enqueue
from gateway.orders import books
from gateway.orders.model import LegKind, LegState, OrderState, holds_goods, needs_money
from gateway.orders.purchase import Leg, Purchase, wire_money
from gateway.orders.tables import entitlement
from gateway.payments import calls
from gateway.payments.model import OperationState, operation_is_final
from gateway.payments.operations import begin_operation, operations_of
from wallets.custody.accounts import account_of
from wallets.minting.model import MintRequest, MintState, ReturnState
from wallets.minting.requests import cancel_mint, mints_of, request_mint, request_return
from wallets.vault.port import OperationKind

SEND = "fulfillment.send"
CANCEL = "fulfillment.cancel"

_INSERT_ENTITLEMENT = insert_into(entitlement)


@dataclass(frozen=True, slots=True)
class ProcessRules:
    """What the process needs to know of its surroundings."""

    provider: str = "simulated"
    """Names the clearing account of captured money."""
    backend: str = "embedded"
    """The order backend that fulfillment orders go to."""
    base_url: str = "http://127.0.0.1:8080"
    """Where hosted pages are reached."""
    action_ms: int = 15 * 60_000
    """How long a challenge or another payment method is waited for."""


# --- Secured: authorized, everything reserved -------------------------------------------------------


def secured(purchase: Purchase, rules: ProcessRules) -> None:
    """The money is there: confirm the order and start its legs."""
    if not purchase.move(OrderState.CONFIRMED):
        return
    for leg in purchase.legs:
        purchase.move_leg(leg, LegState.SECURED)
    purchase.tell("order.confirmed")
    settle(purchase, rules)


def settle(purchase: Purchase, rules: ProcessRules) -> None:
    """Look at the whole order: undo what a failure spoils, start what may start, end what has ended."""
    undo_spoiled(purchase, rules)
    if purchase.row.refund_requested:
        return_captured(purchase, rules)
    start_legs(purchase, rules)
    if any(needs_money(leg.state) for leg in purchase.legs):
        return
    void_rest(purchase)
    end_order(purchase)


def undo_spoiled(purchase: Purchase, rules: ProcessRules) -> None:
    """``all_or_nothing``: when a leg of a line is gone, the others are taken back as far as they can be.

    Canceled counts like failed: nobody keeps the token of a bundle whose parcel they canceled.
    """
    for gone in purchase.legs:
        if gone.state in (LegState.FAILED, LegState.CANCELED):
            spoil_line(purchase, gone, rules)


def spoil_line(purchase: Purchase, gone: Leg, rules: ProcessRules) -> None:
    """Take back what can be taken back of an ``all_or_nothing`` line that lost a leg."""
    if gone.policy is FailurePolicy.ALL_OR_NOTHING:
        for leg in purchase.line_of(gone):
            undo_leg(purchase, leg, rules, reason="another part of the line will not be delivered")


def return_captured(purchase: Purchase, rules: ProcessRules) -> None:
    """A refund of the whole order was asked for: also what is captured later goes back."""
    for leg in purchase.legs:
        if leg.state is LegState.CAPTURED:
            return_leg(purchase, leg, rules)


def start_legs(purchase: Purchase, rules: ProcessRules) -> None:
    """Start every secured leg whose policy lets it go now."""
    shipments: dict[tuple[str, int | None], list[Leg]] = {}
    for leg in purchase.legs:
        if leg.state is not LegState.SECURED or not _may_start(leg, purchase.line_of(leg)):
            continue
        match leg.kind:
            case LegKind.MINT:
                start_mint(purchase, leg)
            case LegKind.ENTITLE:
                purchase.move_leg(leg, LegState.STARTED)
                capture_leg(purchase, leg, rules)
            case LegKind.SHIP:
                assert leg.location_code is not None
                # A parcel that one line may call back is a fulfillment order of its own.
                alone = leg.line if leg.policy is FailurePolicy.ALL_OR_NOTHING else None
                shipments.setdefault((leg.location_code, alone), []).append(leg)
    for (location, _), legs in shipments.items():
        start_shipment(purchase, location, legs, rules)


def _may_start(leg: Leg, line: list[Leg]) -> bool:
    match leg.policy:
        case FailurePolicy.EITHER:
            return True
        case FailurePolicy.ALL_OR_NOTHING:
            # Minting cannot be undone unseen: it waits until the backend has promised the parcel.
            waits_for = [other for other in line if other.kind is LegKind.SHIP] if leg.digital else []
            return not any(
                other.state in (LegState.RESERVED, LegState.SECURED, LegState.STARTED, LegState.CANCELING)
                for other in waits_for
            )
        case FailurePolicy.DIGITAL_FIRST:
            waits_for = [] if leg.digital else [other for other in line if other.digital]
            return not any(
                other.state in (LegState.RESERVED, LegState.SECURED, LegState.STARTED) for other in waits_for
            )


# --- Starting legs ----------------------------------------------------------------------------------


def start_mint(purchase: Purchase, leg: Leg) -> None:
    """Queue the mint into the customer's custodial account. Undone by `undo_leg` until it is claimed."""
    account = account_of(purchase.uow, purchase.customer_id)
    assert account is not None, "the quote made sure of the customer's account"
    assert leg.item_number is not None
    serial = None
    if leg.numbered:
        assert leg.hold_id is not None
        (serial,) = serials.take_serials(purchase.uow, hold_id=HoldId(leg.hold_id))
    purchase.move_leg(leg, LegState.STARTED)
    request_mint(
        purchase.uow,
        MintRequest(
            leg_id=leg.leg_id,
            order_id=purchase.order_id,
            merchant_id=purchase.merchant_id,
            recipient=account.address,
            item_number=leg.item_number,
            amount=leg.quantity,
            serial=serial,
            holder_key=account.key_ref,
        ),
    )


def start_shipment(purchase: Purchase, location: str, legs: list[Leg], rules: ProcessRules) -> None:
    """Write the location's fulfillment order and the task that sends it."""
    ship_to = decode(purchase.row.ship_to)
    fulfillment_order_id = create_fulfillment_order(
        purchase.uow,
        order_id=OrderId(purchase.order_id),
        merchant_id=MerchantId(purchase.merchant_id),
        location_code=location,
        backend=rules.backend,
        ship_to=ship_to,
        lines=[
            FulfillmentLine(
                LegId(leg.leg_id),
                leg.sku,
                leg.quantity,
                leg.title,
                HoldId(leg.hold_id) if leg.hold_id else None,
            )
            for leg in legs
        ],
    )
    for leg in legs:
        purchase.move_leg(leg, LegState.STARTED)
    # The task carries all that the backend is asked, so nothing has to be read before it is sent.
    asked = {
        "reference": fulfillment_order_id,
        "merchant_id": purchase.merchant_id,
        "location_code": location,
        "ship_to": ship_to,
        "lines": [[leg.sku, leg.quantity, leg.title] for leg in sorted(legs, key=lambda leg: leg.leg_id)],
    }
    enqueue(purchase.uow, SEND, purchase.order_id, asked)


# --- Fulfilled, captured ----------------------------------------------------------------------------


def fulfilled(purchase: Purchase, leg: Leg, rules: ProcessRules) -> bool:
    """The leg was minted or dispatched: its units are gone for good and its share is captured."""
    operation_id = purchase.uow.new_id(OperationId) if leg.amount_minor else None
    if not purchase.fulfill_leg(leg, operation_id):
        return False
    if leg.hold_id is not None:
        inventory.consume(purchase.uow, hold_id=HoldId(leg.hold_id))
    if operation_id is None:
        captured(purchase, leg, rules)
    else:
        ask_for_share(purchase, leg, operation_id)
    return True


def capture_leg(purchase: Purchase, leg: Leg, rules: ProcessRules) -> None:
    """Ask for the leg's share; a leg that costs nothing is captured as it stands."""
    if not leg.amount_minor:
        captured(purchase, leg, rules)
        return
    operation_id = purchase.uow.new_id(OperationId)
    purchase.set_capture(leg, operation_id)
    ask_for_share(purchase, leg, operation_id)


def ask_for_share(purchase: Purchase, leg: Leg, operation_id: OperationId) -> None:
    """Write the capture that the leg names, and the task that asks for it."""
    intent = purchase.intent()
    begin_operation(
        purchase.uow,
        operation_id,
        OperationKind.CAPTURE,
        order_id=purchase.order_id,
        amount=leg.amount,
        leg_id=leg.leg_id,
        target_operation_id=intent.authorization_id,
    )
    enqueue(
        purchase.uow,
        calls.CAPTURE,
        purchase.order_id,
        calls.settle_payload(operation_id, intent.authorization_id, leg.amount),
    )


def captured(purchase: Purchase, leg: Leg, rules: ProcessRules) -> None:
    """The leg's share is ours. An entitlement is granted in this very unit."""
    if not purchase.move_leg(leg, LegState.CAPTURED):
        return
    if leg.kind is LegKind.ENTITLE:
        grant_entitlement(purchase, leg)
    books.post_captured(purchase, leg, rules.provider)
    purchase.fulfill_line(leg)
    purchase.tell("payment.captured", leg_id=leg.leg_id, amount=wire_money(leg.amount))
    settle(purchase, rules)


def grant_entitlement(purchase: Purchase, leg: Leg) -> None:
    """Give the customer a non-transferable digital item."""
    if leg.hold_id is not None:
        inventory.consume(purchase.uow, hold_id=HoldId(leg.hold_id))
    # Not appended: a failure of the line may take it back in this very unit.
    purchase.uow.run(
        _INSERT_ENTITLEMENT,
        {
            "leg_id": leg.leg_id,
            "customer_id": purchase.customer_id,
            "order_id": purchase.order_id,
            "sku": leg.sku,
            "quantity": leg.quantity,
            "state": "granted",
            "granted_at_ms": purchase.uow.now_ms,
        },
    )
    purchase.tell("entitlement.granted", leg_id=leg.leg_id, sku=leg.sku)


def capture_failed(purchase: Purchase, leg: Leg, code: str, rules: ProcessRules) -> None:
    """The share will not be paid. What was not delivered fails; a minted token goes back."""
    purchase.tell("payment.capture_failed", leg_id=leg.leg_id, code=code)
    if leg.kind is LegKind.ENTITLE:
        leg_failed(purchase, leg, "capture failed", rules)
        return
    if purchase.move_leg(leg, LegState.CAPTURE_FAILED):
        if leg.kind is LegKind.MINT:
            return_token(purchase, leg)
            spoil_line(purchase, leg, rules)
        else:
            # The goods are on their way: what is owed for them stays in the books.
            books.post_delivered_unpaid(purchase, leg)
    settle(purchase, rules)


# --- Failed, canceled, returned ---------------------------------------------------------------------


def leg_failed(purchase: Purchase, leg: Leg, reason: str, rules: ProcessRules) -> None:
    """The leg cannot be fulfilled: give its units back, then let the policy decide about the others."""
    if not purchase.move_leg(leg, LegState.FAILED):
        return
    release_leg(purchase, leg)
    purchase.tell("order.leg_failed", leg_id=leg.leg_id, reason=reason)
    settle(purchase, rules)


def undo_leg(purchase: Purchase, leg: Leg, rules: ProcessRules, *, reason: str) -> None:
    """Take a leg back as far as it can be: not started, still in a queue, at the backend, or delivered."""
    match leg.state:
        case LegState.RESERVED | LegState.SECURED:
            leg_canceled(purchase, leg, reason)
        case LegState.STARTED | LegState.ACCEPTED if leg.kind is LegKind.SHIP:
            ask_backend_to_cancel(purchase, leg)
        case LegState.STARTED if leg.kind is LegKind.MINT:
            # Claim and cancel race on one compare-and-set; a claimed mint is returned once it is captured.
            if cancel_mint(purchase.uow, leg.leg_id):
                leg_canceled(purchase, leg, reason)
        case LegState.CAPTURED if leg.digital:
            return_leg(purchase, leg, rules)
        case _:
            return


def leg_canceled(purchase: Purchase, leg: Leg, reason: str) -> None:
    """The leg will not be delivered: its units can be sold again."""
    if purchase.move_leg(leg, LegState.CANCELED):
        release_leg(purchase, leg)
        purchase.tell("order.leg_canceled", leg_id=leg.leg_id, reason=reason)


def release_leg(purchase: Purchase, leg: Leg) -> None:
    """Give reserved units back."""
    if leg.hold_id is not None:
        inventory.release(purchase.uow, hold_id=HoldId(leg.hold_id))
    books.post_unreserved(purchase, leg)


def ask_backend_to_cancel(purchase: Purchase, leg: Leg) -> None:
    """The backend decides whether it is too late; the leg waits for its answer."""
    if purchase.move_leg(leg, LegState.CANCELING):
        enqueue(purchase.uow, CANCEL, purchase.order_id, {"leg_id": leg.leg_id})


def return_leg(purchase: Purchase, leg: Leg, rules: ProcessRules) -> None:
    """Start giving back a captured leg: first what was delivered, then the money."""
    if not purchase.move_leg(leg, LegState.RETURNING):
        return
    match leg.kind:
        case LegKind.MINT:
            return_token(purchase, leg, moved=True)
        case LegKind.ENTITLE:
            revoke_entitlement(purchase, leg)
            refund_leg(purchase, leg, rules)
        case LegKind.SHIP:
            refund_leg(purchase, leg, rules)


def resume_return(purchase: Purchase, leg: Leg, rules: ProcessRules) -> bool:
    """Go on with a return whose refund or token transfer failed; False when it is under way by itself."""
    refunds = [
        row
        for row in operations_of(purchase.uow, purchase.order_id)
        if row.kind == OperationKind.REFUND and row.leg_id == leg.leg_id
    ]
    if any(not operation_is_final(OperationState(row.state)) for row in refunds):
        return False
    if leg.kind is LegKind.MINT:
        token = next(one for one in mints_of(purchase.uow, purchase.order_id) if one.leg_id == leg.leg_id)
        if token.return_state is not ReturnState.RETURNED:
            return token.state is MintState.FINAL and request_return(purchase.uow, leg.leg_id)
    refund_leg(purchase, leg, rules)
    return True


def return_token(purchase: Purchase, leg: Leg, *, moved: bool = False) -> None:
    """Send the token back to the treasury; before it is final, the final outcome asks again."""
    if not moved and not purchase.move_leg(leg, LegState.RETURNING):
        return
    minted = next(found for found in mints_of(purchase.uow, purchase.order_id) if found.leg_id == leg.leg_id)
    if minted.state is MintState.FINAL:
        request_return(purchase.uow, leg.leg_id)


def revoke_entitlement(purchase: Purchase, leg: Leg) -> None:
    """Take a non-transferable item back."""
    purchase.uow.core(entitlement.update().where(entitlement.c.leg_id == leg.leg_id).values(state="revoked"))
    purchase.tell("entitlement.revoked", leg_id=leg.leg_id)


def refund_leg(purchase: Purchase, leg: Leg, rules: ProcessRules) -> None:
    """Give the leg's captured share back to the method it came from."""
    if not leg.amount_minor or leg.capture_operation_id is None:
        returned(purchase, leg, rules)
        return
    operation_id = purchase.uow.new_id(OperationId)
    begin_operation(
        purchase.uow,
        operation_id,
        OperationKind.REFUND,
        order_id=purchase.order_id,
        amount=leg.amount,
        leg_id=leg.leg_id,
        target_operation_id=leg.capture_operation_id,
    )
    enqueue(
        purchase.uow,
        calls.REFUND,
        purchase.order_id,
        calls.settle_payload(operation_id, leg.capture_operation_id, leg.amount),
    )


def returned(purchase: Purchase, leg: Leg, rules: ProcessRules) -> None:
    """The leg is given back and paid back."""
    if purchase.move_leg(leg, LegState.RETURNED):
        settle(purchase, rules)


# --- Ending -----------------------------------------------------------------------------------------


def void_rest(purchase: Purchase) -> None:
    """No leg needs money any more: release what is authorized and not captured, once."""
    intent = purchase.intent()
    rest = intent.authorized_minor - intent.captured_minor - intent.voided_minor
    if rest > 0:
        void_once(purchase, intent.authorization_id, Money(rest, purchase.currency))


def void_once(purchase: Purchase, authorization_id: str, amount: Money) -> None:
    """Release an amount of an authorization, unless that was asked for already."""
    operations = operations_of(purchase.uow, purchase.order_id)
    if not any(
        row.kind == OperationKind.VOID and row.target_operation_id == authorization_id for row in operations
    ):
        void(purchase, authorization_id, amount)


def void(purchase: Purchase, authorization_id: str, amount: Money) -> None:
    """Release an amount of an authorization."""
    operation_id = purchase.uow.new_id(OperationId)
    begin_operation(
        purchase.uow,
        operation_id,
        OperationKind.VOID,
        order_id=purchase.order_id,
        amount=amount,
        target_operation_id=authorization_id,
    )
    enqueue(
        purchase.uow,
        calls.VOID,
        purchase.order_id,
        calls.settle_payload(operation_id, authorization_id, amount),
    )


def end_order(purchase: Purchase) -> None:
    """Close an order whose legs have all ended."""
    states = {leg.state for leg in purchase.legs}
    if LegState.CAPTURED in states or LegState.CAPTURE_FAILED in states:
        if purchase.move(OrderState.COMPLETED):
            gross = sum(leg.amount_minor for leg in purchase.legs if holds_goods(leg.state))
            purchase.tell("order.completed", captured=wire_money(Money(gross, purchase.currency)))
        return
    if LegState.RETURNING in states:
        return
    intent = purchase.intent()
    if LegState.RETURNED in states and intent.refunded_minor == intent.captured_minor:
        # Also an order that cost nothing, and a token that went back because its capture failed.
        if intent.captured_minor == 0 and purchase.state is OrderState.CONFIRMED:
            _canceled(purchase)
        elif purchase.move(OrderState.REFUNDED):
            purchase.tell(
                "order.refunded", refunded=wire_money(Money(intent.refunded_minor, purchase.currency))
            )
        return
    if not intent.captured_minor:
        _canceled(purchase)


def _canceled(purchase: Purchase) -> None:
    reason = purchase.row.reason or "nothing could be delivered"
    if purchase.move(OrderState.CANCELED, reason):
        purchase.tell("order.canceled", reason=reason)
