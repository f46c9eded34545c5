"""What a customer's device may read over HTTP: the same documents as over the socket."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from gateway.commands import customer as commands
from gateway.http.callers import AsDevice, InContext
from gateway.protocol.messages import (
    CatalogGet,
    CatalogGetBody,
    CatalogList,
    CatalogListBody,
    Name,
    OrderGet,
    OrderGetBody,
    OrderList,
    OrderListBody,
    WalletList,
    WalletListBody,
)

router = APIRouter(prefix="/v1", tags=["customer"])
_ID = "http"


@router.get("/catalog")
async def list_catalog(
    context: InContext,
    who: AsDevice,
    merchant: Name | None = None,
    place: Name | None = None,
    after: Name | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 25,
) -> Any:
    """Products on sale (``catalog.list``)."""
    body = CatalogListBody(merchant=merchant, place=place, after=after, limit=limit)
    return commands.list_catalog(context, CatalogList(id=_ID, type="catalog.list", body=body))


@router.get("/catalog/{product_id}")
async def get_product(context: InContext, who: AsDevice, product_id: Name) -> Any:
    """One product (``catalog.get``)."""
    body = CatalogGetBody(product_id=product_id)
    return commands.get_product(context, CatalogGet(id=_ID, type="catalog.get", body=body))


@router.get("/orders")
async def list_orders(
    context: InContext,
    who: AsDevice,
    after: Name | None = None,
    limit: Annotated[int, Query(ge=1, le=50)] = 20,
) -> Any:
    """The customer's orders, newest first (``order.list``)."""
    body = OrderListBody(after=after, limit=limit)
    return await commands.list_orders(context, who, OrderList(id=_ID, type="order.list", body=body))


@router.get("/orders/{order_id}")
async def get_order(context: InContext, who: AsDevice, order_id: Name) -> Any:
    """One order (``order.get``)."""
    body = OrderGetBody(order_id=order_id)
    return await commands.get_order(context, who, OrderGet(id=_ID, type="order.get", body=body))


@router.get("/payment-methods")
async def list_methods(context: InContext, who: AsDevice) -> Any:
    """The customer's stored methods (``payment.methods``)."""
    return await commands.list_methods(context, who)


@router.get("/wallet")
async def wallet(
    context: InContext,
    who: AsDevice,
    after: Name | None = None,
    limit: Annotated[int, Query(ge=1, le=50)] = 50,
) -> Any:
    """The customer's digital items, newest first (``wallet.list``)."""
    body = WalletListBody(after=after, limit=limit)
    return await commands.wallet(context, who, WalletList(id=_ID, type="wallet.list", body=body))
