"""How cards come into the vault without passing through a gateway: on our page, or encrypted on a device.

Both end in `tokenize`. The page's script encrypts in the browser too, so nothing between the customer and
this process, a proxy that ends TLS for one, sees a card in the clear.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sqlalchemy import bindparam, select

from gateway.kernel.clock import Clock
from gateway.kernel.errors import UnavailableError
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader, Store, UnitOfWork
from wallets.vault import card_sessions, methods
from wallets.vault.card_keys import CardKeys
from wallets.vault.card_sessions import SessionState
from wallets.vault.feeds import CARD_ENTRIES
from wallets.vault.port import CardEntry, CardKey, CardSession, MethodPage, StoredMethod
from wallets.vault.sealed_cards import give_back, open_sealed_card
from wallets.vault.tables import card_entry, method
from wallets.vault.tokenizing import AlsoStored

_MOST_PER_PAGE = 500
_PAGE = Statement(
    select(*method.c, card_entry.c.entry_id, card_entry.c.feed_no)
    .join(method, method.c.payment_method_id == card_entry.c.payment_method_id)
    .where(CARD_ENTRIES.after, method.c.removed_at_ms.is_(None))
    .order_by(*CARD_ENTRIES.order)
    .limit(bindparam("most"))
)

Tokenize = Callable[[str, CardEntry, AlsoStored], Awaitable[StoredMethod]]


class CardIntake:
    """Pages and encrypted cards of one vault. ``tokenize`` is where every card goes."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        keys: CardKeys,
        tokenize: Tokenize,
        *,
        pages_url: str = "",
    ) -> None:
        self._store = store
        self._clock = clock
        self.keys = keys
        self._tokenize = tokenize
        self.pages_url = pages_url
        """Where browsers reach the pages; empty where the program around the vault knows."""

    async def open_session(self, customer_id: str, return_url: str | None) -> CardSession:
        """Return a fresh page. Raises InvalidError ``card_session.return_url``."""
        checked = card_sessions.checked_return_url(return_url)
        secret = card_sessions.new_secret()
        expires_at_ms = await self._store.write(
            lambda uow: card_sessions.open_session(uow, secret, customer_id, checked)
        )
        return CardSession(f"{self.pages_url}{card_sessions.PATH}{secret}", expires_at_ms)

    async def state(self, secret: str) -> SessionState:
        """Return what a page shows. Raises NotFoundError ``card_session.unknown``."""
        return await self._store.read(lambda reader: card_sessions.session_state(reader, secret))

    async def key(self) -> CardKey:
        """Return the public key to encrypt to."""
        return await self.keys.current()

    async def enter(self, secret: str, sealed: str) -> StoredMethod:
        """Store the card that a page's script encrypted. Raises as `port.Vault.store_sealed_card`."""
        state = await self._store.write(lambda uow: card_sessions.begin_attempt(uow, secret))

        def close(uow: UnitOfWork, payment_method_id: str | None) -> None:
            if payment_method_id is None:
                card_sessions.hold(uow, secret, state.attempt)
                return
            card_sessions.close(uow, secret, state.attempt, payment_method_id)

        try:
            return await self._store_opened(state.customer_id, sealed, secret, close)
        except BaseException:
            await self._store.write(lambda uow: card_sessions.give_free(uow, secret, state.attempt))
            raise

    async def store_sealed(self, customer_id: str, sealed: str) -> StoredMethod:
        """Store a card that a device encrypted. Raises as `port.Vault.store_sealed_card`."""
        return await self._store_opened(customer_id, sealed, customer_id, card_sessions.announce)

    async def _store_opened(
        self, customer_id: str, sealed: str, subject: str, also: AlsoStored
    ) -> StoredMethod:
        card, token_id = await open_sealed_card(self._store, self.keys, self._clock, sealed, subject)
        try:
            return await self._tokenize(customer_id, card, also)
        except UnavailableError:
            # "Try again" must be possible with the same encrypted card.
            await self._store.write(lambda uow: give_back(uow, token_id))
            raise

    async def methods_since(self, cursor: str, limit: int) -> MethodPage:
        """Return the next page. Raises InvalidError ``vault.cursor_malformed``."""
        since = CARD_ENTRIES.cursor(cursor)
        most = max(1, min(limit, _MOST_PER_PAGE))
        await CARD_ENTRIES.catch_up(self._store, most)

        def query(reader: Reader) -> MethodPage:
            rows = CARD_ENTRIES.page(reader, _PAGE, since, most)
            end = CARD_ENTRIES.cursor_at(rows[-1].feed_no, rows[-1].entry_id) if rows else cursor
            return MethodPage(tuple(map(methods.stored_method, rows)), end)

        return await self._store.read(query)
