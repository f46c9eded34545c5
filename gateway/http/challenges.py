"""The hosted page of an action: the one place where a customer approves a payment on a second screen.

It is opened by its address, by a QR code or by a short code typed at ``/pay``, because a headset has no
keyboard and no browser that people trust. It shows payee, amount and goods, and leads to a passkey or to
the bank's own page. The result always comes from a checked assertion or from the provider: the page only
shows what the server says, and an action that was decided is never offered again.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from io import BytesIO
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs

from fastapi import APIRouter, Body, Cookie, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from gateway.commands import actions
from gateway.http import challenge_pages as pages
from gateway.http.callers import InContext
from gateway.http.challenge_limits import CodeGuesses
from gateway.kernel.errors import ConflictError, NotFoundError
from gateway.orders.actions import page_of
from gateway.payments.authentication_model import ENROL_WITHIN_MS, LONGEST_MS, is_decided

_HEADERS = {
    # Our own script, style and addresses alone; nobody may frame the page (clickjacking).
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Permissions-Policy": "publickey-credentials-get=(self), publickey-credentials-create=(self)",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    # The address opens the action, so no other site may learn it.
    "Referrer-Policy": "no-referrer",
}
_ASSETS = {"challenge.css": "text/css; charset=utf-8", "challenge.js": "text/javascript; charset=utf-8"}
_WRONG_CODE = "This code is not valid, or its time is over. Check it on your headset."

_SENT_BROWSER = "vitrine_sent"
"""The cookie of the browser that was sent to the bank, for one action's pages."""

Credential = Annotated[dict[str, Any], Body()]
SentBrowser = Annotated[str | None, Cookie(alias=_SENT_BROWSER, max_length=128)]

Proof = Annotated[str, Query(max_length=128)]
"""What the bank's page gives the browser that it sends back."""


