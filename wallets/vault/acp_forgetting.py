"""Forgetting the cards of delegated tokens: what nobody may pay with any more is not kept (PCI DSS 3.2.1)."""

from __future__ import annotations

from typing import Any, Protocol

from sqlalchemy import bindparam, delete, select

from gateway.kernel.clock import Clock
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Store
from gateway.kernel.subjects import PaymentMethodId
from wallets.vault import acp_idempotency
from wallets.vault.port import CardEntry, StoredMethod
from wallets.vault.tables import delegated_token, method

ORPHANED_AFTER_MS = 3_600_000
"""A card that got no token by then: its request died and was not sent again."""
_SWEPT = 20

_ENDED = Statement(
    select(delegated_token.c.allowance_id, delegated_token.c.payment_method_id, method.c.customer_id)
    .join(method, method.c.payment_method_id == delegated_token.c.payment_method_id)
    .where(delegated_token.c.forget_at_ms <= bindparam("now_ms"))
    .order_by(delegated_token.c.forget_at_ms)
    .limit(_SWEPT)
)
_IN_USE = Statement(
    select(delegated_token.c.allowance_id)
    .where(
        delegated_token.c.payment_method_id == bindparam("payment_method_id"),
        delegated_token.c.forget_at_ms > bindparam("now_ms"),
    )
    .limit(1)
)
_FORGOTTEN = Statement(
    delete(delegated_token).where(delegated_token.c.allowance_id == bindparam("allowance_id"))
)


class Cards(Protocol):
    """What delegated payments need of a vault."""

    async def tokenize(self, customer_id: str, card: CardEntry) -> StoredMethod: ...

    async def methods(self, customer_id: str) -> list[StoredMethod]: ...

    async def remove_method(self, customer_id: str, payment_method_id: PaymentMethodId) -> bool: ...


class Forgetting:
    """Removes cards when their last token has ended."""

    def __init__(self, cards: Cards, store: Store, clock: Clock) -> None:
        self._cards = cards
        self._store = store
        self._clock = clock

    async def sweep(self) -> int:
        """Forget a batch of cards whose tokens have ended or were never made, and old keys.

        Returns how many tokens and requests were looked at: 0 means that nothing is left for now.
        """
        now_ms = self._clock.now_ms()
        ended = await self._store.read(lambda reader: reader.rows(_ENDED, {"now_ms": now_ms}))
        for row in ended:
            await self._remove(row.customer_id, row.payment_method_id)
            await self._end(row.allowance_id)
        dead = await self._store.read(lambda reader: acp_idempotency.dead(reader, now_ms - ORPHANED_AFTER_MS))
        for row in dead:
            await self._bury(row)
        await self._store.write(acp_idempotency.sweep)
        return len(ended) + len(dead)

    async def _bury(self, row: Any) -> None:
        """Give a dead request's key up first: nobody goes on with its card then."""
        if await self._store.write(lambda uow: acp_idempotency.bury(uow, row)):
            for stored in await self._cards.methods(row.customer_id):
                await self._remove(row.customer_id, stored.payment_method_id)

    async def _end(self, allowance_id: str) -> None:
        await self._store.write(lambda uow: uow.run(_FORGOTTEN, {"allowance_id": allowance_id}))

    async def _remove(self, customer_id: str, payment_method_id: str) -> None:
        used = {"payment_method_id": payment_method_id, "now_ms": self._clock.now_ms()}
        if not await self._store.read(lambda reader: reader.rows(_IN_USE, used)):
            await self._cards.remove_method(customer_id, PaymentMethodId(payment_method_id))
