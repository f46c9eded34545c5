"""Starting the legs of an order that is paid for: a mint is queued, a parcel ordered, an item granted.

Nothing digital is delivered past `may_deliver_digital`.
"""

from __future__ import annotations

from fulfillment import inventory, serials
from fulfillment.model import FulfillmentLine, HoldId
from fulfillment.shipments import create_fulfillment_order
from gateway.catalog.model import FailurePolicy
from gateway.kernel.documents import decode
from gateway.kernel.store.statements import insert_into
from gateway.kernel.subjects import LegId, MerchantId, OrderId
from gateway.kernel.tasks.queue import enqueue
from gateway.orders import ownership
from gateway.orders.model import LegKind, LegState
from gateway.orders.purchase import Leg, Purchase
from gateway.orders.tables import entitlement
from gateway.orders.withdrawal import DIGITAL_CONTENT_START, may_deliver
from wallets.custody.accounts import held_account
from wallets.minting.model import MintRequest
from wallets.minting.requests import is_on_own_contract, request_mint

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
                other.state in (LegState.RESERVED, LegState.SECURED, LegState.STARTED)
                # Paid and on its way; not where it waits for the law or for its customer, maybe for weeks.
                or (other.state is LegState.PAID and other.due_at_ms is None)
                for other in waits_for
            )


def may_deliver_digital(purchase: Purchase, leg: Leg) -> bool:
    """Whether the law lets this leg be delivered now: the one gate before every mint and every grant."""
    given = (DIGITAL_CONTENT_START,) if leg.has_consent else ()
    return may_deliver(purchase.row.country, given, leg.mint_not_before_ms, purchase.uow.now_ms)


def is_paid_first(purchase: Purchase, leg: Leg) -> bool:
    """Whether the share of a digital leg has to be captured before it is delivered.

    It has where the token goes to where we could not take it back from, and where delivery waits for longer
    than an authorization lasts. An account whose key its customer has is a wallet like any outside, and so
    is any account on a merchant's own contract: our key can give nothing back there.
    """
    if leg.mint_not_before_ms is not None and leg.mint_not_before_ms > purchase.uow.now_ms:
        return True
    if leg.kind is not LegKind.MINT:
        return False
    holder_of(purchase, leg)
    return leg.is_outside


def holder_of(purchase: Purchase, leg: Leg) -> tuple[str, str | None]:
    """Return the address that the leg is minted to, and the signer's name of its key if only we have it."""
    if leg.recipient is not None:
        return leg.recipient, None
    if leg.account is not None:
        return leg.account
    found = held_account(purchase.uow, purchase.customer_id)
    assert found is not None, "the quote made sure of the customer's account"
    account, is_exported = found
    if is_exported or (leg.item_number is not None and is_on_own_contract(purchase.uow, leg.item_number)):
        purchase.set_wallet(leg, None, account.address)
        return account.address, None
    leg.account = (account.address, account.key_ref)
    return leg.account


def start_mint(purchase: Purchase, leg: Leg) -> None:
    """Queue the mint of a leg that is captured after it. Undone by `undo_leg` until it is claimed."""
    purchase.move_leg(leg, LegState.STARTED)
    queue_mint(purchase, leg)


def queue_mint(purchase: Purchase, leg: Leg) -> None:
    """Ask for the mint, into the customer's account here or the wallet that was chosen."""
    _pass_gate(purchase, leg)
    recipient, holder_key = holder_of(purchase, leg)
    assert leg.item_number is not None
    assert holder_key is not None or leg.paid_first, "what nobody can take back is paid before it is minted"
    serial = None
    if leg.numbered:
        assert leg.hold_id is not None
        (serial,) = serials.take_serials(purchase.uow, hold_id=HoldId(leg.hold_id))
    request_mint(
        purchase.uow,
        MintRequest(
            leg_id=leg.leg_id,
            order_id=purchase.order_id,
            merchant_id=purchase.merchant_id,
            recipient=recipient,
            item_number=leg.item_number,
            amount=leg.quantity,
            serial=serial,
            holder_key=holder_key,
        ),
    )


def _pass_gate(purchase: Purchase, leg: Leg) -> None:
    if not may_deliver_digital(purchase, leg):
        # Whoever places an order agrees or waits, so this is a fault of ours, and no reason to break the law.
        raise AssertionError(f"{leg.leg_id} may not be delivered without a consent or the end of its period")


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
    _pass_gate(purchase, leg)
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
    ownership.granted(purchase, leg)
