"""Pay links: made by customers and merchants, opened and paid by anybody who has the address."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from gateway.commands.context import Context
from gateway.identity.model import DevicePrincipal, MerchantPrincipal, digest
from gateway.kernel.clock import rfc3339
from gateway.kernel.errors import ConflictError, NotFoundError
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.orders.changes import Request, merchants_purchase, own_purchase
from gateway.orders.idempotency import earlier_result, keep_result, request_hash
from gateway.orders.pay_links import LinkView, MadeLink, link_document, link_view, make_link
from gateway.orders.paying import pay_by_link, too_many_attempts
from gateway.orders.purchase import wire_money
from gateway.payments.pay_links import (
    MOST_ATTEMPTS,
    PAGE_PATH,
    PayLinkState,
    count_entry,
    end_link,
    links_of_merchant,
    links_of_order,
    merchants_link,
    new_token,
    payer_of,
)
from gateway.protocol.messages import OrderPayLink
from wallets.vault.port import CardEntry, StoredMethod

LINK_OPERATION = "order.pay_link"


@dataclass(frozen=True, slots=True)
class LinkPage:
    """What the page of a link shows. ``methods`` are cards that this browser's payer entered at the vault."""

    view: LinkView
    payee: str
    methods: tuple[StoredMethod, ...]


def link_url(context: Context, token: str) -> str:
    """Return the address of a link."""
    return f"{context.process.base_url}{PAGE_PATH}{token}"


def made_document(context: Context, link: MadeLink) -> dict[str, Any]:
    """What is told of a fresh link, once."""
    url = link_url(context, link.token)
    return {
        "pay_link_id": link.pay_link_id,
        "url": url,
        "qr_url": f"{url}/qr.svg",
        "amount": wire_money(link.amount),
        "expires_at": rfc3339(link.expires_at_ms),
    }


async def own_link(context: Context, who: DevicePrincipal, command: OrderPayLink) -> Any:
    """A link to an order of the customer: to be sent to somebody, or opened on another screen."""
    body, token = command.body, new_token()
    request = Request(who.customer_id, body.order_id, command.key or "", request_hash(body))

    def make(uow: UnitOfWork) -> MadeLink | None:
        purchase = own_purchase(uow, request)
        if earlier_result(uow, request.principal, LINK_OPERATION, request.key, request.request_hash):
            return None
        made = make_link(uow, purchase, token, created_by=who.customer_id, hours=body.hours)
        _keep(uow, request, made)
        return made

    made = await context.store.write(make, locks=(f"key:{who.customer_id}:{command.key}",))
    return _reply(context, body.order_id, made)


async def merchants_new_link(
    context: Context, who: MerchantPrincipal, order_id: str, key: str, *, staff_id: str, hours: int | None
) -> dict[str, Any]:
    """A link to one of the merchant's orders, for a chat, a letter or the telephone."""
    token = new_token()
    hash_ = digest(f"{order_id} {staff_id} {hours}")[:32]
    request = Request(who.merchant_id, order_id, key, hash_)

    def make(uow: UnitOfWork) -> MadeLink | None:
        purchase = merchants_purchase(uow, request)
        if earlier_result(uow, request.principal, LINK_OPERATION, key, hash_):
            return None
        made = make_link(uow, purchase, token, created_by=staff_id, hours=hours)
        _keep(uow, request, made)
        return made

    made = await context.store.write(make, locks=(f"key:{who.merchant_id}:{key}",))
    return _reply(context, order_id, made)


async def merchants_links(
    context: Context, who: MerchantPrincipal, order_id: str | None, after: str | None, limit: int
) -> dict[str, Any]:
    """The merchant's links, or those of one of its orders."""

    def read(reader: Reader) -> dict[str, Any]:
        if order_id is None:
            rows = links_of_merchant(reader, who.merchant_id, after, limit + 1)
        else:
            rows = [row for row in links_of_order(reader, order_id) if row.merchant_id == who.merchant_id]
        more = order_id is None and len(rows) > limit
        return {
            "pay_links": [link_document(row, reader.now_ms) for row in (rows[:limit] if more else rows)],
            "next": rows[limit - 1].pay_link_id if more else None,
        }

    return await context.store.read(read)


