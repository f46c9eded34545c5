"""The hosted wallet: a customer's digital items with pictures and in 3D, in any browser.

A device's token never comes into a browser. The device asks for an address (``wallet.page``); it opens once,
by a button, so that a program that only follows links does not use it up; and the browser gets a cookie of
its own, for a quarter of an hour and for looking alone.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Cookie, Header, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from gateway.commands import wallet_page as commands
from gateway.commands.wallet_page import OPEN_PATH, PAGE_PATH
from gateway.http import wallet_html as pages
from gateway.http.callers import AsDevice, InContext
from gateway.identity.wallet_pages import SESSION_MS
from gateway.kernel.errors import NotFoundError

router = APIRouter(tags=["hosted pages"])

_HEADERS = {
    # Our own script, style, pictures and models alone; nobody may frame the page.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    # The address opens the wallet, so no other site may learn it.
    "Referrer-Policy": "no-referrer",
}
_ASSETS = {
    "wallet.css": "text/css; charset=utf-8",
    "viewer.js": "text/javascript; charset=utf-8",
    "wallet-icon.svg": "image/svg+xml",
}
_COOKIE = "vitrine_wallet"
"""The cookie of a browser that opened a wallet."""

Session = Annotated[str | None, Cookie(alias=_COOKIE)]
Sender = Annotated[str, Header(alias="Sec-Fetch-Site")]
"""Which site a request comes from, as browsers tell over https and on the machine itself (Fetch Metadata)."""


@router.post("/v1/wallet/pages", status_code=201, tags=["customer"])
async def new_page(context: InContext, who: AsDevice) -> Any:
    """An address that opens the customer's wallet in one browser, once (``wallet.page``)."""
    return await commands.new_page(context, who.customer_id)


@router.get("/wallet/assets/{name}", include_in_schema=False)
async def asset(name: Literal["wallet.css", "viewer.js", "wallet-icon.svg"]) -> Response:
    """Style, script and icon of the pages."""
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "max-age=3600"}
    return Response(_asset(name), media_type=_ASSETS[name], headers=headers)


@router.get(OPEN_PATH + "{secret}", response_class=HTMLResponse, include_in_schema=False)
async def ask(secret: str, context: InContext) -> Response:
    """The button that opens the wallet."""
    if not await commands.may_open(context, secret):
        return _html(pages.ended_page(), 404)
    return _html(pages.opening_page(f"{OPEN_PATH}{secret}"))


@router.post(OPEN_PATH + "{secret}", include_in_schema=False)
async def enter(secret: str, context: InContext, sender: Sender = "same-origin") -> Response:
    """Use the address up: from now on this browser alone may look. A form of another site presses no button
    here: it would put a stranger's wallet in the place of the customer's own."""
    if sender not in ("same-origin", "none"):
        return await ask(secret, context)
    session = await commands.open_page(context, secret)
    if session is None:
        return _html(pages.ended_page(), 404)
    answer = RedirectResponse(PAGE_PATH, status_code=303, headers=_HEADERS)
    answer.set_cookie(
        _COOKIE,
        session,
        max_age=SESSION_MS // 1000,
        path=PAGE_PATH,
        secure=context.process.base_url.startswith("https://"),
        httponly=True,
        samesite="strict",
    )
    return answer


@router.get(PAGE_PATH, response_class=HTMLResponse, include_in_schema=False)
async def show(
    context: InContext, session: Session = None, after: Annotated[str | None, Query(max_length=64)] = None
) -> Response:
    """The customer's items, newest first."""
    who = await commands.signed_in(context, session)
    if who is None:
        return _html(pages.ended_page(), 401)
    page = await commands.items(context, who, after)
    return _html(pages.wallet_page(page, is_first=after is None))


@router.get(PAGE_PATH + "/items/{leg_id}", response_class=HTMLResponse, include_in_schema=False)
async def show_item(leg_id: str, context: InContext, session: Session = None) -> Response:
    """One item with its 3D view. Another customer's looks like none."""
    who = await commands.signed_in(context, session)
    if who is None:
        return _html(pages.ended_page(), 401)
    try:
        found = await commands.item(context, who, leg_id)
    except NotFoundError:
        return _html(pages.unknown_item_page(), 404)
    return _html(pages.item_page(found))


@router.post(PAGE_PATH + "/close", include_in_schema=False)
async def close(context: InContext, session: Session = None) -> Response:
    """End this browser's session."""
    await commands.close_page(context, session)
    answer = _html(pages.closed_page())
    if session is not None:
        # A form of another site brings no cookie, and takes none.
        answer.delete_cookie(_COOKIE, path=PAGE_PATH)
    return answer


def _html(text: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(text, status_code=status, headers=_HEADERS)


@cache
def _asset(name: str) -> bytes:
    return resources.files("gateway.http.assets").joinpath(name).read_bytes()
