"""The merchant API's part about money: refunds and their approval, payouts, collections, pay links.

``staff_id`` is who acts, as the merchant's own system knows them; it is written down with every act.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from gateway.commands import pay_links, payments
from gateway.http.callers import AsMerchant, InContext, Key
from gateway.orders.collecting import Collection
from gateway.orders.idempotency import request_hash
from gateway.orders.refunding import RefundWish
from gateway.payments.refunds_model import RefundWay

router = APIRouter(prefix="/v1/merchant", tags=["merchant payments"])

Staff = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$")]
Minor = Annotated[int, Field(ge=0, lt=2**53, strict=True)]
Limit = Annotated[int, Query(ge=1, le=50)]


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class RefundInput(_Input):
    """Without ``amount_minor`` all that can be given back. ``method`` and ``payout`` need a second person."""

    way: RefundWay = RefundWay.ORIGINAL
    amount_minor: Annotated[Minor | None, Field(gt=0)] = None
    leg_id: Annotated[str | None, Field(max_length=64)] = None
    payment_method_id: Annotated[str | None, Field(max_length=64)] = None
    reason: Annotated[str, Field(min_length=1, max_length=500)]
    staff_id: Staff


class DecisionInput(_Input):
    approve: bool
    staff_id: Staff


class CollectionInput(_Input):
    """``tendered_minor`` is what was handed over; null: nothing, the goods were refused.

    Of a refund, which is always named by its ``operation_id``, it is what was given back.
    """

    staff_id: Staff
    drawer: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")] = "courier"
    tendered_minor: Minor | None
    restocked: bool = False
    operation_id: Annotated[str | None, Field(max_length=64)] = None


class PayLinkInput(_Input):
    staff_id: Staff
    hours: Annotated[int | None, Field(ge=1, le=720)] = None


@router.post("/orders/{order_id}/refunds", status_code=202)
async def give_money_back(
    context: InContext, who: AsMerchant, order_id: str, key: Key, body: RefundInput
) -> Any:
    """Give money back, in part or whole, without taking goods back. The outcome follows as events."""
    wish = RefundWish(
        merchant_id=who.merchant_id,
        order_id=order_id,
        key=key,
        request_hash=f"{order_id}:{request_hash(body)}",
        way=body.way,
        amount_minor=body.amount_minor,
        leg_id=body.leg_id,
        payment_method_id=body.payment_method_id,
        reason=body.reason,
        staff_id=body.staff_id,
    )
    return await payments.ask_refund(context, wish)


@router.get("/orders/{order_id}/refunds")
async def get_order_refunds(context: InContext, who: AsMerchant, order_id: str) -> Any:
    """The refunds of one order."""
    return await payments.list_refunds(context, who, order_id, None, 50)


@router.get("/refunds")
async def get_refunds(
    context: InContext, who: AsMerchant, after: str | None = None, limit: Limit = 20
) -> Any:
    """The merchant's refunds and payouts, newest first."""
    return await payments.list_refunds(context, who, None, after, limit)


@router.get("/refunds/{refund_id}")
async def get_refund(context: InContext, who: AsMerchant, refund_id: str) -> Any:
    """One refund or payout."""
    return await payments.get_refund(context, who, refund_id)


@router.post("/refunds/{refund_id}/decision")
async def post_decision(context: InContext, who: AsMerchant, refund_id: str, body: DecisionInput) -> Any:
    """Approve or reject what somebody else has asked for."""
    return await payments.decide_refund(context, who, refund_id, body.staff_id, approve=body.approve)


@router.get("/orders/{order_id}/collections")
async def get_collections(context: InContext, who: AsMerchant, order_id: str) -> Any:
    """What waits to be collected for an order, or to be given back, in person."""
    return await payments.list_collections(context, who, order_id)


@router.post("/orders/{order_id}/collections")
async def post_collection(context: InContext, who: AsMerchant, order_id: str, body: CollectionInput) -> Any:
    """Say what was collected, or given back, at the door or the counter. The same again changes nothing."""
    told = Collection(
        who.merchant_id,
        order_id,
        body.staff_id,
        body.drawer,
        body.tendered_minor,
        body.restocked,
        body.operation_id,
    )
    return await payments.collect(context, told)


@router.post("/orders/{order_id}/pay-links", status_code=201)
async def post_pay_link(
    context: InContext, who: AsMerchant, order_id: str, key: Key, body: PayLinkInput
) -> Any:
    """A link by which anybody can pay what the order owes, once. Only this answer shows its address."""
    return await pay_links.merchants_new_link(
        context, who, order_id, key, staff_id=body.staff_id, hours=body.hours
    )


@router.get("/orders/{order_id}/pay-links")
async def get_order_links(context: InContext, who: AsMerchant, order_id: str) -> Any:
    """The links to one order."""
    return await pay_links.merchants_links(context, who, order_id, None, 50)


@router.get("/pay-links")
async def get_links(context: InContext, who: AsMerchant, after: str | None = None, limit: Limit = 20) -> Any:
    """The merchant's links, newest first."""
    return await pay_links.merchants_links(context, who, None, after, limit)


@router.post("/pay-links/{pay_link_id}/revoke")
async def post_revoke(context: InContext, who: AsMerchant, pay_link_id: str) -> Any:
    """Close a link."""
    return await pay_links.revoke_link(context, who, pay_link_id)
