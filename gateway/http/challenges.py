"""The hosted challenge page of the simulated acquirer: what a bank's page would be.

The result comes from the acquirer, never from the page: the button tells it, and the gateway asks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from html import escape
from typing import Literal

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from gateway.kernel.money import Money

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Approve payment</title><style>
body{{font:17px/1.5 system-ui,sans-serif;margin:0;min-height:100vh;display:grid;place-items:center;
background:#f3f1ec;color:#1d1b18}}
main{{background:#fff;padding:2rem 2.2rem;border-radius:14px;max-width:22rem;
box-shadow:0 8px 30px #0002}}
h1{{font-size:1.15rem;margin:0 0 .3rem}} strong{{font-size:2rem;display:block;margin:.6rem 0 1.2rem}}
button{{font:inherit;padding:.7rem 1.1rem;border-radius:9px;border:1px solid #1d1b18;background:#fff;
cursor:pointer}} button.go{{background:#1d1b18;color:#fff}} p{{color:#6b665d;font-size:.9rem}}
form{{display:flex;gap:.7rem}}
</style></head><body><main>{body}</main></body></html>"""


@dataclass(frozen=True, slots=True)
class ShownChallenge:
    """What the page shows. ``open`` is False once somebody has decided."""

    amount: Money
    open: bool


@dataclass(frozen=True, slots=True)
class Challenges:
    """What the page needs: look a challenge up, decide it, and have the order ask about it."""

    show: Callable[[str], Awaitable[ShownChallenge]]
    decide: Callable[[str, bool], Awaitable[None]]


def challenge_router(challenges: Challenges) -> APIRouter:
    """Return the routes of the page."""
    router = APIRouter(tags=["hosted pages"])

    @router.get("/pay/challenges/{action_id}", response_class=HTMLResponse)
    async def show(action_id: str) -> Response:
        found = await challenges.show(action_id)
        if not found.open:
            body = "<h1>Done</h1><p>You can close this page and go back to your headset.</p>"
        else:
            body = (
                "<h1>Did you start this purchase?</h1>"
                f"<strong>{escape(str(found.amount))}</strong>"
                f'<form method="post"><button class="go" formaction="{escape(action_id)}/approve">Approve'
                f'</button><button formaction="{escape(action_id)}/deny">No, refuse</button></form>'
                "<p>Simulated bank page: no real money moves.</p>"
            )
        return HTMLResponse(_PAGE.format(body=body), headers=_HEADERS)

    @router.post("/pay/challenges/{action_id}/{decision}")
    async def decide(action_id: str, decision: Literal["approve", "deny"]) -> Response:
        await challenges.decide(action_id, decision == "approve")
        return RedirectResponse(f"/pay/challenges/{action_id}", status_code=303, headers=_HEADERS)

    return router
