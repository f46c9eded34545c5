"""The HTTP application with its routers and errors, and the front that tells sockets from requests."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.commands.context import Context
from gateway.http import customer_api, merchant_api, problems, public, token_metadata
from gateway.http.challenges import Challenges, challenge_router
from gateway.http.limits import BodyLimit

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


def create_api(context: Context, challenges: Challenges | None) -> FastAPI:
    """Return the HTTP application. ``challenges`` only with the simulated acquirer."""
    app = FastAPI(
        title="Vitrine",
        version="1",
        description="Commerce gateway for AR glasses, headsets, games and virtual worlds. "
        "The socket protocol is described at /v1/asyncapi.json.",
        openapi_url="/v1/openapi.json",
        docs_url="/docs",
        redoc_url=None,
    )
    app.state.context = context
    problems.install(app)
    app.add_middleware(BodyLimit)
    app.include_router(public.router)
    app.include_router(token_metadata.router)
    app.include_router(customer_api.router)
    app.include_router(merchant_api.router)
    if challenges is not None:
        app.include_router(challenge_router(challenges))
    return app
