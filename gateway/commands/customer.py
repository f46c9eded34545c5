"""Commands of a customer's device: the same for the socket and for HTTP.

Each takes who asks and a checked message, and returns the body of ``ok``. Whose order, quote or method it
is, is decided by the capability that holds it: another customer's looks like none.
"""

from __future__ import annotations

from typing import Any

from gateway.catalog.documents import page, product_document
from gateway.catalog.model import Format, Product
from gateway.commands import actions, guardian, pay_links, worlds
from gateway.commands import wallets as own_wallets
from gateway.commands.card_entry import open_card_page
from gateway.commands.context import Context
from gateway.commands.paying import Asked, Prepared, prepare_payment
from gateway.commands.wallet_items import list_items
from gateway.commands.wallet_page import new_page
from gateway.identity.model import DevicePrincipal
from gateway.kernel.errors import InvalidError
from gateway.kernel.money import Money
from gateway.orders.changes import Request, cancel_order
from gateway.orders.choosing import choose_wallet
from gateway.orders.idempotency import request_hash
from gateway.orders.paying import PAY_OPERATION, PaymentChoice, pay_order
from gateway.orders.placing import OPERATION as PLACE_OPERATION
from gateway.orders.placing import Placed, PlaceRequest, place_order
from gateway.orders.quotes import QuoteRequest, create_quote, quote_document
from gateway.orders.views import order_document, order_page
from gateway.payments.methods import methods_of
from gateway.protocol.messages import (
    AnyCommand,
    CatalogGet,
    CatalogList,
    Command,
    GuardianApprove,
    GuardianDecline,
    GuardianList,
    OrderCancel,
    OrderChooseWallet,
    OrderGet,
    OrderList,
    OrderPay,
    OrderPayLink,
    OrderPlace,
    PasskeyAdd,
    PasskeyList,
    PasskeyOptions,
    PasskeyRemove,
    PaymentAction,
    PaymentAddCard,
    PaymentAuthenticate,
    PaymentMethods,
    QuoteCreate,
    WalletLink,
    WalletLinkBegin,
    WalletLinks,
    WalletList,
    WalletPage,
    WalletUnlink,
    WorldAllow,
    WorldList,
    WorldRevoke,
)


async def perform(context: Context, who: DevicePrincipal, command: AnyCommand) -> Any:
    """Carry out a command and return the body of its ``ok``. Raises VitrineError for ``error``."""
    match command:
        case OrderPlace():
            return await place(context, who, command)
        case OrderGet():
            return await get_order(context, who, command)
        case QuoteCreate():
            return await quote(context, who, command)
        case CatalogList():
            return list_catalog(context, command)
        case CatalogGet():
            return get_product(context, command)
        case OrderPay():
            return await pay(context, who, command)
        case OrderPayLink():
            return await pay_links.own_link(context, who, command)
        case OrderList():
            return await list_orders(context, who, command)
        case OrderCancel():
            return await cancel(context, who, command)
        case OrderChooseWallet():
            return await choose(context, who, command)
        case PaymentMethods():
            return await list_methods(context, who)
        case PaymentAction():
            return await actions.get_action(context, who, command)
        case PaymentAuthenticate():
            return await actions.authenticate(context, who, command)
        case PasskeyOptions():
            return await actions.passkey_options(context, who, command)
        case PasskeyAdd():
            return await actions.add_passkey(context, who, command)
        case PasskeyList():
            return await actions.list_passkeys(context, who, command)
        case PasskeyRemove():
            return await actions.remove_passkey(context, who, command)
        case PaymentAddCard():
            return await open_card_page(context, who.customer_id, command.body.return_url)
        case GuardianList():
            return await guardian.list_requests(context, who)
        case GuardianApprove() | GuardianDecline():
            return await guardian.decide(context, who, command)
        case WalletList():
            return await wallet(context, who, command)
        case WalletPage():
            return await new_page(context, who.customer_id)
        case WorldAllow():
            return await worlds.allow(context, who, command)
        case WorldRevoke():
            return await worlds.revoke(context, who, command)
        case WorldList():
            return await worlds.list_consents(context, who, command)
        case WalletLinkBegin():
            return await own_wallets.begin(context, who, command)
        case WalletLink():
            return await own_wallets.link(context, who, command)
        case WalletLinks():
            return await own_wallets.list_links(context, who, command)
        case WalletUnlink():
            return await own_wallets.unlink(context, who, command)


