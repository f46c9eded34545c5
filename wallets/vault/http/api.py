"""The vault's ASGI application: calls of gateways, pages of customers, health."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.kernel.errors import InvalidError, NotFoundError, VitrineError
from wallets.vault.audit import Actor, acting_as
from wallets.vault.http.access import Access
from wallets.vault.http.bodies import body_of, origin_of
from wallets.vault.http.calls import CALLS
from wallets.vault.http.problems import problem
from wallets.vault.http.wire import dumps, loads
from wallets.vault.port import OperationPage, OperationResult, Vault

log = structlog.get_logger("vitrine.vault")

MOST_BYTES = 256 * 1024
_HEADERS = {"Cache-Control": "no-store"}


class Calls:
    """Answers ``POST /v1/<call>`` by calling the vault."""

    def __init__(self, vault: Vault, access: Access, pages_url: str) -> None:
        self._access = access
        self._pages_url = pages_url
        self._methods = {name: getattr(vault, name) for name in CALLS}

    async def __call__(self, request: Request) -> Response:
        call = CALLS.get(request.path_params["call"])
        if call is None:
            raise NotFoundError("request.unknown", "There is no such call.")
        authorization = request.headers.get("authorization", "")
        origin = origin_of(request)
        caller = await self._access.allow(authorization, call.roles, call.name, origin)
        arguments = call.decode_arguments(loads(await body_of(request, MOST_BYTES)))
        with acting_as(Actor(caller.role, caller.name, origin)):
            result = await self._methods[call.name](**arguments)
        result = _with_addresses(result, self._pages_url)
        return Response(dumps(call.result.encode(result)), 200, _HEADERS, "application/json")


def _with_addresses(result: Any, pages_url: str) -> Any:
    """Make the paths of hosted pages absolute: they are pages of this process, not of the gateway."""
    if isinstance(result, OperationPage):
        shown = tuple(_with_addresses(one, pages_url) for one in result.operations)
        return replace(result, operations=shown)
    if not isinstance(result, OperationResult) or result.action is None:
        return result
    path = result.action.path
    if not path.startswith("/"):
        return result
    return replace(result, action=replace(result.action, path=pages_url + path))


def create_vault_api(
    vault: Vault, access: Access, more: Sequence[BaseRoute] = (), *, pages_url: str
) -> ASGIApp:
    """Return the application. ``more`` are the routes of pages, which browsers reach at ``pages_url``."""
    calls = Calls(vault, access, pages_url)
    app = Starlette(
        routes=[
            *more,
            Route("/v1/{call}", calls.__call__, methods=["POST"]),
            Route("/healthz", _health, methods=["GET"]),
        ],
        exception_handlers={VitrineError: _ours, HTTPException: _framework},
    )
    return Guard(app)


async def _health(request: Request) -> Response:
    return Response(b'{"status":"ok"}', media_type="application/json")


async def _ours(request: Request, error: Any) -> Response:
    return problem(error)


async def _framework(request: Request, error: Any) -> Response:
    """The framework's own refusals: an unknown path, a wrong method."""
    if error.status_code == 404:
        return problem(NotFoundError("request.unknown", "There is no such page or call."))
    return problem(InvalidError("request.invalid", "This cannot be asked here like that."))


class Guard:
    """Answers a surprise with a problem document and logs its type alone.

    Neither the text nor the frames, which a server would print: they may hold what was sent.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            return  # whoever asked is gone, and asks again
        except Exception as error:
            log.error("vault.request_failed", path=scope["path"].split("/")[1], error=type(error).__name__)
            if not started:
                await problem(VitrineError("internal", "Something failed in the vault."))(
                    scope, receive, send
                )
