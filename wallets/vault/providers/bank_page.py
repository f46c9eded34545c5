"""The issuer's own page for a challenge, as the simulated acquirer shows it (3-D Secure's challenge).

It belongs to the outside world: whoever runs the acquirer mounts it, the gateway only links to it. The
decision is told to the acquirer, and the gateway asks there; nothing is inferred from this page.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from html import escape
from typing import Protocol

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.kernel.errors import NotFoundError
from gateway.kernel.subjects import OperationId
from wallets.vault.providers.port import Outcome
from wallets.vault.providers.simulated import ACTION_PATH as BANK_PATH
from wallets.vault.providers.simulated import Challenge

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Simulated bank</title><style>
body{{font:17px/1.5 system-ui,sans-serif;margin:0;min-height:100vh;min-height:100dvh;display:grid;
place-items:center;background:#e8eef6;color:#14233a;padding:1rem;box-sizing:border-box}}
main{{background:#fff;padding:1.75rem;border-radius:14px;width:100%;max-width:23rem;box-sizing:border-box;
box-shadow:0 8px 30px #0f2a5220}}
.bank{{font-weight:700;color:#1f4e9c;margin:0 0 1rem}} h1{{font-size:1.25rem;margin:0 0 .3rem}}
strong{{font-size:2rem;display:block;margin:.4rem 0 1.2rem}}
button{{font:inherit;font-weight:600;padding:.8rem 1rem;border-radius:10px;border:1px solid #b9c6da;
background:#fff;color:inherit;cursor:pointer;width:100%}}
button.go{{background:#1f4e9c;border-color:#1f4e9c;color:#fff}} p{{color:#55637a;font-size:.9rem}}
form{{display:grid;gap:.7rem}}
</style></head><body><main><p class="bank">Simulated bank</p>{body}
<p>This page stands for your bank&rsquo;s. No real money moves.</p></main></body></html>"""


class Acquirer(Protocol):
    """The part of the simulated acquirer that its bank page needs."""

    async def challenge(self, action_id: str) -> Challenge: ...
    async def complete_challenge(self, action_id: str, approved: bool) -> Challenge: ...


Decided = Callable[[OperationId], Awaitable[str | None]]


def bank_routes(acquirer: Acquirer, decided: Decided | None = None) -> list[BaseRoute]:
    """Return the routes of the page. ``decided`` is called with the operation that was decided about, and
    returns where the browser is sent back to, if it is known."""

    async def show(request: Request) -> Response:
        try:
            found = await acquirer.challenge(request.path_params["action_id"])
        except NotFoundError:
            return _html("<h1>There is nothing to approve here</h1>", 404)
        return _html(_body(found))

    async def decide(request: Request) -> Response:
        action_id, decision = request.path_params["action_id"], request.path_params["decision"]
        try:
            if decision not in ("approve", "deny"):
                raise NotFoundError("challenge.unknown", "There is no such decision.")
            before = await acquirer.challenge(action_id)
            found = await acquirer.complete_challenge(action_id, decision == "approve")
        except NotFoundError:
            return _html("<h1>There is nothing to approve here</h1>", 404)
        back = None if decided is None else await decided(found.operation_id)
        if back is None or decision != "approve" or before.outcome is not Outcome.REQUIRES_ACTION:
            # Who comes after the decision was not authenticated by it, and has nothing to bring back.
            back = f"{BANK_PATH}{action_id}"
        return RedirectResponse(back, status_code=303, headers=_HEADERS)

    return [
        Route(f"{BANK_PATH}{{action_id}}", show, methods=["GET"]),
        Route(f"{BANK_PATH}{{action_id}}/{{decision}}", decide, methods=["POST"]),
    ]


def _html(body: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(_PAGE.format(body=body), status_code=status, headers=_HEADERS)


def _body(found: Challenge) -> str:
    if found.outcome is not Outcome.REQUIRES_ACTION:
        return "<h1>Done</h1><p>You can close this page and go back to your headset.</p>"
    action = escape(found.action_id)
    return (
        f"<h1>Confirm this card payment</h1><strong>{escape(str(found.amount))}</strong>"
        f'<form method="post"><button class="go" formaction="{action}/approve">Confirm</button>'
        f'<button formaction="{action}/deny">Refuse</button></form>'
    )