def list_catalog(context: Context, command: CatalogList) -> Any:
    """A page of products, of one merchant or one place where asked."""
    snapshot, body = context.catalog.current, command.body
    merchant = None if body.merchant is None else snapshot.merchant_by_slug(body.merchant)
    place_id = None
    if body.place is not None:
        if merchant is None:
            raise InvalidError(
                "message.invalid", "A place is named with its merchant.", param="$.body.merchant"
            )
        place_id = snapshot.place_by_code(merchant.merchant_id, body.place).place_id
    products, following = page(
        snapshot,
        merchant=None if merchant is None else merchant.merchant_id,
        place=place_id,
        after=body.after,
        limit=body.limit,
    )
    return {"products": products, "next": following}


def get_product(context: Context, command: CatalogGet) -> Any:
    """One product, by id, handle or SKU."""
    snapshot, body = context.catalog.current, command.body
    product: Product
    if body.product_id is not None:
        product = snapshot.product(body.product_id)
    elif body.merchant is not None and body.handle is not None:
        merchant = snapshot.merchant_by_slug(body.merchant)
        product = snapshot.product_by_handle(merchant.merchant_id, body.handle)
    elif body.merchant is not None and body.sku is not None:
        merchant = snapshot.merchant_by_slug(body.merchant)
        product = snapshot.product(snapshot.variant(merchant.merchant_id, body.sku).product_id)
    else:
        raise InvalidError(
            "message.invalid", "Name a product_id, or a merchant with a handle or a sku.", param="$.body"
        )
    return {"product": product_document(snapshot, product)}


async def quote(context: Context, who: DevicePrincipal, command: QuoteCreate) -> Any:
    """Price items and hold them for a while."""
    snapshot, body = context.catalog.current, command.body
    merchant = snapshot.merchant_by_slug(body.merchant)
    offers = [
        (snapshot.offer(merchant.merchant_id, item.sku, Format(item.format)), item.quantity)
        for item in body.items
    ]
    if body.place is not None:
        snapshot.place_by_code(merchant.merchant_id, body.place)
    if context.custody is not None and any(
        offer.digital is not None and offer.digital.token_number is not None for offer, _ in offers
    ):
        # The account exists before anything is minted into it.
        await context.custody.ensure_account(who.customer_id)
    request = QuoteRequest(
        customer_id=who.customer_id,
        device_id=who.device_id,
        key=command.key or "",
        request_hash=request_hash(body),
        merchant=merchant,
        offers=offers,
        currency=body.currency,
        country=body.country,
        channel=body.channel,
        place=body.place,
    )
    made = await context.store.write(
        lambda uow: create_quote(uow, request, context.taxes, context.quotes),
        locks=(f"account:{who.customer_id}",),
    )
    return quote_document(made)


async def place(context: Context, who: DevicePrincipal, command: OrderPlace) -> Any:
    """Buy what was quoted: accepted once this returns."""
    body = command.body
    hash_ = request_hash(body)
    chosen = Prepared(payment_method_id=body.payment_method_id)
    if body.payment is not None:
        asked = Asked(PLACE_OPERATION, command.key or "", hash_, body.quote_id)
        chosen = await prepare_payment(context, who, body.payment, asked)
    request = PlaceRequest(
        customer_id=who.customer_id,
        device_id=who.device_id,
        key=command.key or "",
        request_hash=hash_,
        quote_id=body.quote_id,
        payment_method_id=chosen.payment_method_id,
        ship_to=None if body.ship_to is None else body.ship_to.model_dump(),
        consents=[consent.model_dump() for consent in body.consents],
        payment_kind=chosen.kind,
        link_token=chosen.link_token,
        spending=chosen.spending,
        session_id=who.session_id,
        wallet_id=None if body.mint_to is None else body.mint_to.wallet_id,
        waits=body.digital_start == "after_withdrawal_period",
    )
    placed = await context.store.write(
        lambda uow: place_order(uow, request, context.placing), locks=(f"account:{who.customer_id}",)
    )
    return placed_document(context, placed)


