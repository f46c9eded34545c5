"""Looking into one's wallet from a browser: an address that opens once, then a short session of that browser.

Both are secrets of 256 random bits of which only the digest is stored. Neither is a device token: whoever
has one sees digital items, until its time is over, and can change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, delete, select, update

from gateway.identity.model import digest
from gateway.identity.tables import wallet_page
from gateway.kernel.store.statements import Statement, insert_into
from gateway.kernel.store.unit import Reader, UnitOfWork

ADDRESS_MS = 5 * 60_000
"""How long an address may be opened."""
SESSION_MS = 15 * 60_000
MOST_PAGES = 20
"""Addresses and sessions of one customer; the oldest end before there are more."""

_p = wallet_page.c
_INSERT = insert_into(wallet_page)
_ENDED = Statement(
    delete(wallet_page).where(_p.customer_id == bindparam("whose"), _p.expires_at_ms <= bindparam("now_ms"))
)
_OLDEST = Statement(
    select(_p.page_digest)
    .where(_p.customer_id == bindparam("customer_id"))
    .order_by(_p.created_at_ms.desc(), _p.page_digest)
    .limit(100)
)
_DROP = Statement(delete(wallet_page).where(_p.page_digest == bindparam("its_digest")))
_OPENABLE = Statement(
    select(_p.expires_at_ms).where(
        _p.page_digest == bindparam("digest"),
        _p.session_digest.is_(None),
        _p.expires_at_ms > bindparam("now_ms"),
    )
)
_OPEN = Statement(
    update(wallet_page)
    .where(
        _p.page_digest == bindparam("its_digest"),
        _p.session_digest.is_(None),
        _p.expires_at_ms > bindparam("now_ms"),
    )
    .values(session_digest=bindparam("session"), expires_at_ms=bindparam("until_ms"))
)
_SESSION = Statement(
    select(_p.customer_id, _p.expires_at_ms).where(
        _p.session_digest == bindparam("digest"), _p.expires_at_ms > bindparam("now_ms")
    )
)
_CLOSE = Statement(delete(wallet_page).where(_p.session_digest == bindparam("its_digest")))


@dataclass(frozen=True, slots=True)
class WalletSession:
    """Whose wallet a browser may look into, and until when."""

    customer_id: str
    expires_at_ms: int


def add_page(uow: UnitOfWork, customer_id: str, secret: str) -> int:
    """Store an address; return until when it opens, in milliseconds since the epoch."""
    uow.run(_ENDED, {"whose": customer_id, "now_ms": uow.now_ms})
    for row in uow.rows(_OLDEST, {"customer_id": customer_id})[MOST_PAGES - 1 :]:
        uow.run(_DROP, {"its_digest": row.page_digest})
    expires_at_ms = uow.now_ms + ADDRESS_MS
    uow.run(
        _INSERT,
        {
            "page_digest": digest(secret),
            "customer_id": customer_id,
            "expires_at_ms": expires_at_ms,
            "session_digest": None,
            "created_at_ms": uow.now_ms,
        },
    )
    return expires_at_ms


def is_openable(reader: Reader, secret: str) -> bool:
    """Whether the address would open now. Looking does not use it up: programs follow links, too."""
    return reader.row(_OPENABLE, {"digest": digest(secret), "now_ms": reader.now_ms}) is not None


def open_session(uow: UnitOfWork, secret: str, session: str) -> bool:
    """Turn an address into a session of whoever is first; False when it was used or its time is over."""
    values = {
        "its_digest": digest(secret),
        "session": digest(session),
        "now_ms": uow.now_ms,
        "until_ms": uow.now_ms + SESSION_MS,
    }
    return uow.run(_OPEN, values) == 1


def session_of(reader: Reader, session: str) -> WalletSession | None:
    """Return whose session this is, or None when it is nobody's or its time is over."""
    row = reader.row(_SESSION, {"digest": digest(session), "now_ms": reader.now_ms})
    return None if row is None else WalletSession(row.customer_id, row.expires_at_ms)


def close_session(uow: UnitOfWork, session: str) -> None:
    """End a session."""
    uow.run(_CLOSE, {"its_digest": digest(session)})
