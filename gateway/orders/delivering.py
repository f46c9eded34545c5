"""Delivering what was paid first: tokens into wallets outside, and what waits for the period to withdraw.

    started -> captured -> paid -> asked for -> delivered
                            |         |
                            v         v
                 withdrawn: refunded  refused: undelivered -> another wallet, or refunded

Until it is delivered the money is owed to the customer and not earned. The functions here move one leg;
`process.settle` looks at the rest of the order afterwards.
"""

from __future__ import annotations

from fulfillment import inventory
from fulfillment.model import HoldId
from gateway.kernel.clock import rfc3339
from gateway.orders import books, starting, undoing
from gateway.orders.model import LegKind, LegState
from gateway.orders.purchase import Leg, Purchase


def deliver(purchase: Purchase, leg: Leg) -> None:
    """Deliver a paid leg, or have it wait until the law lets it be delivered.

    A token is asked for here and delivered once it is minted; an item is granted at once.
    """
    if not starting.may_deliver_digital(purchase, leg):
        assert leg.mint_not_before_ms is not None, "who has not agreed waits"
        purchase.wait_until(leg, leg.mint_not_before_ms)
        return
    if leg.due_at_ms is not None:
        purchase.wait_until(leg, None)
    if leg.kind is LegKind.MINT:
        starting.queue_mint(purchase, leg)
    elif purchase.deliver_leg(leg):
        starting.grant_entitlement(purchase, leg)
        _earn(purchase, leg)


def minted(purchase: Purchase, leg: Leg) -> bool:
    """The token of a paid leg is in its wallet; False if that was known."""
    if not purchase.deliver_leg(leg):
        return False
    if leg.hold_id is not None:
        inventory.consume(purchase.uow, hold_id=HoldId(leg.hold_id))
    _earn(purchase, leg)
    return True


def refused(purchase: Purchase, leg: Leg, reason: str, choose_ms: int) -> None:
    """The chosen wallet takes no such token: its customer may choose another one for a while."""
    if purchase.move_leg(leg, LegState.UNDELIVERED):
        until_ms = purchase.uow.now_ms + choose_ms
        purchase.wait_until(leg, until_ms)
        purchase.tell("token.undelivered", leg_id=leg.leg_id, reason=reason, choose_by=rfc3339(until_ms))


def _earn(purchase: Purchase, leg: Leg) -> None:
    """What was refunded in part before it was delivered is never earned."""
    before = undoing.leg_money_back(purchase, leg).done
    books.post_delivered(purchase, leg, before)
    purchase.fulfill_line(leg)
