"""What goes wrong at the acquirer, switched on and off while it runs.

`TroubledAcquirer` stands before the real one and loses, delays and breaks as its switches say. It works in
the process of a test and behind the HTTP of `app`, which makes broken connections of `LostReplyError`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields

from gateway.kernel.subjects import OperationId
from wallets.vault.port import OperationKind
from wallets.vault.providers.port import (
    AuthorizeOrder,
    Capabilities,
    ClearCard,
    FollowUpOrder,
    Lookup,
    NoAnswerError,
    PayoutOrder,
    ProviderAnswer,
)
from wallets.vault.providers.simulated import SimulatedAcquirer, SimulatedDebit


class LostReplyError(NoAnswerError):
    """It has acted; the caller never hears."""


class TroubleError(NoAnswerError):
    """It answers with a server error, before or after it has acted."""


@dataclass(slots=True)
class Switches:
    """Counts run down to 0 with each use; -1 goes on for ever."""

    lose_replies: int = 0
    """Act, then break the connection."""
    fail_before: int = 0
    """A server error, and nothing was done."""
    fail_after: int = 0
    """A server error, and it was done."""
    fail_lookups: int = 0
    slow_ms: int = 0
    """Wait before acting."""
    flaky_percent: int = 0
    """This share of calls fails with a server error, half of them after acting."""
    kinds: tuple[str, ...] = ()
    """Only operations of these kinds; empty: all."""
    duplicate_webhooks: int = 0
    """Send the next events this many times more."""
    lose_webhooks: int = 0
    hold_webhooks: int = 0
    """Keep this many events back, then send them in reverse order."""

    def change(self, document: dict[str, object]) -> None:
        """Set switches from JSON. Raises ValueError for one that is unknown or of another type."""
        known = {field.name for field in fields(self)}
        for name, value in document.items():
            if name not in known:
                raise ValueError(f"no switch is named {name[:40]!r}")
            if name == "kinds":
                if not isinstance(value, list | tuple):
                    raise ValueError("kinds is a list")
                self.kinds = tuple(OperationKind(str(each)).value for each in value)
            elif type(value) is not int:
                raise ValueError(f"{name} is a whole number")
            else:
                setattr(self, name, value)

    def take(self, name: str) -> bool:
        """Use a counting switch once."""
        left: int = getattr(self, name)
        if left > 0:
            setattr(self, name, left - 1)
        return left != 0


Done = Callable[[OperationKind, OperationId, ProviderAnswer], None]


class TroubledAcquirer:
    """`Provider`: the simulated acquirer with trouble before it. ``done`` hears of whatever it has done."""

    def __init__(
        self,
        acquirer: SimulatedAcquirer | SimulatedDebit,
        switches: Switches | None = None,
        *,
        seed: int = 0,
        done: Done | None = None,
    ) -> None:
        self.acquirer = acquirer
        self.switches = switches or Switches()
        self._random = random.Random(seed)  # noqa: S311  # which calls fail is no secret
        self._done = done

    @property
    def capabilities(self) -> Capabilities:
        return self.acquirer.capabilities

    async def verify(self, card: ClearCard) -> ProviderAnswer:
        return await self.acquirer.verify(card)

    async def authorize(self, order: AuthorizeOrder) -> ProviderAnswer:
        return await self._play(
            OperationKind.AUTHORIZE, order.operation_id, lambda: self.acquirer.authorize(order)
        )

    async def capture(self, order: FollowUpOrder) -> ProviderAnswer:
        return await self._play(
            OperationKind.CAPTURE, order.operation_id, lambda: self.acquirer.capture(order)
        )

    async def void(self, order: FollowUpOrder) -> ProviderAnswer:
        return await self._play(OperationKind.VOID, order.operation_id, lambda: self.acquirer.void(order))

    async def refund(self, order: FollowUpOrder) -> ProviderAnswer:
        return await self._play(OperationKind.REFUND, order.operation_id, lambda: self.acquirer.refund(order))

    async def increment(self, order: FollowUpOrder) -> ProviderAnswer:
        return await self._play(
            OperationKind.INCREMENT, order.operation_id, lambda: self.acquirer.increment(order)
        )

    async def payout(self, order: PayoutOrder) -> ProviderAnswer:
        return await self._play(OperationKind.PAYOUT, order.operation_id, lambda: self.acquirer.payout(order))

    async def find(self, lookup: Lookup) -> ProviderAnswer | None:
        if self.switches.take("fail_lookups"):
            raise TroubleError("no look-ups now")
        return await self.acquirer.find(lookup)

    async def close(self) -> None:
        await self.acquirer.close()

    async def _play(
        self, kind: OperationKind, operation_id: OperationId, act: Callable[[], Awaitable[ProviderAnswer]]
    ) -> ProviderAnswer:
        switches = self.switches
        if switches.kinds and kind not in switches.kinds:
            return await self._acted(kind, operation_id, act)
        if switches.slow_ms:
            await asyncio.sleep(switches.slow_ms / 1000)
        is_flaky = self._random.randrange(100) < switches.flaky_percent
        is_after = self._random.random() < 0.5
        if (is_flaky and not is_after) or switches.take("fail_before"):
            raise TroubleError("nothing was done")
        answer = await self._acted(kind, operation_id, act)
        if switches.take("lose_replies"):
            raise LostReplyError("it was done")
        if is_flaky or switches.take("fail_after"):
            raise TroubleError("it was done")
        return answer

    async def _acted(
        self, kind: OperationKind, operation_id: OperationId, act: Callable[[], Awaitable[ProviderAnswer]]
    ) -> ProviderAnswer:
        answer = await act()
        if self._done is not None:
            self._done(kind, operation_id, answer)
        return answer
