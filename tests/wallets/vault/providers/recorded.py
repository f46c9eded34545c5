"""A provider that writes down which calls reached it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from wallets.vault.providers.port import (
    AuthorizeOrder,
    Capabilities,
    ClearCard,
    FollowUpOrder,
    Lookup,
    PayoutOrder,
    Provider,
    ProviderAnswer,
)


class Recorded:
    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.calls: list[str] = []

    @property
    def capabilities(self) -> Capabilities:
        return self.provider.capabilities

    def _call(self, name: str, made: Awaitable[Any]) -> Awaitable[Any]:
        self.calls.append(name)
        return made

    async def verify(self, card: ClearCard) -> ProviderAnswer:
        return await self._call("verify", self.provider.verify(card))

    async def authorize(self, order: AuthorizeOrder) -> ProviderAnswer:
        return await self._call("authorize", self.provider.authorize(order))

    async def capture(self, order: FollowUpOrder) -> ProviderAnswer:
        return await self._call("capture", self.provider.capture(order))

    async def void(self, order: FollowUpOrder) -> ProviderAnswer:
        return await self._call("void", self.provider.void(order))

    async def refund(self, order: FollowUpOrder) -> ProviderAnswer:
        return await self._call("refund", self.provider.refund(order))

    async def increment(self, order: FollowUpOrder) -> ProviderAnswer:
        return await self._call("increment", self.provider.increment(order))

    async def payout(self, order: PayoutOrder) -> ProviderAnswer:
        return await self._call("payout", self.provider.payout(order))

    async def find(self, lookup: Lookup) -> ProviderAnswer | None:
        return await self._call("find", self.provider.find(lookup))

    async def close(self) -> None:
        await self.provider.close()
