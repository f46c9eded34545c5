"""The acquirer's process as the vault sees it: `Provider` and `Notifying` over HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx

from gateway.kernel.subjects import OperationId
from wallets.vault.port import Action
from wallets.vault.providers.acquirer import wire
from wallets.vault.providers.port import (
    AuthorizeOrder,
    Capabilities,
    ClearCard,
    FollowUpOrder,
    Lookup,
    NoAnswerError,
    Notice,
    PayoutOrder,
    ProviderAnswer,
)
from wallets.vault.providers.signatures import check_standard
from wallets.vault.providers.simulated import CAPABILITIES, DEBIT_CAPABILITIES
from wallets.vault.secret import Secret


class AcquirerClient:
    """One connection pool. An answer that is not 200 with our JSON is no answer."""

    def __init__(
        self,
        base_url: str,
        api_key: Secret,
        *,
        webhook_keys: tuple[Secret, ...] = (),
        keys_kept_ms: int = CAPABILITIES.idempotency_key_kept_ms,
        timeout_ms: int = 10_000,
        debits: bool = False,
    ) -> None:
        """``keys_kept_ms`` as the process was started; ``debits``: this one is for direct debits."""
        self._base_url = base_url.rstrip("/")
        self._webhook_keys = webhook_keys
        self._http = httpx.AsyncClient(
            base_url=self._base_url,
            headers={"authorization": f"Bearer {api_key.reveal()}"},
            timeout=timeout_ms / 1000,
        )
        self.capabilities: Capabilities = replace(
            DEBIT_CAPABILITIES if debits else CAPABILITIES, idempotency_key_kept_ms=keys_kept_ms
        )

    async def verify(self, card: ClearCard) -> ProviderAnswer:
        return await self._post("verify", wire.instrument_document(card))

    async def authorize(self, order: AuthorizeOrder) -> ProviderAnswer:
        return await self._post("authorize", wire.authorize_document(order))

    async def capture(self, order: FollowUpOrder) -> ProviderAnswer:
        return await self._post("capture", wire.follow_up_document(order))

    async def void(self, order: FollowUpOrder) -> ProviderAnswer:
        return await self._post("void", wire.follow_up_document(order))

    async def refund(self, order: FollowUpOrder) -> ProviderAnswer:
        return await self._post("refund", wire.follow_up_document(order))

    async def increment(self, order: FollowUpOrder) -> ProviderAnswer:
        return await self._post("increment", wire.follow_up_document(order))

    async def payout(self, order: PayoutOrder) -> ProviderAnswer:
        return await self._post("payout", wire.payout_document(order))

    async def find(self, lookup: Lookup) -> ProviderAnswer | None:
        document = await self._send("find", wire.lookup_document(lookup))
        return None if document == {} else self._read(document)

    def notice(self, headers: Mapping[str, str], body: bytes, now_ms: int) -> Notice:
        event_id = check_standard(self._webhook_keys, headers, body, now_ms)
        event = json.loads(body)
        data = event["data"]
        return Notice(event_id, event["type"], OperationId(data["operation_id"]), data["reference"])

    async def close(self) -> None:
        await self._http.aclose()

    async def _post(self, call: str, document: wire.Document) -> ProviderAnswer:
        return self._read(await self._send(call, document))

    async def _send(self, call: str, document: wire.Document) -> Any:
        try:
            response = await self._http.post(f"/v1/{call}", json=document)
            if response.status_code == 200:
                return response.json()
        except (httpx.HTTPError, ValueError) as error:
            # Not chained: the error holds the request, and the request may hold a card.
            raise NoAnswerError(type(error).__name__) from None
        raise NoAnswerError(f"status {response.status_code}")

    def _read(self, document: Any) -> ProviderAnswer:
        try:
            answer = wire.read_answer(document)
        except (KeyError, ValueError, TypeError):
            raise NoAnswerError("no answer that we know") from None
        if answer.action is None:
            return answer
        # The page is the acquirer's own.
        return replace(answer, action=Action(answer.action.action_id, self._base_url + answer.action.path))
