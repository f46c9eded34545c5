"""The HTTP application with its routers and errors, and the front that tells sockets from requests."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.commands.context import Context
from gateway.http import (
    action_api,
    card_entry,
    customer_api,
    guardian_api,
    merchant_api,
    merchant_payments,
    pay_links,
    problems,
    public,
    token_metadata,
    wallet_links,
    wallet_pages,
    world_api,
)
from gateway.http.challenges import challenge_router
from gateway.http.limits import BodyLimit
from gateway.http.reference import reference_router

CONNECT_PATH = "/v1/connect"


class Front:
    """The gateway's ASGI application: sockets to the session shell, everything else to the HTTP application.

    Sockets pass by the HTTP application's middleware, which would cost memory for as long as a connection
    is open and time for every message.
    """

    def __init__(self, http: ASGIApp, sockets: ASGIApp) -> None:
        self._http = http
        self._sockets = sockets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self._http(scope, receive, send)
        elif scope["path"] == CONNECT_PATH:
            await self._sockets(scope, receive, send)
        else:
            await _no_socket_here(receive, send)


async def _no_socket_here(receive: Receive, send: Send) -> None:
    await receive()
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "websocket.http.response.start", "status": 404, "headers": headers})
    body = f"the socket is at {CONNECT_PATH}\n".encode()
    await send({"type": "websocket.http.response.body", "body": body})


def create_api(
    context: Context, outside: Sequence[BaseRoute] = (), card_pages: Sequence[BaseRoute] = ()
) -> FastAPI:
    """Return the HTTP application.

    ``outside`` are pages of an outside world that runs in this process: the simulated acquirer's bank.
    ``card_pages`` are the pages of a vault inside this process. Without them the vault is apart, and no
    route takes a card number.
    """
    app = FastAPI(
        title="Vitrine",
        version="1",
        description="Commerce gateway for AR glasses, headsets, games and virtual worlds. "
        "The socket protocol is described at /v1/asyncapi.json.",
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.context = context
    problems.install(app)
    app.add_middleware(BodyLimit)
    app.include_router(public.router)
    app.include_router(token_metadata.router)
    app.include_router(customer_api.router)
    app.include_router(wallet_links.router)
    app.include_router(wallet_pages.router)
    app.include_router(action_api.router)
    app.include_router(guardian_api.router)
    app.include_router(merchant_api.router)
    app.include_router(world_api.players)
    app.include_router(world_api.router)
    app.include_router(card_entry.router)
    app.include_router(card_entry.embedded if card_pages else card_entry.apart)
    app.router.routes.extend(card_pages)
    app.include_router(merchant_payments.router)
    # Before the pages of challenges, whose assets are a closed list.
    app.include_router(pay_links.router)
    app.include_router(challenge_router())
    app.include_router(reference_router(app))
    app.router.routes.extend(outside)
    return app
