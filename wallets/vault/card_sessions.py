"""Pages for entering one card: opened by a gateway for a customer, good for 15 minutes and one card.

The address of a page is the only thing that is needed to use it, so it holds 192 random bits; the database
holds their digest. One attempt at a time and ten in all: a page is no place to try stolen numbers.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from sqlalchemy import bindparam, delete, or_, select, update

from gateway.kernel.errors import ConflictError, InvalidError, NotFoundError
from gateway.kernel.ids import Id
from gateway.kernel.store.statements import Statement, insert_into
from gateway.kernel.store.unit import Reader, UnitOfWork
from wallets.vault import methods
from wallets.vault.port import StoredMethod
from wallets.vault.tables import card_entry, card_session

PATH = "/cards/"
VALID_MS = 15 * 60_000
MOST_ATTEMPTS = 10
_KEPT_MS = 86_400_000
"""How long a page that was used or has expired still says so."""
_BUSY_MS = 30_000
"""Longer than a provider's answer may take; after that the page can be used again."""
_SECRET_BYTES = 24
_SECRET = re.compile(r"[A-Za-z0-9_-]{32}")
_LONGEST_URL = 2_000
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class CardEntryId(Id):
    prefix = "ent"


@dataclass(frozen=True, slots=True)
class SessionState:
    """What the page is to show. ``method`` is what was stored, once it was."""

    customer_id: str
    return_url: str | None
    is_open: bool
    method: StoredMethod | None
    attempt: int = 0
    """Which of the page's attempts is the last; to the one who begins an attempt, its own."""


_INSERT = insert_into(card_session)
_GET = Statement(select(card_session).where(card_session.c.session_digest == bindparam("session_digest")))
_BEGIN = Statement(
    update(card_session)
    .where(
        card_session.c.session_digest == bindparam("digest"),
        card_session.c.payment_method_id.is_(None),
        card_session.c.busy_until_ms <= bindparam("now_ms"),
        card_session.c.expires_at_ms > bindparam("now_ms"),
        card_session.c.attempts == bindparam("attempt"),
        card_session.c.attempts < MOST_ATTEMPTS,
    )
    .values(attempts=card_session.c.attempts + 1, busy_until_ms=bindparam("busy_until_ms"))
)
_CLOSE = Statement(
    update(card_session)
    .where(
        card_session.c.session_digest == bindparam("digest"),
        card_session.c.attempts == bindparam("attempt"),
        or_(
            card_session.c.payment_method_id.is_(None),
            card_session.c.payment_method_id == bindparam("stored_id"),
        ),
    )
    .values(payment_method_id=bindparam("stored_id"), busy_until_ms=0)
)
_HOLD = Statement(
    update(card_session)
    .where(
        card_session.c.session_digest == bindparam("digest"),
        card_session.c.attempts == bindparam("attempt"),
    )
    .values(attempts=card_session.c.attempts)
)
_FREE = Statement(
    update(card_session)
    .where(
        card_session.c.session_digest == bindparam("digest"),
        card_session.c.attempts == bindparam("attempt"),
        card_session.c.payment_method_id.is_(None),
    )
    .values(busy_until_ms=0)
)
_FORGET = Statement(delete(card_session).where(card_session.c.expires_at_ms <= bindparam("until_ms")))
_ENTERED = insert_into(card_entry, without=["feed_no"])


def new_secret() -> str:
    """Return the secret part of a page's address."""
    return secrets.token_urlsafe(_SECRET_BYTES)


def digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def checked_return_url(url: str | None) -> str | None:
    """Return the address if a page may link to it. Raises InvalidError ``card_session.return_url``."""
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    safe = host is not None and (parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK))
    if not safe or len(url) > _LONGEST_URL or not url.isprintable() or " " in url:
        raise InvalidError(
            "card_session.return_url", "An https address, or http to this machine.", param="$.return_url"
        )
    return url


def open_session(uow: UnitOfWork, secret: str, customer_id: str, return_url: str | None) -> int:
    """Store a page and return when it expires."""
    uow.run(_FORGET, {"until_ms": uow.now_ms - _KEPT_MS})
    expires_at_ms = uow.now_ms + VALID_MS
    uow.run(
        _INSERT,
        {
            "session_digest": digest(secret),
            "customer_id": customer_id,
            "return_url": return_url,
            "expires_at_ms": expires_at_ms,
            "attempts": 0,
            "busy_until_ms": 0,
            "payment_method_id": None,
            "created_at_ms": uow.now_ms,
        },
    )
    return expires_at_ms


def session_state(reader: Reader, secret: str) -> SessionState:
    """Return what the page shows. Raises NotFoundError ``card_session.unknown``."""
    row = None
    if _SECRET.fullmatch(secret) is not None:
        row = reader.row(_GET, {"session_digest": digest(secret)})
    if row is None:
        raise NotFoundError("card_session.unknown", "There is no such page.")
    stored = None
    if row.payment_method_id is not None:
        stored = reader.row(methods.GET, {"payment_method_id": row.payment_method_id})
    return SessionState(
        row.customer_id,
        row.return_url,
        row.payment_method_id is None and reader.now_ms < row.expires_at_ms and row.attempts < MOST_ATTEMPTS,
        None if stored is None else methods.stored_method(stored),
        row.attempts,
    )


def begin_attempt(uow: UnitOfWork, secret: str) -> SessionState:
    """Take the page for one attempt. Raises ConflictError ``card_session.busy``, ``used``, ``expired``."""
    state = session_state(uow, secret)
    taken = {"digest": digest(secret), "now_ms": uow.now_ms, "busy_until_ms": uow.now_ms + _BUSY_MS}
    if uow.run(_BEGIN, {**taken, "attempt": state.attempt}):
        return replace(state, attempt=state.attempt + 1)
    if state.method is not None:
        raise ConflictError("card_session.used", "A card was saved on this page already.")
    if not state.is_open:
        raise ConflictError("card_session.expired", "This page has expired. Ask for a new one.")
    raise _busy()


def hold(uow: UnitOfWork, secret: str, attempt: int) -> None:
    """Keep the page for this attempt until the unit is committed.

    Raises ConflictError ``card_session.busy`` where another attempt has the page by now: then nothing is
    to be stored, since a page takes one card.
    """
    if not uow.run(_HOLD, {"digest": digest(secret), "attempt": attempt}):
        raise _busy()


def close(uow: UnitOfWork, secret: str, attempt: int, payment_method_id: str) -> None:
    """Close the page, held before, with what the same unit stores, and announce that."""
    uow.run(_CLOSE, {"digest": digest(secret), "attempt": attempt, "stored_id": payment_method_id})
    announce(uow, payment_method_id)


def give_free(uow: UnitOfWork, secret: str, attempt: int) -> None:
    """Let the next attempt begin, after one that stored nothing. Another's attempt is left alone."""
    uow.run(_FREE, {"digest": digest(secret), "attempt": attempt})


def announce(uow: UnitOfWork, payment_method_id: str | None) -> None:
    """Let gateways know of a method that this unit stores without them; None: it is not stored yet."""
    if payment_method_id is None:
        return
    # Who has not read the one before reads of the method here.
    uow.run(methods.FORGET_ENTRIES, {"its_method": payment_method_id})
    uow.run(
        _ENTERED,
        {
            "entry_id": uow.new_id(CardEntryId),
            "payment_method_id": payment_method_id,
            "entered_at_ms": uow.now_ms,
        },
    )


def _busy() -> ConflictError:
    return ConflictError("card_session.busy", "The card is being checked; wait a moment.")
