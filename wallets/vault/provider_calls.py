"""Calls to one provider, each with its deadline. Whatever is not an answer becomes `NoAnswerError`.

Every provider has its own turns, so one that has fallen silent holds as many callers as it has turns and
nobody else's; look-ups have turns of their own, so that what is unknown can be resolved meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from gateway.kernel.subjects import OperationId
from wallets.vault.port import OperationKind
from wallets.vault.providers.port import (
    AuthorizeOrder,
    Capabilities,
    ClearCard,
    FollowUpOrder,
    Lookup,
    NoAnswerError,
    Notifying,
    PayoutOrder,
    Provider,
    ProviderAnswer,
)

T = TypeVar("T")
_log = structlog.get_logger("vitrine.vault")
MOST_CALLS = 128
_LOOKUPS_PER_CALLS = 4


class ProviderCalls:
    """A provider whose every method answers within the deadline or raises NoAnswerError.

    ``most_calls`` at a time are under way, and a quarter as many look-ups. Waiting for a turn counts as
    waiting for the answer: a call that got no turn was never made, and a look-up tells.
    """

    def __init__(self, provider: Provider, deadline_ms: int, most_calls: int = MOST_CALLS) -> None:
        self._provider = provider
        self._deadline_s = deadline_ms / 1000
        self._turns = asyncio.Semaphore(most_calls)
        self._lookup_turns = asyncio.Semaphore(max(1, most_calls // _LOOKUPS_PER_CALLS))
        self._follow_ups: dict[OperationKind, Callable[[FollowUpOrder], Awaitable[ProviderAnswer]]] = {
            OperationKind.CAPTURE: provider.capture,
            OperationKind.VOID: provider.void,
            OperationKind.REFUND: provider.refund,
            OperationKind.INCREMENT: provider.increment,
        }

    @property
    def capabilities(self) -> Capabilities:
        return self._provider.capabilities

    @property
    def notifying(self) -> Notifying | None:
        """The provider, if it sends webhooks."""
        return self._provider if isinstance(self._provider, Notifying) else None

    async def verify(self, card: ClearCard) -> ProviderAnswer:
        return await self._answer("verify", None, self._turns, lambda: self._provider.verify(card))

    async def authorize(self, order: AuthorizeOrder) -> ProviderAnswer:
        return await self._answer(
            "authorize", order.operation_id, self._turns, lambda: self._provider.authorize(order)
        )

    async def follow_up(self, kind: OperationKind, order: FollowUpOrder) -> ProviderAnswer:
        return await self._answer(
            kind, order.operation_id, self._turns, lambda: self._follow_ups[kind](order)
        )

    async def payout(self, order: PayoutOrder) -> ProviderAnswer:
        return await self._answer(
            "payout", order.operation_id, self._turns, lambda: self._provider.payout(order)
        )

    async def find(self, lookup: Lookup) -> ProviderAnswer | None:
        return await self._answer(
            "find", lookup.operation_id, self._lookup_turns, lambda: self._provider.find(lookup)
        )

    async def close(self) -> None:
        await self._provider.close()

    async def _answer(
        self,
        call: str,
        operation_id: OperationId | None,
        turns: asyncio.Semaphore,
        ask: Callable[[], Awaitable[T]],
    ) -> T:
        try:
            async with asyncio.timeout(self._deadline_s), turns:
                return await ask()
        except Exception as error:
            # An adapter's bug is no answer either: the operation may have happened. Only the error's type is
            # logged and nothing is chained, since texts and frames of an HTTP library may hold the request.
            reason = type(error).__name__
            _log.warning("vault.provider_unanswered", call=call, operation_id=operation_id, reason=reason)
            raise NoAnswerError(f"{call} was not answered: {reason}") from None
