"""The hosted wallet page: a device asks for its address, a browser opens it once and then looks around."""

from __future__ import annotations

from typing import Any

from gateway.commands.context import Context
from gateway.commands.wallet_items import get_item, list_items
from gateway.identity.model import new_secret
from gateway.identity.wallet_pages import (
    WalletSession,
    add_page,
    close_session,
    is_openable,
    open_session,
    session_of,
)
from gateway.kernel.clock import rfc3339

PAGE_PATH = "/wallet"
OPEN_PATH = "/wallet/open/"
PAGE_ITEMS = 24
_LONGEST_SECRET = 128


async def new_page(context: Context, customer_id: str) -> dict[str, Any]:
    """Return an address that opens the customer's wallet in one browser, once (``wallet.page``)."""
    secret = new_secret("")
    expires_at_ms = await context.store.write(
        lambda uow: add_page(uow, customer_id, secret), locks=(f"account:{customer_id}",)
    )
    return {
        "url": f"{context.process.base_url}{OPEN_PATH}{secret}",
        "expires_at": rfc3339(expires_at_ms),
    }


async def may_open(context: Context, secret: str) -> bool:
    """Whether an address would open now."""
    if len(secret) > _LONGEST_SECRET:
        return False
    return await context.store.read(lambda reader: is_openable(reader, secret))


async def open_page(context: Context, secret: str) -> str | None:
    """Use an address up and return the browser's session; None when it does not open any more."""
    if len(secret) > _LONGEST_SECRET:
        return None
    session = new_secret("")
    opened = await context.store.write(lambda uow: open_session(uow, secret, session))
    return session if opened else None


async def signed_in(context: Context, session: str | None) -> WalletSession | None:
    """Return whose wallet the browser may look into."""
    if session is None or len(session) > _LONGEST_SECRET:
        return None
    return await context.store.read(lambda reader: session_of(reader, session))


async def close_page(context: Context, session: str | None) -> None:
    """End the browser's session."""
    if session is not None and len(session) <= _LONGEST_SECRET:
        await context.store.write(lambda uow: close_session(uow, session))


async def items(context: Context, who: WalletSession, after: str | None) -> dict[str, Any]:
    """A page of the customer's items."""
    return await list_items(context, who.customer_id, after=after, limit=PAGE_ITEMS)


async def item(context: Context, who: WalletSession, leg_id: str) -> dict[str, Any]:
    """One of the customer's items; NotFoundError ``leg.not_found``."""
    return await get_item(context, who.customer_id, leg_id)
