"""The acquirer's webhooks: signed as Standard Webhooks says, retried a few times, and spoilt by switches."""

from __future__ import annotations

import asyncio
import secrets

import httpx
import structlog

from gateway.kernel.clock import Clock, rfc3339
from gateway.kernel.documents import encode
from gateway.kernel.subjects import OperationId
from wallets.vault.port import OperationKind
from wallets.vault.providers.acquirer.faults import Switches
from wallets.vault.providers.port import ProviderAnswer
from wallets.vault.providers.signatures import standard_headers
from wallets.vault.secret import Secret

_log = structlog.get_logger("vitrine.acquirer")
_WAITS_S = (0.0, 0.2, 1.0, 5.0)
"""Before each try. Real providers go on for days; whoever loses an event here asks instead."""
_TIMEOUT_S = 5


class WebhookSender:
    """Sends events to one address. Nothing is kept: an event is a hint, the operation is the record."""

    def __init__(self, clock: Clock, switches: Switches, url: str, key: Secret) -> None:
        self._clock = clock
        self._switches = switches
        self._url = url
        self._key = key
        self._http = httpx.AsyncClient(timeout=_TIMEOUT_S)
        self._at_work: set[asyncio.Task[None]] = set()
        self._held: list[tuple[str, bytes]] = []

    def announce(self, kind: OperationKind, operation_id: OperationId, answer: ProviderAnswer) -> None:
        """Send an event about an operation, in the background."""
        if self._switches.take("lose_webhooks"):
            return
        event = {
            "type": f"{kind}.{answer.outcome}",
            "timestamp": rfc3339(self._clock.now_ms()),
            "data": {"operation_id": operation_id, "reference": answer.reference},
        }
        sent = (f"evt_{secrets.token_hex(12)}", encode(event).encode())
        if self._switches.take("hold_webhooks"):
            self._held.append(sent)
            if self._switches.hold_webhooks:
                return
            late, self._held = self._held[::-1], []
        else:
            late = [sent]
        for each in late:
            for _ in range(1 + self._switches.duplicate_webhooks):
                self._start(*each)

    async def close(self) -> None:
        for task in self._at_work:
            task.cancel()
        await asyncio.gather(*self._at_work, return_exceptions=True)
        await self._http.aclose()

    def _start(self, event_id: str, body: bytes) -> None:
        task = asyncio.create_task(self._send(event_id, body))
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)

    async def _send(self, event_id: str, body: bytes) -> None:
        for wait_s in _WAITS_S:
            await asyncio.sleep(wait_s)
            headers = standard_headers(self._key, event_id, body, self._clock.now_ms())
            headers["content-type"] = "application/json"
            try:
                response = await self._http.post(self._url, content=body, headers=headers)
            except httpx.HTTPError:
                continue
            if response.is_success:
                return
        _log.warning("acquirer.webhook_given_up", event_id=event_id)
