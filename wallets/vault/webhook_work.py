"""Working off the inbox of one provider: several events at a time, so that an answer that does not come
holds one turn and not the provider's other events."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from wallets.vault.webhooks import EventState, Webhooks

AT_ONCE = 16
"""Events of one provider. Fewer than its look-ups (`provider_calls`), so that callers have turns left."""
_PAGE = 100
_LOOK_AGAIN_S = 1.0
"""While some turns wait for answers: how soon what has come meanwhile takes the free ones."""


async def work_off(webhooks: Webhooks, provider: str, look_at: Callable[[Any], Awaitable[EventState]]) -> int:
    """Deal with every open event of a provider and return how many were dealt with.

    Each event is looked at once. Raises what the database raises; events that were under way stay open.
    """
    done = 0
    backlog: deque[Any] = deque()
    under_way: dict[asyncio.Task[EventState], str] = {}

    async def deal_with(event: Any) -> EventState:
        state = await look_at(event)
        await webhooks.close_event(event, state)
        return state

    try:
        while True:
            if not backlog and len(under_way) < AT_ONCE:
                known = set(under_way.values())
                # Those under way are still open, and they are the oldest.
                found = await webhooks.open(provider, AT_ONCE + _PAGE)
                backlog.extend(event for event in found if event.event_id not in known)
            while backlog and len(under_way) < AT_ONCE:
                event = backlog.popleft()
                under_way[asyncio.create_task(deal_with(event))] = event.event_id
            if not under_way:
                return done
            finished, _ = await asyncio.wait(
                under_way, timeout=_LOOK_AGAIN_S, return_when=asyncio.FIRST_COMPLETED
            )
            for task in finished:
                del under_way[task]
                done += task.result() is EventState.PROCESSED
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
