"""What operators and auditors ask of a running vault over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from gateway.kernel.clock import parse_rfc3339
from gateway.kernel.errors import InvalidError
from wallets.vault.audit import Action, Actor, note
from wallets.vault.audit_keeping import export_audit
from wallets.vault.credentials import Role
from wallets.vault.http.access import Access
from wallets.vault.http.bodies import origin_of
from wallets.vault.http.wire import dumps
from wallets.vault.whole import WholeVault

_READERS = frozenset({Role.AUDITOR, Role.OPERATOR})
_OPERATORS = frozenset({Role.OPERATOR})
_FOREVER_MS = 2**62


class Operating:
    """Reading the audit trail, and having cards encrypted to a new key."""

    def __init__(self, vault: WholeVault, access: Access) -> None:
        self._vault = vault
        self._access = access

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/v1/audit", self._audit, methods=["GET"]),
            Route("/v1/card-keys", self._rotate_card_key, methods=["POST"]),
        ]

    async def _audit(self, request: Request) -> Response:
        """The trail from one time (``from``) to another (``to``), RFC 3339, as JSON lines, oldest first."""
        actor = await self._actor(request, _READERS, "audit")
        from_ms = _time(request, "from", 0)
        until_ms = _time(request, "to", _FOREVER_MS)

        async def lines() -> AsyncIterator[bytes]:
            async for row in export_audit(self._vault.store, actor, from_ms, until_ms):
                yield dumps(row) + b"\n"

        return StreamingResponse(
            lines(), media_type="application/x-ndjson", headers={"Cache-Control": "no-store"}
        )

    async def _rotate_card_key(self, request: Request) -> Response:
        actor = await self._actor(request, _OPERATORS, "card-keys")
        key_id = await self._vault.intake.keys.rotate()
        await self._vault.store.write(
            lambda uow: note(uow, actor, Action.KEY_REGISTER, key_id, detail="card key")
        )
        return Response(dumps({"key_id": key_id}), 201, media_type="application/json")

    async def _actor(self, request: Request, roles: frozenset[Role], call: str) -> Actor:
        origin = origin_of(request)
        caller = await self._access.allow(request.headers.get("authorization", ""), roles, call, origin)
        return Actor(caller.role, caller.name, origin)


def _time(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        return parse_rfc3339(text)
    except ValueError:
        raise InvalidError("request.invalid", "Must be a time of RFC 3339.", param=f"$.{name}") from None
