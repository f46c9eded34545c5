"""A provider between the vault and the simulated acquirer that plays a schedule of failures."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from enum import Enum

from wallets.vault.providers.port import (
    AuthorizeOrder,
    Capabilities,
    ClearCard,
    FollowUpOrder,
    Lookup,
    Outcome,
    PayoutOrder,
    ProviderAnswer,
)
from wallets.vault.providers.simulated import SimulatedAcquirer


class Fault(Enum):
    NONE = "none"
    BREAK_BEFORE = "break before"
    """The connection breaks and the provider never saw the request."""
    BREAK_AFTER = "break after"
    """The provider acted, then the connection breaks."""
    PENDING_AFTER = "pending after"
    """The provider acted but answers that it has not decided yet."""
    SILENT_AFTER = "silent after"


class LibraryError(Exception):
    """Stands for whatever an HTTP library raises. Its text must not get out."""


class FaultyProvider:
    def __init__(self, acquirer: SimulatedAcquirer, *, fences: bool = True, absent_after_ms: int = 0) -> None:
        self.acquirer = acquirer
        self.capabilities: Capabilities = replace(
            acquirer.capabilities, lookup_fences=fences, absent_is_final_after_ms=absent_after_ms
        )
        self.fault = Fault.NONE
        self.find_fails = False
        self.absent_to_lookups = False
        self.calls: list[str] = []

    async def verify(self, card: ClearCard) -> ProviderAnswer:
        return await self._play("verify", lambda: self.acquirer.verify(card))

    async def authorize(self, order: AuthorizeOrder) -> ProviderAnswer:
        return await self._play("authorize", lambda: self.acquirer.authorize(order))

    async def capture(self, order: FollowUpOrder) -> ProviderAnswer:
        return await self._play("capture", lambda: self.acquirer.capture(order))

    async def void(self, order: FollowUpOrder) -> ProviderAnswer:
        return await self._play("void", lambda: self.acquirer.void(order))

    async def refund(self, order: FollowUpOrder) -> ProviderAnswer:
        return await self._play("refund", lambda: self.acquirer.refund(order))

    async def increment(self, order: FollowUpOrder) -> ProviderAnswer:
        return await self._play("increment", lambda: self.acquirer.increment(order))

    async def payout(self, order: PayoutOrder) -> ProviderAnswer:
        return await self._play("payout", lambda: self.acquirer.payout(order))

    async def find(self, lookup: Lookup) -> ProviderAnswer | None:
        self.calls.append("find")
        if self.find_fails:
            raise LibraryError("secret of the request")
        if self.absent_to_lookups:
            return None
        return await self.acquirer.find(lookup)

    async def close(self) -> None:
        await self.acquirer.close()

    async def _play(self, call: str, act: Callable[[], Awaitable[ProviderAnswer]]) -> ProviderAnswer:
        self.calls.append(call)
        if self.fault is Fault.BREAK_BEFORE:
            raise LibraryError("secret of the request")
        answer = await act()
        match self.fault:
            case Fault.BREAK_AFTER:
                raise LibraryError("secret of the request")
            case Fault.PENDING_AFTER:
                return ProviderAnswer(Outcome.PENDING)
            case Fault.SILENT_AFTER:
                await asyncio.Event().wait()
        return answer