async def pay(context: Context, who: DevicePrincipal, command: OrderPay) -> Any:
    """Pay for an order another way."""
    body = command.body
    request = Request(who.customer_id, body.order_id, command.key or "", request_hash(body))
    chosen = Prepared(payment_method_id=body.payment_method_id)
    if body.payment is not None:
        asked = Asked(PAY_OPERATION, request.key, request.request_hash, body.order_id)
        chosen = await prepare_payment(context, who, body.payment, asked)
    choice = PaymentChoice(chosen.kind, chosen.payment_method_id, chosen.link_token, chosen.spending)
    placed = await context.store.write(
        lambda uow: pay_order(uow, request, choice, who.device_id, action_ms=context.process.action_ms),
        locks=_key_lock(who, command),
    )
    return placed_document(context, placed)


async def get_order(context: Context, who: DevicePrincipal, command: OrderGet) -> Any:
    """One of the customer's orders."""
    order_id = command.body.order_id
    return await context.store.read(
        lambda reader: order_document(reader, order_id, customer_id=who.customer_id, merchant_id=None)
    )


async def list_orders(context: Context, who: DevicePrincipal, command: OrderList) -> Any:
    """A page of the customer's orders, newest first."""
    body = command.body
    return await context.store.read(
        lambda reader: order_page(
            reader, customer_id=who.customer_id, merchant_id=None, after=body.after, limit=body.limit
        )
    )


async def cancel(context: Context, who: DevicePrincipal, command: OrderCancel) -> Any:
    """Stop what has not passed its point of no return."""
    request = Request(who.customer_id, command.body.order_id, command.key or "", request_hash(command.body))
    reason = command.body.reason or "canceled by the customer"
    changed = await context.store.write(
        lambda uow: cancel_order(uow, request, context.process, reason=reason, leg_id=command.body.leg_id),
        locks=_key_lock(who, command),
    )
    return {"order_id": changed.order_id, "state": changed.state, "replayed": changed.replayed}


async def choose(context: Context, who: DevicePrincipal, command: OrderChooseWallet) -> Any:
    """Have a token that its wallet refused minted to another one."""
    body = command.body
    request = Request(who.customer_id, body.order_id, command.key or "", request_hash(body))
    changed = await context.store.write(
        lambda uow: choose_wallet(
            uow,
            request,
            leg_id=body.leg_id,
            wallet_id=body.wallet_id,
            chain_id=context.placing.chain_id,
        ),
        locks=_key_lock(who, command),
    )
    return {"order_id": changed.order_id, "state": changed.state, "replayed": changed.replayed}


async def list_methods(context: Context, who: DevicePrincipal) -> Any:
    """The customer's stored payment methods."""
    rows = await context.store.read(lambda reader: methods_of(reader, who.customer_id))
    return {"methods": [method_document(row) for row in rows]}


async def wallet(context: Context, who: DevicePrincipal, command: WalletList) -> Any:
    """A page of the customer's digital items, newest first, with the address that holds the tokens."""
    body = command.body
    return await list_items(context, who.customer_id, after=body.after, limit=body.limit)


def _key_lock(who: DevicePrincipal, command: Command) -> tuple[str]:
    """Repeats of a key wait for the first: they must find what it made, not lose a race against it."""
    return (f"key:{who.customer_id}:{command.key}",)


def placed_document(context: Context, placed: Placed) -> dict[str, Any]:
    """The reply to an accepted order."""
    total: Money = placed.total
    document: dict[str, Any] = {
        "order_id": placed.order_id,
        "state": placed.state,
        "total": {"amount_minor": total.amount_minor, "currency": total.currency},
        "replayed": placed.replayed,
    }
    if placed.link is not None:
        document["pay_link"] = pay_links.made_document(context, placed.link)
    return document


def method_document(row: Any) -> dict[str, Any]:
    """What a customer sees of a stored method."""
    return {
        "payment_method_id": row.payment_method_id,
        "kind": row.kind,
        "brand": row.brand,
        "last4": row.last4,
        "expiry_month": row.expiry_month,
        "expiry_year": row.expiry_year,
    }
