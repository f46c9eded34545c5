"""The merchant API: products, customers, device tokens, orders, refunds, books."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from gateway.catalog.assets import MAX_MODEL_BYTES
from gateway.catalog.documents import page, product_document
from gateway.commands import merchant as commands
from gateway.http.callers import AsMerchant, InContext, Key
from gateway.kernel.clock import rfc3339
from gateway.kernel.errors import InvalidError

router = APIRouter(prefix="/v1/merchant", tags=["merchant"])


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class CustomerInput(_Input):
    """``reference`` is what the merchant calls the customer; the same reference is the same customer."""

    reference: Annotated[str, Field(min_length=1, max_length=128)]


class DeviceTokenInput(_Input):
    """``world_id`` and ``session_id`` bind the token: where it is used, as allowances see it."""

    kind: Annotated[str, Field(min_length=1, max_length=64)] = "headset"
    name: Annotated[str, Field(max_length=128)] = ""
    world_id: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    session_id: Annotated[str, Field(min_length=1, max_length=128)] | None = None


@router.get("/products")
async def list_products(
    context: InContext,
    who: AsMerchant,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 25,
) -> Any:
    """The merchant's products on sale."""
    products, following = page(context.catalog.current, merchant=who.merchant_id, after=after, limit=limit)
    return {"products": products, "next": following}


@router.get("/products/{handle}")
async def get_product(context: InContext, who: AsMerchant, handle: str) -> Any:
    """One product by its handle."""
    snapshot = context.catalog.current
    return product_document(snapshot, snapshot.product_by_handle(who.merchant_id, handle))


@router.put("/products/{handle}")
async def put_product(
    context: InContext, who: AsMerchant, handle: str, document: Annotated[dict[str, Any], Body()]
) -> Any:
    """Create or change a product; the body is what a product file holds under ``product``."""
    if document.setdefault("handle", handle) != handle:
        raise InvalidError("message.invalid", "The handle differs from the address.", param="$.handle")
    report = await commands.put_product(context, who, document)
    return {"version": report.version, "handle": handle}


@router.post("/models", status_code=201)
async def post_model(context: InContext, who: AsMerchant, request: Request) -> Any:
    """Upload a GLB 2.0 model; products name it by the returned ``asset_id``."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_MODEL_BYTES:
            raise InvalidError("message.too_large", f"A model may have {MAX_MODEL_BYTES} bytes.")
    return await commands.put_model(context, bytes(data))


@router.post("/pictures", status_code=201)
async def post_picture(context: InContext, who: AsMerchant, request: Request) -> Any:
    """Upload a picture (PNG); variants name it as their ``picture`` by the returned ``picture_id``."""
    return await commands.put_picture(context, await request.body())


@router.post("/customers", status_code=201)
async def post_customer(context: InContext, who: AsMerchant, body: CustomerInput) -> Any:
    """Register a customer; repeating it returns the same one."""
    return {"customer_id": await commands.register(context, who, body.reference)}


@router.post("/customers/{customer_id}/device-tokens", status_code=201)
async def post_device_token(
    context: InContext, who: AsMerchant, customer_id: str, body: DeviceTokenInput
) -> Any:
    """Issue a token with which a device of the customer signs in. It is shown once."""
    issued = await commands.issue_token(
        context,
        who,
        customer_id,
        kind=body.kind,
        name=body.name,
        world_id=body.world_id,
        session_id=body.session_id,
    )
    return {
        "token": issued.token,
        "customer_id": issued.device.customer_id,
        "device_id": issued.device.device_id,
        "expires_at": rfc3339(issued.device.expires_at_ms),
    }


@router.get("/orders")
async def list_orders(
    context: InContext,
    who: AsMerchant,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=50)] = 20,
) -> Any:
    """The merchant's orders, newest first."""
    return await commands.list_orders(context, who, after, limit)


@router.get("/orders/{order_id}")
async def get_order(context: InContext, who: AsMerchant, order_id: str) -> Any:
    """One order, with where its goods go."""
    return await commands.get_order(context, who, order_id)


@router.post("/orders/{order_id}/refund", status_code=202)
async def take_back_order(context: InContext, who: AsMerchant, order_id: str, key: Key) -> Any:
    """Take a whole order back: tokens, entitlements and all money; parcels that have left are not waited for.

    It ends in ``order.refunded``. Money alone, in part or whole, goes back with ``/refunds``.
    """
    return await commands.refund(context, who, order_id, key)


@router.get("/books")
async def get_books(context: InContext, who: AsMerchant) -> Any:
    """The balances of the merchant's books, by account and unit."""
    return {"balances": await commands.books(context, who.merchant_id)}
