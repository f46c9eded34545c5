"""``order.pay``: another way to pay for an order that was declined, was placed unpaid, or is held.

Within the same session: another stored method, an allowance, a link for somebody's phone, or a promise to pay
at the door or the counter. One attempt at a time: the intent takes it by compare-and-set.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.catalog.loading import payment_policy_of
from gateway.kernel.documents import decode
from gateway.kernel.errors import ConflictError, NotFoundError
from gateway.kernel.money import Money
from gateway.kernel.store.unit import UnitOfWork
from gateway.orders.alternatives import PAY_LINK, PROMISES, STORED_METHOD, offered
from gateway.orders.beginning import begin_payment
from gateway.orders.changes import Request, own_purchase
from gateway.orders.idempotency import earlier_result, keep_result
from gateway.orders.pay_links import MadeLink, make_link, open_amount
from gateway.orders.placing import Placed
from gateway.orders.plan import Plan
from gateway.orders.purchase import Purchase, known_purchase
from gateway.orders.quotes import find_quote
from gateway.orders.standing import spent_on
from gateway.payments.methods import method_of
from gateway.payments.operations import operations_of
from gateway.payments.pay_links import MOST_ATTEMPTS, PayLinkState, link_of_token, state_now
from gateway.payments.spending import Spending

PAY_OPERATION = "order.pay"


@dataclass(frozen=True, slots=True)
class PaymentChoice:
    """How somebody wants to pay. For a promise the method is one that the vault made for it, for an allowance
    the one that its customer allowed."""

    kind: str = STORED_METHOD
    payment_method_id: str | None = None
    link_token: str | None = None
    """A fresh token, where a link is asked for."""
    spending: Spending | None = None
    """A standing or delegated allowance; what was ordered is added."""


def pay_order(
    uow: UnitOfWork, request: Request, choice: PaymentChoice, device_id: str | None, *, action_ms: int
) -> Placed:
    """Pay for an order another way.

    Raises ConflictError ``order.not_payable``, ``payment.not_offered``, ``pay_link.not_offered``;
    NotFoundError ``payment_method.not_found``.
    """
    earlier = earlier_result(uow, request.principal, PAY_OPERATION, request.key, request.request_hash)
    purchase = own_purchase(uow, request)
    if earlier is not None:
        return Placed(purchase.order_id, purchase.state.value, purchase.total, replayed=True)
    link: MadeLink | None = None
    if choice.kind == PAY_LINK:
        assert choice.link_token is not None
        link = make_link(uow, purchase, choice.link_token, created_by=purchase.customer_id)
    else:
        assert choice.payment_method_id is not None
        _check_choice(uow, purchase, choice)
        begin_payment(
            uow,
            purchase,
            payment_method_id=choice.payment_method_id,
            vault_customer_id=purchase.customer_id,
            device_id=device_id,
            action_ms=action_ms,
            spending=None if choice.spending is None else _for_order(uow, purchase, choice.spending),
        )
    keep_result(
        uow,
        request.principal,
        PAY_OPERATION,
        request.key,
        request.request_hash,
        {"order_id": purchase.order_id},
    )
    return Placed(purchase.order_id, purchase.state.value, purchase.total, replayed=False, link=link)


def pay_by_link(uow: UnitOfWork, token: str, payment_method_id: str, *, payer: str, action_ms: int) -> str:
    """Try to pay what a link is for, with a card of ``payer``; returns the order's id.

    Raises NotFoundError ``pay_link.not_found``; ConflictError ``pay_link.closed`` (data: state),
    ``pay_link.amount_changed``, ``pay_link.too_many_attempts``, and ``order.not_payable`` when somebody
    else's attempt is under way or was first.
    """
    row = link_of_token(uow, token)
    purchase = known_purchase(uow, row.order_id)
    row = link_of_token(uow, token)  # as it is under the order's lock
    state = state_now(row, uow.now_ms)
    if state is not PayLinkState.OPEN:
        raise ConflictError("pay_link.closed", "This link is no longer open.", data={"state": state.value})
    tried = [one for one in operations_of(uow, purchase.order_id) if one.pay_link_id == row.pay_link_id]
    if len(tried) >= MOST_ATTEMPTS:
        raise too_many_attempts()
    owed = open_amount(purchase)
    if owed is not None and owed != Money(row.amount_minor, row.currency):
        raise ConflictError("pay_link.amount_changed", "The order has changed; ask for a new link.")
    begin_payment(
        uow,
        purchase,
        payment_method_id=payment_method_id,
        vault_customer_id=payer,
        device_id=None,
        action_ms=action_ms,
        pay_link_id=row.pay_link_id,
    )
    return purchase.order_id


def _for_order(uow: UnitOfWork, purchase: Purchase, spending: Spending) -> Spending:
    quote = find_quote(uow, purchase.customer_id, purchase.row.quote_id)
    return spent_on(spending, Plan.from_document(decode(quote.plan)), quote.quote_id)


def _check_choice(uow: UnitOfWork, purchase: Purchase, choice: PaymentChoice) -> None:
    if choice.kind in PROMISES:
        policy = payment_policy_of(uow, purchase.merchant_id)
        owed = open_amount(purchase) or purchase.total
        if not offered(policy, choice.kind, owed, [leg.kind.value for leg in purchase.legs]):
            raise not_offered(choice.kind)
    elif choice.kind == STORED_METHOD and (
        method_of(uow, purchase.customer_id, choice.payment_method_id or "") is None
    ):
        raise NotFoundError(
            "payment_method.not_found", "There is no such payment method.", param="$.body.payment_method_id"
        )


def too_many_attempts() -> ConflictError:
    """A link that was tried as often as it may be."""
    return ConflictError("pay_link.too_many_attempts", "This link was tried too often; ask for another one.")


def not_offered(kind: str) -> ConflictError:
    """The merchant does not take this order in this way."""
    return ConflictError(
        "payment.not_offered",
        "The merchant does not offer this for this order.",
        param="$.body.payment.kind",
        data={"kind": kind},
    )
