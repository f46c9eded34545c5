"""How often one card number may fail its check within a day, however many pages, customers or callers try it.

Somebody who tries codes or expiries on a number needs many checks of it; its holder needs a few. Numbers are
known here by a code under a key that exists in this process only, and only while they count: it is the limit
of one process, and begins anew with it.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from gateway.kernel.clock import Clock
from gateway.kernel.errors import InvalidError
from wallets.vault.port import DeclineClass
from wallets.vault.secret import Secret

MOST_DECLINED = 10
WITHIN_MS = 24 * 3_600_000
_MOST_REMEMBERED = 100_000
"""Numbers; beyond that those that failed longest ago are forgotten."""


@dataclass(slots=True, eq=False)
class _Card:
    declined_at_ms: deque[int] = field(default_factory=deque)
    users: int = 0
    under_way: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)


class CardTesting:
    """Counts declined checks. Checks under way count as if declined; more than fit wait for their end."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._cards: dict[bytes, _Card] = {}

    @asynccontextmanager
    async def check(self, number: Secret, clock: Clock) -> AsyncIterator[None]:
        """Wrap the check of a card; InvalidError ``card.declined`` from inside counts.

        Raises InvalidError ``card.declined`` itself where the number has failed too often.
        """
        name = hashlib.blake2b(number.reveal().encode(), key=self._key, digest_size=16).digest()
        card = self._cards.setdefault(name, _Card())
        card.users += 1
        try:
            await self._begin(card, clock)
            try:
                yield
            except InvalidError as error:
                if error.code == "card.declined":
                    card.declined_at_ms.append(clock.now_ms())
                raise
            finally:
                card.under_way -= 1
                async with card.changed:
                    card.changed.notify_all()
        finally:
            card.users -= 1
            self._forget(name, card)

    async def _begin(self, card: _Card, clock: Clock) -> None:
        async with card.changed:
            while True:
                known = card.declined_at_ms
                while known and known[0] + WITHIN_MS <= clock.now_ms():
                    known.popleft()
                if len(known) >= MOST_DECLINED:
                    raise InvalidError(
                        "card.declined",
                        "This card was refused too often; try again tomorrow.",
                        data={"network_code": "", "decline_class": DeclineClass.SOFT_RETRY_LATER.value},
                    )
                if len(known) + card.under_way < MOST_DECLINED:
                    card.under_way += 1
                    return
                await card.changed.wait()

    def _forget(self, name: bytes, card: _Card) -> None:
        if not card.users and not card.declined_at_ms:
            self._cards.pop(name, None)
        while len(self._cards) > _MOST_REMEMBERED:
            oldest = next((key for key, each in self._cards.items() if not each.users), None)
            if oldest is None:
                return
            del self._cards[oldest]
