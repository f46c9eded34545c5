"""Calls to the provider, each with its deadline. Whatever is not an answer becomes `NoAnswerError`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import structlog

from gateway.kernel.subjects import OperationId
from wallets.vault.port import OperationKind
from wallets.vault.providers.port import (
    AuthorizeOrder,
    Capabilities,
    ClearCard,
    FollowUpOrder,
    NoAnswerError,
    Provider,
    ProviderAnswer,
)

T = TypeVar("T")
_log = structlog.get_logger("vitrine.vault")


class ProviderCalls:
    """A provider whose every method answers within the deadline or raises NoAnswerError."""

    def __init__(self, provider: Provider, deadline_ms: int) -> None:
        self._provider = provider
        self._deadline_s = deadline_ms / 1000
        self._follow_ups = {
            OperationKind.CAPTURE: provider.capture,
            OperationKind.VOID: provider.void,
            OperationKind.REFUND: provider.refund,
        }

    @property
    def capabilities(self) -> Capabilities:
        return self._provider.capabilities

    async def verify(self, card: ClearCard) -> ProviderAnswer:
        return await self._answer("verify", None, self._provider.verify(card))

    async def authorize(self, order: AuthorizeOrder) -> ProviderAnswer:
        return await self._answer("authorize", order.operation_id, self._provider.authorize(order))

    async def follow_up(self, kind: OperationKind, order: FollowUpOrder) -> ProviderAnswer:
        return await self._answer(kind, order.operation_id, self._follow_ups[kind](order))

    async def find(self, operation_id: OperationId) -> ProviderAnswer | None:
        return await self._answer("find", operation_id, self._provider.find(operation_id))

    async def _answer(self, call: str, operation_id: OperationId | None, answer: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._deadline_s):
                return await answer
        except Exception as error:
            # An adapter's bug is no answer either: the operation may have happened. Only the error's type is
            # logged and nothing is chained, since texts and frames of an HTTP library may hold the request.
            reason = type(error).__name__
            _log.warning("vault.provider_unanswered", call=call, operation_id=operation_id, reason=reason)
            raise NoAnswerError(f"{call} was not answered: {reason}") from None
