"""What becomes of paid legs that wait: another wallet is chosen, or their time has come.

Whoever moves the leg first has decided it: a choice, the end of its time and a refund race on its state.
"""

from __future__ import annotations

from gateway.kernel.errors import ConflictError, NotFoundError
from gateway.kernel.store.unit import UnitOfWork
from gateway.orders import delivering, process, starting, undoing
from gateway.orders.changes import Changed, Request, own_purchase
from gateway.orders.idempotency import earlier_result, keep_result
from gateway.orders.model import LegState
from gateway.orders.placing import chosen_wallet
from gateway.orders.process import ProcessRules
from gateway.orders.purchase import Leg, Purchase, load_purchase
from wallets.minting.requests import choose_recipient

CHOOSE_OPERATION = "order.choose_wallet"


def choose_wallet(
    uow: UnitOfWork, request: Request, *, leg_id: str, wallet_id: str | None, chain_id: int | None
) -> Changed:
    """Mint the token of an undelivered leg to another wallet, or (None) to the customer's account here.

    Raises NotFoundError ``order.not_found``, ``leg.not_found``; ConflictError ``wallet.not_linked``,
    ``leg.not_undelivered`` (data: its state).
    """
    earlier = earlier_result(uow, request.principal, CHOOSE_OPERATION, request.key, request.request_hash)
    if earlier is not None:
        return Changed(request.order_id, earlier["state"], replayed=True)
    purchase = own_purchase(uow, request)
    leg = next((leg for leg in purchase.legs if leg.leg_id == leg_id), None)
    if leg is None:
        raise NotFoundError("leg.not_found", "The order has no such leg.", param="$.body.leg_id")
    if leg.state is not LegState.UNDELIVERED or _is_refunded(purchase, leg):
        raise ConflictError(
            "leg.not_undelivered",
            "This part of the order does not wait for another wallet.",
            param="$.body.leg_id",
            data={"state": leg.state.value},
        )
    wallet = None
    if wallet_id is not None:
        wallet = chosen_wallet(uow, request.principal, wallet_id, chain_id, param="$.body.wallet_id")
    moved = purchase.move_leg(leg, LegState.PAID)
    assert moved, "read under the order's lock"
    if wallet is None:
        purchase.set_wallet(leg, None, None)
    else:
        purchase.set_wallet(leg, wallet.wallet_id, wallet.address)
    recipient, holder_key = starting.holder_of(purchase, leg)
    assert starting.may_deliver_digital(purchase, leg), "it was asked for before"
    asked = choose_recipient(uow, leg_id, recipient=recipient, holder_key=holder_key)
    assert asked, "a token that was refused is skipped for good"
    purchase.tell("token.wallet_chosen", leg_id=leg_id, wallet_id=wallet_id)
    keep_result(
        uow,
        request.principal,
        CHOOSE_OPERATION,
        request.key,
        request.request_hash,
        {"order_id": purchase.order_id, "state": purchase.state.value},
    )
    return Changed(purchase.order_id, purchase.state.value, replayed=False)


def _is_refunded(purchase: Purchase, leg: Leg) -> bool:
    """Whether all of the leg's money has gone back or is on its way: nobody has the token for nothing."""
    back = undoing.leg_money_back(purchase, leg)
    return leg.amount_minor > 0 and back.done + back.under_way == leg.amount_minor


def leg_due(uow: UnitOfWork, order_id: str, leg_id: str, rules: ProcessRules) -> None:
    """The period to withdraw is over: it is delivered. Or the time to choose is: its money goes back."""
    purchase = load_purchase(uow, order_id)
    if purchase is None:
        return
    leg = purchase.leg(leg_id)
    if leg.due_at_ms is None or leg.due_at_ms > uow.now_ms:
        return
    if leg.state is LegState.UNDELIVERED:
        undoing.give_back(purchase, leg, "no other wallet was chosen in time")
    elif _is_refunded(purchase, leg):
        return  # it ends once the money has gone back, or is looked at again if that fails
    else:
        delivering.deliver(purchase, leg)
    process.settle(purchase, rules)