async def revoke_link(context: Context, who: MerchantPrincipal, pay_link_id: str) -> dict[str, Any]:
    """Close a link; a payment that is under way through it still counts. Raises ``pay_link.closed``."""

    def revoke(uow: UnitOfWork) -> dict[str, Any]:
        row = merchants_link(uow, who.merchant_id, pay_link_id)
        if not end_link(uow, pay_link_id, PayLinkState.REVOKED) and row.state != PayLinkState.REVOKED:
            raise ConflictError("pay_link.closed", "This link has ended.", data={"state": row.state})
        return link_document(merchants_link(uow, who.merchant_id, pay_link_id), uow.now_ms)

    return await context.store.write(revoke)


async def open_link(context: Context, token: str, browser: str | None) -> LinkPage:
    """What the page shows now: everything is read again each time it is opened.

    ``browser`` is what the page gave to this browser when it left for the vault's page.
    """
    view = await context.store.read(lambda reader: link_view(reader, token))
    payee = context.catalog.current.merchant(view.merchant_id).name
    methods: tuple[StoredMethod, ...] = ()
    if view.is_payable and browser is not None and not context.cards_here:
        methods = tuple(await context.vault.methods(payer_of(view.pay_link_id, browser)))
    return LinkPage(view, payee, methods)


async def pay_with_card(context: Context, token: str, card: CardEntry) -> None:
    """Try a card that was typed into the page: only where the vault is inside, and takes test cards alone."""
    view = await _payable(context, token)
    if not context.cards_here:
        raise NotFoundError("pay_link.not_found", "Cards are entered on the vault's page.")
    await _count_entry(context, view)
    payer = payer_of(view.pay_link_id, new_browser())
    stored = await context.vault.tokenize(payer, card)
    await _pay(context, token, stored.payment_method_id, payer)


async def pay_with_entered(context: Context, token: str, payment_method_id: str, browser: str | None) -> None:
    """Try a card that was entered at the vault from this browser."""
    view = await _payable(context, token)
    payer = payer_of(view.pay_link_id, browser or new_browser())
    methods = await context.vault.methods(payer)
    if payment_method_id not in [method.payment_method_id for method in methods]:
        raise NotFoundError("payment_method.not_found", "There is no such card.")
    await _pay(context, token, payment_method_id, payer)


async def open_card_page(context: Context, token: str, browser: str) -> tuple[str, LinkView]:
    """Return the address of the vault's page on which the payer enters a card, which leads back here, and
    the link as it stands."""
    view = await _payable(context, token)
    await _count_entry(context, view)
    back = link_url(context, token)
    session = await context.vault.open_card_session(payer_of(view.pay_link_id, browser), back)
    return urljoin(context.process.base_url, session.url), view


def new_browser() -> str:
    """Return a secret for one browser."""
    return new_token()


async def _payable(context: Context, token: str) -> LinkView:
    view = await context.store.read(lambda reader: link_view(reader, token))
    if view.attempts >= MOST_ATTEMPTS:
        raise too_many_attempts()
    if not view.is_payable:
        raise ConflictError("pay_link.closed", "It cannot be paid now.", data={"state": view.state.value})
    return view


async def _count_entry(context: Context, view: LinkView) -> None:
    if not await context.store.write(lambda uow: count_entry(uow, view.pay_link_id)):
        raise too_many_attempts()


async def _pay(context: Context, token: str, payment_method_id: str, payer: str) -> None:
    action_ms = context.process.action_ms
    await context.store.write(
        lambda uow: pay_by_link(uow, token, payment_method_id, payer=payer, action_ms=action_ms)
    )


def _keep(uow: UnitOfWork, request: Request, made: MadeLink) -> None:
    keep_result(
        uow,
        request.principal,
        LINK_OPERATION,
        request.key,
        request.request_hash,
        {"pay_link_id": made.pay_link_id},
    )


def _reply(context: Context, order_id: str, made: MadeLink | None) -> dict[str, Any]:
    document: dict[str, Any] = {"order_id": order_id, "replayed": made is None}
    if made is not None:
        document["pay_link"] = made_document(context, made)
    return document
