"""What runs beside the tasks: the order backend's feed, expiry, the comparison with the vault, the books."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from fulfillment import expiry
from fulfillment.backends.port import OrderBackend
from fulfillment.feed import read_updates
from gateway.kernel.store.unit import Lane, Store
from gateway.ledger.closing import close_days
from gateway.ledger.pending import expire_overdue
from gateway.ledger.verifying import verify_merchant
from gateway.orders.changes import expire_order
from gateway.orders.choosing import leg_due
from gateway.orders.fulfillment_facts import FulfillmentFacts
from gateway.orders.guardian_facts import close_request, due_requests
from gateway.orders.pay_links import expire_link
from gateway.orders.process import ProcessRules
from gateway.orders.purchase import due_legs, unpaid_orders
from gateway.orders.refunding import expire as expire_refund
from gateway.orders.renewal_sweep import plan_renewals
from gateway.payments.pay_links import expired_links
from gateway.payments.reconciler import reconcile
from gateway.payments.refunds import expired_refunds
from wallets.vault.port import Vault

log = structlog.get_logger(__name__)

_FEED_POLL_S = 5.0
_SWEEP_S = 1.0
_RECONCILE_S = 30.0
_PAGE = 100
_TIDY_S = 5.0
_BOOKS_S = 600.0
_BOOKS_PAUSE_S = 0.01
"""Between two pages of the books: checking them must not be felt by anybody."""


class Background:
    """Loops of one process. Each step is a unit of its own, so any number of processes may run them."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        backend: OrderBackend,
        facts: FulfillmentFacts,
        rules: ProcessRules,
    ) -> None:
        self._store = store
        self._rules = rules
        self._vault = vault
        self._backend = backend
        self._facts = facts
        self._updates = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []

    def updates_waiting(self) -> None:
        """Called by a backend that can tell when its feed has grown."""
        self._updates.set()

    def start(self) -> None:
        """Begin; the feed is read at once, for what came while nobody ran."""
        self._updates.set()
        self._loops = [
            asyncio.create_task(self._forever(self._reconcile), name="vault-reconciler"),
            asyncio.create_task(self._forever(self._follow_feed), name="order-backend-feed"),
            asyncio.create_task(self._forever(self._sweep), name="expiry-sweep"),
            asyncio.create_task(self._forever(self._expire), name="unpaid-orders"),
            asyncio.create_task(self._forever(self._look_at_due), name="paid-legs-that-wait"),
            asyncio.create_task(self._forever(self._keep_books), name="nightly-books"),
            asyncio.create_task(self._forever(self._tidy_payments), name="links-refunds-renewals"),
        ]

    async def stop(self) -> None:
        """End the loops between two steps."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        self._loops = []

    async def _forever(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except asyncio.CancelledError:
                raise
            except Exception:
                # The other side is away: rows wait, the next round tries again.
                log.exception("background.step_failed", step=step.__name__)
                await asyncio.sleep(1)

    async def _follow_feed(self) -> None:
        try:
            async with asyncio.timeout(_FEED_POLL_S):
                await self._updates.wait()
        except TimeoutError:
            pass  # polling is the safety net under the wake-up
        self._updates.clear()
        while True:
            page = await read_updates(self._store, self._backend)
            if not page.updates:
                return
            await self._store.write(partial(self._facts.record_page, page=page), lane=Lane.BACKGROUND)

    async def _reconcile(self) -> None:
        await asyncio.sleep(_RECONCILE_S)
        await reconcile(self._store, self._vault)

    async def _keep_books(self) -> None:
        """Once a night: close the days that are over, and compute everything in the books again."""
        await self._store.write(expire_overdue, lane=Lane.BACKGROUND)
        closed = await close_days(self._store, pause_s=_BOOKS_PAUSE_S)
        for day in closed:
            log.info("books.day_closed", merchant_id=day.merchant_id, day=day.day, hash=day.hash)
        for merchant_id in sorted({day.merchant_id for day in closed}):
            for problem in await verify_merchant(self._store, merchant_id, pause_s=_BOOKS_PAUSE_S):
                log.error("books.problem", **problem._asdict())
        await asyncio.sleep(_BOOKS_S)

    async def _sweep(self) -> None:
        await asyncio.sleep(_SWEEP_S)
        await self._store.write(partial(expiry.sweep, limit=_PAGE), lane=Lane.BACKGROUND)

    async def _tidy_payments(self) -> None:
        """End links, refund requests and questions to guardians whose time is over; plan what authorizations
        will need."""
        for pay_link_id in await self._store.read(partial(expired_links, most=_PAGE)):
            await self._store.write(partial(expire_link, pay_link_id=pay_link_id), lane=Lane.BACKGROUND)
        for refund_id in await self._store.read(partial(expired_refunds, most=_PAGE)):
            expire = partial(expire_refund, refund_id=refund_id, rules=self._rules)
            await self._store.write(expire, lane=Lane.BACKGROUND)
        for approval_id in await self._store.read(partial(due_requests, most=_PAGE)):
            try:
                close = partial(close_request, approval_id=approval_id, rules=self._rules)
                await self._store.write(close, lane=Lane.BACKGROUND)
            except Exception:
                # One question that cannot be closed must not keep the renewals of others.
                log.exception("background.guardian_failed", approval_id=approval_id)
        await plan_renewals(self._store, self._rules.renewal)
        await asyncio.sleep(_TIDY_S)

    async def _look_at_due(self) -> None:
        """Deliver what has waited for the end of its period; give back what nobody chose a wallet for."""
        await asyncio.sleep(_TIDY_S)
        for due in await self._store.read(partial(due_legs, most=_PAGE)):
            try:
                look = partial(leg_due, order_id=due.order_id, leg_id=due.leg_id, rules=self._rules)
                await self._store.write(look, lane=Lane.BACKGROUND)
            except Exception:
                # One leg that cannot be delivered must not keep the others waiting.
                log.exception("background.due_leg_failed", leg_id=due.leg_id)

    async def _expire(self) -> None:
        await asyncio.sleep(_SWEEP_S)
        for order_id in await self._store.read(partial(unpaid_orders, most=_PAGE)):
            try:
                expire = partial(expire_order, order_id=order_id, rules=self._rules)
                await self._store.write(expire, lane=Lane.BACKGROUND)
            except Exception:
                # One order that cannot be given up must not keep the others' goods.
                log.exception("background.expiry_failed", order_id=order_id)
