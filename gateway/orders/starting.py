"""Starting the legs of an order that is paid for: a mint is queued, a parcel ordered, an item granted."""

from __future__ import annotations

from fulfillment import inventory, serials
from fulfillment.model import FulfillmentLine, HoldId
from fulfillment.shipments import create_fulfillment_order
from gateway.catalog.model import FailurePolicy
from gateway.kernel.documents import decode
from gateway.kernel.store.statements import insert_into
from gateway.kernel.subjects import LegId, MerchantId, OrderId
from gateway.kernel.tasks.queue import enqueue
from gateway.orders.model import LegKind, LegState
from gateway.orders.purchase import Leg, Purchase
from gateway.orders.tables import entitlement
from wallets.custody.accounts import account_of
from wallets.minting.model import MintRequest
from wallets.minting.requests import request_mint

SEND = "fulfillment.send"

_INSERT_ENTITLEMENT = insert_into(entitlement)


def may_start(leg: Leg, line: list[Leg]) -> bool:
    """Whether the policy of its product lets a secured leg go now."""
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


def start_shipment(purchase: Purchase, location: str, legs: list[Leg], backend: str) -> None:
    """Write the location's fulfillment order and the task that sends it."""
    ship_to = decode(purchase.row.ship_to)
    fulfillment_order_id = create_fulfillment_order(
        purchase.uow,
        order_id=OrderId(purchase.order_id),
        merchant_id=MerchantId(purchase.merchant_id),
        location_code=location,
        backend=backend,
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
