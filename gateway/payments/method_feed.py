"""Learning of methods that were stored without this gateway: the vault's list is read, page by page.

Each page is one unit: the methods, their events for the customers' streams, and the cursor. The list is read
often while a page for entering a card is open, and now and then otherwise, for what another process opened.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import structlog
from sqlalchemy import bindparam, or_, select, update

from gateway.kernel.clock import Clock
from gateway.kernel.errors import UnavailableError
from gateway.kernel.events.model import Event
from gateway.kernel.store.statements import Statement, insert_new, upsert
from gateway.kernel.store.unit import Lane, Reader, Store, UnitOfWork
from gateway.payments.pay_links import is_payer
from gateway.payments.tables import payment_method, reconciliation
from wallets.vault.port import MethodPage, StoredMethod, Vault

log = structlog.get_logger(__name__)

_NAME = "vault.methods"
_PAGE = 100
_WATCH_S, _IDLE_S = 0.5, 15.0
_LINGER_MS = 5_000
"""A card that is saved at the last moment is listed a moment later."""

_GET = Statement(select(reconciliation.c.cursor).where(reconciliation.c.name == bindparam("name")))
_SET = upsert(reconciliation, ["name"], lambda new: {"cursor": new.cursor, "at_ms": new.at_ms})
_INSERT = insert_new(payment_method)
_NEW_EXPIRY = Statement(
    update(payment_method)
    .where(
        payment_method.c.payment_method_id == bindparam("its_id"),
        or_(
            payment_method.c.expiry_month != bindparam("new_month"),
            payment_method.c.expiry_year != bindparam("new_year"),
        ),
    )
    .values(expiry_month=bindparam("new_month"), expiry_year=bindparam("new_year"))
)


class MethodFeed:
    """Follows the vault's list for one process. Any number of processes may: each page is told once."""

    def __init__(self, store: Store, vault: Vault, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._expected_until_ms = 0
        self._expected = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    def expect(self, until_ms: int) -> None:
        """Look often until then: a customer was given a page."""
        self._expected_until_ms = max(self._expected_until_ms, until_ms + _LINGER_MS)
        self._expected.set()

    def start(self) -> None:
        """Begin, at once with what came while nobody looked."""
        self._loop = asyncio.create_task(self._forever(), name="vault-methods")

    async def stop(self) -> None:
        """End between two pages."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
            self._loop = None

    async def _forever(self) -> None:
        while True:
            try:
                await read_methods(self._store, self._vault)
            except asyncio.CancelledError:
                raise
            except UnavailableError:
                pass  # said where it happened; the next round tries again
            except Exception:
                log.exception("payments.method_feed_failed")
            await self._pause()

    async def _pause(self) -> None:
        if self._clock.now_ms() < self._expected_until_ms:
            await asyncio.sleep(_WATCH_S)
            return
        self._expected.clear()
        try:
            async with asyncio.timeout(_IDLE_S):
                await self._expected.wait()
        except TimeoutError:
            return


async def read_methods(store: Store, vault: Vault) -> None:
    """Record what is new on the vault's list since the last time."""
    cursor = await store.read(_cursor)
    while True:
        page = await vault.methods_since(cursor, _PAGE)
        if not page.methods:
            return
        recorded = await store.write(
            partial(_record_page, page=page, before=cursor), lane=Lane.BACKGROUND, locks=(_NAME,)
        )
        if not recorded:
            return  # another process was faster; its cursor is read next time
        cursor = page.cursor


def record_method(uow: UnitOfWork, method: StoredMethod) -> dict[str, Any]:
    """Note a method and tell the customer, unless it is known as it is. Returns its document."""
    document = {
        "payment_method_id": method.payment_method_id,
        "kind": method.kind,
        "brand": method.brand,
        "last4": method.last4,
        "expiry_month": method.expiry_month,
        "expiry_year": method.expiry_year,
    }
    new = {**document, "customer_id": method.customer_id, "created_at_ms": method.created_at_ms}
    if uow.run(_INSERT, new):
        uow.emit(Event(method.customer_id, "payment_method.added", document))
    elif uow.run(
        _NEW_EXPIRY,
        {
            "its_id": method.payment_method_id,
            "new_month": method.expiry_month,
            "new_year": method.expiry_year,
        },
    ):
        uow.emit(Event(method.customer_id, "payment_method.updated", document))
    return document


def _record_page(uow: UnitOfWork, *, page: MethodPage, before: str) -> bool:
    if _cursor(uow) != before:
        return False
    for method in page.methods:
        if not is_payer(method.customer_id):
            record_method(uow, method)
    uow.run(_SET, {"name": _NAME, "cursor": page.cursor, "at_ms": uow.now_ms})
    return True


def _cursor(reader: Reader) -> str:
    row = reader.row(_GET, {"name": _NAME})
    return "" if row is None else str(row.cursor)
