"""The page on which a customer enters a card, and what its script sends.

The page has one script and one style sheet, both from this process and both named with their hash in the
page (PCI DSS 6.4.3, 11.6.1); `assets/inventory.json` is the list of scripts with the reason for each, and the
process does not start when a file differs from it. Form fields have no names and the form no address:
without its script the page cannot send anything.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from pathlib import Path
from typing import Any

from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from gateway.kernel.errors import NotFoundError, VitrineError
from wallets.vault.audit import Actor, acting_as
from wallets.vault.card_intake import CardIntake
from wallets.vault.card_sessions import SessionState
from wallets.vault.http.bodies import body_of, origin_of
from wallets.vault.http.problems import problem
from wallets.vault.http.wire import WireError, dumps, loads
from wallets.vault.port import CardKey
from wallets.vault.sealed_cards import LONGEST

_ASSETS = Path(__file__).parent / "assets"
_TYPES = {".js": "text/javascript", ".css": "text/css"}
_MOST_BYTES = LONGEST + 1024

PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'none'; "
        "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=(), clipboard-read=()",
    "Strict-Transport-Security": "max-age=31536000",
}


class AssetsChangedError(RuntimeError):
    """A file of the page is not the one that was checked in with the inventory."""


def integrity(data: bytes) -> str:
    """Return the hash of a file as a page names it (Subresource Integrity)."""
    return "sha384-" + base64.b64encode(hashlib.sha384(data).digest()).decode()


def inventory() -> list[dict[str, Any]]:
    """Return the list of what the page may load."""
    entries: list[dict[str, Any]] = from_json((_ASSETS / "inventory.json").read_bytes())
    return entries


class CardPages:
    """The page of one vault."""

    def __init__(self, intake: CardIntake) -> None:
        self._intake = intake
        self._files: dict[str, tuple[bytes, str]] = {}
        for entry in inventory():
            name = str(entry["file"])
            data = (_ASSETS / name).read_bytes()
            if integrity(data) != entry["integrity"]:
                raise AssetsChangedError(f"{name} is not the file of the inventory")
            self._files[name] = (data, str(entry["integrity"]))
        self._page = (_ASSETS / "card.html").read_text()

    def routes(self) -> list[Route]:
        """Return the routes, all under ``/cards/``."""
        return [
            Route("/cards/assets/{name}", self._asset, methods=["GET"]),
            Route("/cards/{secret}", self._show, methods=["GET"]),
            Route("/cards/{secret}", self._enter, methods=["POST"]),
        ]

    async def _asset(self, request: Request) -> Response:
        found = self._files.get(request.path_params["name"])
        if found is None:
            return problem(NotFoundError("page.not_found", "There is no such file."))
        name = request.path_params["name"]
        return Response(found[0], media_type=_TYPES[Path(name).suffix], headers=PAGE_HEADERS)

    async def _show(self, request: Request) -> Response:
        try:
            state = await self._intake.state(request.path_params["secret"])
        except NotFoundError:
            return HTMLResponse(self._over(), 404, PAGE_HEADERS)
        if state.method is not None:
            return HTMLResponse(self._done(state), 200, PAGE_HEADERS)
        if not state.is_open:
            return HTMLResponse(self._over(), 410, PAGE_HEADERS)
        return HTMLResponse(self._filled(await self._intake.key()), 200, PAGE_HEADERS)

    async def _enter(self, request: Request) -> Response:
        """Answer the script: the method, or a problem document whose ``param`` names the field."""
        secret = request.path_params["secret"]
        try:
            document = loads(await body_of(request, _MOST_BYTES))
            if not isinstance(document, dict) or document.keys() != {"sealed"}:
                raise WireError("$", "Only the encrypted card is expected.")
            if not isinstance(document["sealed"], str):
                raise WireError("$.sealed", "Must be a text.")
            with acting_as(Actor("customer", "card page", origin_of(request))):
                stored = await self._intake.enter(secret, document["sealed"])
            state = await self._intake.state(secret)
        except VitrineError as error:
            return problem(error)
        answer = {"brand": stored.brand, "last4": stored.last4, "return_url": state.return_url}
        return Response(dumps(answer), media_type="application/json", headers={"Cache-Control": "no-store"})

    def _filled(self, key: CardKey | None) -> str:
        return self._page.format(
            css_hash=self._files["card.css"][1],
            js_hash=self._files["card.js"][1],
            key_id=escape("" if key is None else key.key_id),
            modulus=escape("" if key is None else key.modulus),
            exponent=escape("" if key is None else key.exponent),
            now_s=0 if key is None else key.now_s,
        )

    def _without_script(self) -> str:
        """A page that only tells something needs no script."""
        lines = [line for line in self._filled(None).splitlines() if not line.startswith("<script")]
        page = "\n".join(lines).replace('<form id="entry"', '<form id="entry" hidden')
        return page.replace("<title>Add a card", "<title>Card")

    def _over(self) -> str:
        return self._without_script().replace('<section id="over" hidden', '<section id="over"')

    def _done(self, state: SessionState) -> str:
        """What the page shows later: to whoever has its address, so nothing of the card."""
        page = (
            self._without_script()
            .replace('<section id="done" hidden', '<section id="done"')
            .replace("<title>Card", "<title>Card saved")
        )
        if state.return_url is not None:
            # Whoever came from a shop is not done: nobody may take a stored card for a payment.
            page = (
                page.replace('<p id="stay" class="lead">', '<p id="stay" class="lead" hidden>')
                .replace('<p id="go-on" class="lead" hidden>', '<p id="go-on" class="lead">')
                .replace(
                    '<a id="back" class="button" hidden>',
                    f'<a id="back" class="button" href="{escape(state.return_url)}">',
                )
            )
        return page
