"""Where providers tell the vault of events: ``POST /v1/webhooks/<provider>``, and asking about them."""

from __future__ import annotations

import asyncio

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.kernel.errors import NotFoundError
from wallets.vault.http.bodies import body_of
from wallets.vault.webhooks import LONGEST_BODY
from wallets.vault.whole import WholeVault

log = structlog.get_logger("vitrine.vault")

_SAFETY_NET_S = 15.0


class WebhookRoute:
    """Takes events in; asks the provider about what they name, soon after they were written down."""

    def __init__(self, vault: WholeVault) -> None:
        self._vault = vault
        # Each provider has its own: one that is silent must not keep the others' events waiting.
        self._waiting = {name: asyncio.Event() for name in vault.webhook_senders()}
        self._loops: list[asyncio.Task[None]] = []

    def routes(self) -> list[Route]:
        """Return the route. It has no credential: an event is believed by its signature alone."""
        return [Route("/v1/webhooks/{provider}", self._receive, methods=["POST"])]

    def start(self) -> None:
        """Begin, with what was written down before."""
        for name, waiting in self._waiting.items():
            waiting.set()
            self._loops.append(asyncio.create_task(self._forever(name), name=f"vault-webhooks-{name}"))

    async def stop(self) -> None:
        """End between two rounds."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        self._loops = []

    async def _receive(self, request: Request) -> Response:
        provider = request.path_params["provider"]
        if not self._vault.takes_webhooks(provider):
            # Before the body: nothing is read for somebody who cannot be meant.
            raise NotFoundError("webhook.unknown_provider", "Nobody of this name sends webhooks here.")
        body = await body_of(request, LONGEST_BODY)
        await self._vault.receive_webhook(provider, dict(request.headers), body)
        self._waiting[provider].set()
        return Response(b"", 204)

    async def _forever(self, provider: str) -> None:
        waiting = self._waiting[provider]
        while True:
            try:
                async with asyncio.timeout(_SAFETY_NET_S):
                    await waiting.wait()
            except TimeoutError:
                pass  # parked events are looked at again
            waiting.clear()
            try:
                await self._vault.process_webhooks(provider)
            except Exception as error:
                log.error("vault.webhooks_failed", provider=provider, error=type(error).__name__)