def challenge_router(guesses: CodeGuesses | None = None) -> APIRouter:
    """Return the routes of the pages. ``guesses`` bounds wrong codes, for this process."""
    router = APIRouter(tags=["hosted pages"])
    limits = guesses or CodeGuesses()

    @router.get("/pay", response_class=HTMLResponse)
    async def enter_code() -> Response:
        return _html(pages.code_page())

    @router.post("/pay", response_class=HTMLResponse)
    async def check_code(request: Request, context: InContext) -> Response:
        address = request.client.host if request.client is not None else ""
        wait_ms = limits.begin(address, context.clock.now_ms())
        if wait_ms:
            page = _html(pages.code_page("Too many wrong codes. Try again later."), 429)
            page.headers["Retry-After"] = str(wait_ms // 1000 + 1)
            return page
        found = await actions.find_by_code(context, _typed(await request.body()))
        if found is None:
            return _html(pages.code_page(_WRONG_CODE), 404)
        limits.right(address)
        return RedirectResponse(f"/pay/challenges/{found}", status_code=303, headers=_HEADERS)

    @router.get("/pay/assets/{name}")
    async def asset(name: Literal["challenge.css", "challenge.js"]) -> Response:
        headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "max-age=3600"}
        return Response(_asset(name), media_type=_ASSETS[name], headers=headers)

    @router.get("/pay/challenges/{action_id}", response_class=HTMLResponse)
    async def show(action_id: str, context: InContext, browser: SentBrowser = None) -> Response:
        try:
            view, passkey = await actions.open_page(context, action_id)
        except NotFoundError:
            return _html(pages.unknown_page(), 404)
        payee = actions.payee_name(context, view)
        if not is_decided(view.state):
            return _html(pages.approval_page(view, payee, passkey=passkey))
        enrol = context.passkeys is not None and actions.may_enrol(view, None, browser)
        return _html(pages.decided_page(view, payee, enrol=enrol))

    @router.get("/pay/challenges/{action_id}/bank")
    async def to_bank(action_id: str, context: InContext, browser: SentBrowser = None) -> Response:
        page = f"/pay/challenges/{action_id}"
        try:
            sent = await actions.go_to_bank(context, action_id, browser)
        except NotFoundError:
            return _html(pages.unknown_page(), 404)
        if sent is None:
            return RedirectResponse(page, status_code=303, headers=_HEADERS)
        address, browser = sent
        answer = RedirectResponse(address, status_code=303, headers=_HEADERS)
        answer.set_cookie(
            _SENT_BROWSER,
            browser,
            max_age=(LONGEST_MS + ENROL_WITHIN_MS) // 1000,
            path=page,
            secure=context.process.base_url.startswith("https://"),
            httponly=True,
            samesite="lax",  # the bank's page leads back to ours
        )
        return answer

    @router.get("/pay/challenges/{action_id}/back")
    async def back(
        action_id: str, context: InContext, proof: Proof = "", browser: SentBrowser = None
    ) -> Response:
        try:
            await actions.back_from_bank(context, action_id, browser, proof)
        except NotFoundError:
            return _html(pages.unknown_page(), 404)
        return RedirectResponse(f"/pay/challenges/{action_id}", status_code=303, headers=_HEADERS)

    @router.get("/pay/challenges/{action_id}/state")
    async def state(action_id: str, context: InContext) -> Response:
        return JSONResponse(await actions.page_state(context, action_id), headers=_HEADERS)

    @router.get("/pay/challenges/{action_id}/qr.svg")
    async def picture(action_id: str, context: InContext) -> Response:
        await actions.page_state(context, action_id)
        return Response(
            _qr(page_of(context.process, action_id)), media_type="image/svg+xml", headers=_HEADERS
        )

    @router.post("/pay/challenges/{action_id}/deny")
    async def deny(action_id: str, context: InContext) -> Response:
        try:
            await actions.page_deny(context, action_id)
        except ConflictError:
            pass  # decided meanwhile: the page says how
        except NotFoundError:
            return _html(pages.unknown_page(), 404)
        return RedirectResponse(f"/pay/challenges/{action_id}", status_code=303, headers=_HEADERS)

    @router.post("/pay/challenges/{action_id}/passkey/options")
    async def passkey_options(action_id: str, context: InContext) -> Response:
        return JSONResponse(await actions.page_request(context, action_id), headers=_HEADERS)

    @router.post("/pay/challenges/{action_id}/passkey")
    async def passkey(action_id: str, credential: Credential, context: InContext) -> Response:
        answer = await actions.page_authenticate(context, action_id, credential)
        return JSONResponse(answer, headers=_HEADERS)

    @router.post("/pay/challenges/{action_id}/enrol/options")
    async def enrol_options(action_id: str, context: InContext, browser: SentBrowser = None) -> Response:
        options = await actions.enrol_options(context, action_id, browser=browser)
        return JSONResponse(options, headers=_HEADERS)

    @router.post("/pay/challenges/{action_id}/enrol")
    async def enrol(
        action_id: str, credential: Credential, context: InContext, browser: SentBrowser = None
    ) -> Response:
        name = "Added on the payment page"
        passkey_id = await actions.enrol(context, action_id, credential, name, browser=browser)
        return JSONResponse({"passkey_id": passkey_id}, headers=_HEADERS)

    return router


def _typed(body: bytes) -> str:
    """Return the code of the form; empty for what no form of ours sends."""
    try:
        form = parse_qs(body.decode("ascii"), max_num_fields=5)
    except ValueError:
        return ""
    return form.get("code", [""])[0]


def _html(text: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(text, status_code=status, headers=_HEADERS)


@cache
def _asset(name: str) -> bytes:
    return resources.files("gateway.http.assets").joinpath(name).read_bytes()


def _qr(address: str) -> bytes:
    """Return a QR code that opens the page, as SVG: dark on white with its quiet zone, whatever is behind."""
    import segno

    made = BytesIO()
    segno.make(address, error="m", micro=False).save(
        made, kind="svg", scale=8, border=4, dark="#000", light="#fff", xmldecl=False, title="Approve payment"
    )
    return made.getvalue()
