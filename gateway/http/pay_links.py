"""The public page of a pay link. Whoever has the address may look and pay; nothing tells of the customer."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Cookie, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from gateway.commands import pay_links as commands
from gateway.http import pay_link_pages as pages
from gateway.http.callers import InContext
from gateway.http.qr import qr_svg
from gateway.kernel.errors import InvalidError, NotFoundError, UnavailableError, VitrineError
from gateway.payments.pay_links import PAGE_PATH
from wallets.vault.port import CardEntry

_HEADERS = {
    # No script at all; nobody may frame the page.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    # The address pays: no other site may learn it.
    "Referrer-Policy": "no-referrer",
}
_MOST_FORM_BYTES = 4096
_MALFORMED = "Check the card number, the date and the code."
_PAYER = "vitrine_payer"
"""The cookie of a browser from which a card was entered, for one link's page."""

Browser = Annotated[str | None, Cookie(alias=_PAYER, max_length=128)]

router = APIRouter(tags=["hosted pages"])


@router.get("/pay/assets/pay-link.css")
async def stylesheet() -> Response:
    """The style of the page."""
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "max-age=3600"}
    return Response(_style(), media_type="text/css; charset=utf-8", headers=headers)


@router.get(PAGE_PATH + "{token}", response_class=HTMLResponse)
async def show(token: str, context: InContext, browser: Browser = None) -> Response:
    """The page: what is to be paid, to whom, and how it stands."""
    return await _page(context, token, browser)


@router.get(PAGE_PATH + "{token}/qr.svg")
async def picture(token: str, context: InContext) -> Response:
    """The address as a QR code, for a second screen."""
    try:
        await commands.open_link(context, token, None)
    except NotFoundError:
        return _html(pages.unknown_link_page(), 404)
    svg = qr_svg(commands.link_url(context, token), "Pay")
    return Response(svg, media_type="image/svg+xml", headers=_HEADERS)


@router.post(PAGE_PATH + "{token}/card-test")
async def pay_with_test_card(token: str, request: Request, context: InContext) -> Response:
    """Pay with a test card: only while the vault is inside this process."""
    if not context.cards_here:
        return _html(pages.unknown_link_page(), 404)
    try:
        card = _card(await _form(request))
        await commands.pay_with_card(context, token, card)
    except VitrineError as error:
        return await _problem(context, token, error)
    return _back(token)


@router.post(PAGE_PATH + "{token}/card")
async def enter_card(token: str, context: InContext, browser: Browser = None) -> Response:
    """To the vault's page for entering a card. The card is this browser's, whoever else has the address."""
    browser = browser or commands.new_browser()
    try:
        url, view = await commands.open_card_page(context, token, browser)
    except VitrineError as error:
        return await _problem(context, token, error, browser)
    page = _html(pages.leaving_page(url))
    page.set_cookie(
        _PAYER,
        browser,
        max_age=(view.expires_at_ms - context.clock.now_ms()) // 1000,
        path=f"{PAGE_PATH}{token}",
        secure=context.process.base_url.startswith("https://"),
        httponly=True,
        samesite="lax",  # the vault's page leads back to ours
    )
    return page


@router.post(PAGE_PATH + "{token}/pay")
async def pay_with_entered(
    token: str, request: Request, context: InContext, browser: Browser = None
) -> Response:
    """Pay with a card that was entered on the vault's page, from this browser."""
    try:
        form = await _form(request)
        await commands.pay_with_entered(context, token, form.get("method", ""), browser)
    except VitrineError as error:
        return await _problem(context, token, error, browser)
    return _back(token)


async def _page(
    context: InContext, token: str, browser: str | None, *, problem: str = "", status: int = 200
) -> Response:
    try:
        page = await commands.open_link(context, token, browser)
    except NotFoundError:
        return _html(pages.unknown_link_page(), 404)
    return _html(pages.link_page(token, page, cards_here=context.cards_here, problem=problem), status)


async def _problem(
    context: InContext, token: str, error: VitrineError, browser: str | None = None
) -> Response:
    """Show what went wrong on the page; where the link's state explains it, the page does so by itself."""
    problem, status = _MALFORMED if error.code == "card.invalid" else error.message, 409
    if isinstance(error, NotFoundError):
        problem, status = "", 404
    elif isinstance(error, UnavailableError):
        problem, status = "This cannot be checked now. Try again.", 503
    elif isinstance(error, InvalidError):
        status = 400
    return await _page(context, token, browser, problem=problem, status=status)


def _back(token: str) -> Response:
    return RedirectResponse(f"{PAGE_PATH}{token}", status_code=303, headers=_HEADERS)


async def _form(request: Request) -> dict[str, str]:
    body = await request.body()
    if len(body) > _MOST_FORM_BYTES:
        raise InvalidError("card.invalid", _MALFORMED)
    try:
        fields = parse_qs(body.decode("ascii", errors="replace"), max_num_fields=10)
    except ValueError as error:
        # More fields than any of our forms has.
        raise InvalidError("card.invalid", _MALFORMED) from error
    return {name: values[0] for name, values in fields.items()}


def _card(form: dict[str, str]) -> CardEntry:
    month, _, year = form.get("expiry", "").replace(" ", "").partition("/")
    if not year:
        month, year = month[:2], month[2:]
    if not (month.isascii() and month.isdigit() and year.isascii() and year.isdigit()):
        raise InvalidError("card.invalid", _MALFORMED, param="$.expiry")
    full_year = int(year) if len(year) == 4 else 2000 + int(year[-2:])
    return CardEntry.typed(form.get("number", ""), int(month), full_year, form.get("code", ""))


def _html(text: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(text, status_code=status, headers=_HEADERS)


@cache
def _style() -> bytes:
    return resources.files("gateway.http.assets").joinpath("pay-link.css").read_bytes()
