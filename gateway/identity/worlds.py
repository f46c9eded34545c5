"""Worlds: servers of games and virtual places, their keys, and what players let them see.

An operator registers a world under a name. Device tokens that are issued for use in a world, and allowances
that are bound to one, say the same name (``world_id``). A world sees nothing of anybody until a player allows
it; it knows the player by an id of its own then, so that two worlds cannot tell that they have a player in
common. Whatever is not allowed, or not any more, looks like a player who does not exist.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import and_, bindparam, or_, select, update

from gateway.identity.model import WorldPrincipal, digest
from gateway.identity.tables import world, world_consent, world_key
from gateway.kernel.documents import decode, encode
from gateway.kernel.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from gateway.kernel.store.statements import Statement, insert_into, insert_new
from gateway.kernel.store.unit import Reader, UnitOfWork

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
MOST_WORLDS = 25
"""A player allows so many at a time: each is told of every item in the commit of its purchase."""

_INSERT_WORLD = insert_new(world)
_INSERT_KEY = insert_into(world_key)
_INSERT_CONSENT = insert_into(world_consent)
_WORLD = Statement(select(world).where(world.c.world_id == bindparam("world_id")))
_WORLDS = Statement(select(world).order_by(world.c.world_id).limit(1000))
_CLOSE = Statement(
    update(world)
    .where(world.c.world_id == bindparam("its_id"), world.c.closed_at_ms.is_(None))
    .values(closed_at_ms=bindparam("at"))
)
_SET_WEBHOOK = Statement(
    update(world)
    .where(world.c.world_id == bindparam("its_id"), world.c.closed_at_ms.is_(None))
    .values(webhook_url=bindparam("url"), webhook_stopped_at_ms=None, webhook_stopped_because=None)
)
_STOP_WEBHOOK = Statement(
    update(world)
    .where(
        world.c.world_id == bindparam("its_id"),
        world.c.webhook_url == bindparam("its_url"),
        world.c.webhook_stopped_at_ms.is_(None),
    )
    .values(webhook_stopped_at_ms=bindparam("at"), webhook_stopped_because=bindparam("because"))
)
_KEY = Statement(
    select(world_key.c.world_id, world_key.c.expires_at_ms, world.c.closed_at_ms)
    .select_from(world_key.join(world, world.c.world_id == world_key.c.world_id))
    .where(world_key.c.key_digest == bindparam("digest"))
)
_EXPIRE_KEYS = Statement(
    update(world_key)
    .where(
        world_key.c.world_id == bindparam("its_id"),
        or_(world_key.c.expires_at_ms.is_(None), world_key.c.expires_at_ms > bindparam("until_ms")),
    )
    .values(expires_at_ms=bindparam("until_ms"))
)
_CONSENT = Statement(
    select(world_consent).where(
        world_consent.c.customer_id == bindparam("customer_id"),
        world_consent.c.world_id == bindparam("world_id"),
    )
)
_ALLOW_AGAIN = Statement(
    update(world_consent)
    .where(
        world_consent.c.customer_id == bindparam("its_customer"),
        world_consent.c.world_id == bindparam("its_world"),
    )
    .values(
        scopes=bindparam("new_scopes"),
        device_id=bindparam("new_device"),
        allowed_at_ms=bindparam("new_allowed"),
        expires_at_ms=bindparam("new_expiry"),
        after_seq=bindparam("new_after"),
        revoked_at_ms=None,
    )
)
_REVOKE = Statement(
    update(world_consent)
    .where(
        world_consent.c.customer_id == bindparam("its_customer"),
        world_consent.c.world_id == bindparam("its_world"),
        world_consent.c.revoked_at_ms.is_(None),
    )
    .values(revoked_at_ms=bindparam("at"))
)
_OF_CUSTOMER = Statement(
    select(world_consent, world.c.title)
    .select_from(world_consent.join(world, world.c.world_id == world_consent.c.world_id))
    .where(world_consent.c.customer_id == bindparam("customer_id"))
    .order_by(world_consent.c.world_id)
    .limit(1000)
)
_stands = and_(
    world_consent.c.revoked_at_ms.is_(None),
    or_(world_consent.c.expires_at_ms.is_(None), world_consent.c.expires_at_ms > bindparam("now_ms")),
)
_TOLD = Statement(
    select(
        world_consent,
        and_(world.c.webhook_url.is_not(None), world.c.webhook_stopped_at_ms.is_(None)).label("is_sent"),
    )
    .select_from(world_consent.join(world, world.c.world_id == world_consent.c.world_id))
    .where(world_consent.c.customer_id == bindparam("customer_id"), _stands, world.c.closed_at_ms.is_(None))
    # In one order everywhere: the numbers of their notices are locked one after the other.
    .order_by(world_consent.c.world_id)
    .limit(MOST_WORLDS)
)
_PLAYER = Statement(
    select(world_consent).where(
        world_consent.c.world_id == bindparam("world_id"),
        world_consent.c.player_id == bindparam("player_id"),
        _stands,
    )
)
_PLAYERS = Statement(
    select(world_consent)
    .where(
        world_consent.c.world_id == bindparam("world_id"),
        world_consent.c.player_id > bindparam("after"),
        _stands,
    )
    .order_by(world_consent.c.player_id)
    .limit(bindparam("most"))
)


class Scope(StrEnum):
    """What a player lets a world see."""

    ITEMS = "items"
    """Tokens and entitlements, as they are and as they come and go."""
    WALLETS = "wallets"
    """Also the addresses that hold them, and wallets that the player linked."""


@dataclass(frozen=True, slots=True)
class World:
    """A registered world. Without ``webhook_url``, or with a ``stopped_because``, nothing is sent to it."""

    world_id: str
    title: str
    webhook_url: str | None
    stopped_because: str | None
    created_at_ms: int
    is_closed: bool


@dataclass(frozen=True, slots=True)
class PlayerConsent:
    """What one player lets one world see. ``item_key`` (16 bytes, hex) hides our ids from the world."""

    customer_id: str
    world_id: str
    player_id: str
    item_key: str
    scopes: tuple[Scope, ...]
    allowed_at_ms: int
    expires_at_ms: int | None
    revoked_at_ms: int | None
    after_seq: int
    """The number of the world's latest notice when the consent began: what it may be told comes after."""

    def stands(self, now_ms: int) -> bool:
        """Whether it was neither taken back nor has ended by itself."""
        return self.revoked_at_ms is None and (self.expires_at_ms is None or self.expires_at_ms > now_ms)


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a player allows now. ``player_id`` and ``item_key`` are used if the world is new to the player."""

    customer_id: str
    device_id: str
    world_id: str
    scopes: tuple[Scope, ...]
    expires_at_ms: int | None
    player_id: str
    item_key: str


def new_player_id() -> str:
    """Return an id of 128 random bits, made before the unit: it tells nothing, not even a time."""
    return f"ply_{secrets.token_hex(16)}"


def new_item_key() -> str:
    """Return 128 random bits, as hex."""
    return secrets.token_hex(16)


# --- Worlds and their keys --------------------------------------------------------------------------


def add_world(uow: UnitOfWork, world_id: str, *, title: str, webhook_url: str | None) -> None:
    """Register a world. Raises InvalidError ``world.name``, ConflictError ``world.exists``."""
    if _NAME.fullmatch(world_id) is None:
        raise InvalidError(
            "world.name",
            "A world's name has 1 to 64 of a-z, 0-9, dot, dash and underscore.",
            param="world_id",
        )
    row = {
        "world_id": world_id,
        "title": title,
        "webhook_url": webhook_url,
        "webhook_stopped_at_ms": None,
        "webhook_stopped_because": None,
        "created_at_ms": uow.now_ms,
        "closed_at_ms": None,
    }
    if not uow.run(_INSERT_WORLD, row):
        raise ConflictError("world.exists", f"There is or was a world {world_id}; names are not used again.")


def known_world(reader: Reader, world_id: str) -> World:
    """Return an open world; NotFoundError ``world.not_found`` otherwise."""
    row = reader.row(_WORLD, {"world_id": world_id})
    if row is None or row.closed_at_ms is not None:
        raise NotFoundError("world.not_found", "There is no such world.")
    return _world(row)


def registered_world(reader: Reader, world_id: str) -> World:
    """Return a world, also a closed one; NotFoundError ``world.not_found`` if there never was one."""
    row = reader.row(_WORLD, {"world_id": world_id})
    if row is None:
        raise NotFoundError("world.not_found", "There is no such world.")
    return _world(row)


def all_worlds(reader: Reader) -> list[World]:
    """Return every world, closed ones too, by name."""
    return [_world(row) for row in reader.rows(_WORLDS)]


def close_world(uow: UnitOfWork, world_id: str) -> None:
    """End a world for good: its keys open nothing and nothing is sent to it any more."""
    known_world(uow, world_id)
    uow.run(_CLOSE, {"its_id": world_id, "at": uow.now_ms})


def set_webhook(uow: UnitOfWork, world_id: str, url: str | None) -> None:
    """Say where notices go, or nowhere. What had stopped them is forgotten."""
    known_world(uow, world_id)
    uow.run(_SET_WEBHOOK, {"its_id": world_id, "url": url})


def stop_webhook(uow: UnitOfWork, world_id: str, url: str, because: str) -> bool:
    """Send nothing more to this address until an operator sets one; False if it is another one by now."""
    asked = {"its_id": world_id, "its_url": url, "at": uow.now_ms, "because": because}
    return uow.run(_STOP_WEBHOOK, asked) == 1


def store_world_key(uow: UnitOfWork, world_id: str, *, key_digest: str, overlap_ms: int = 0) -> None:
    """Store a key's digest. Earlier keys of the world stay valid for ``overlap_ms``."""
    known_world(uow, world_id)
    uow.run(_EXPIRE_KEYS, {"its_id": world_id, "until_ms": uow.now_ms + overlap_ms})
    uow.run(
        _INSERT_KEY,
        {
            "key_digest": key_digest,
            "world_id": world_id,
            "created_at_ms": uow.now_ms,
            "expires_at_ms": None,
        },
    )


def authenticate_world(reader: Reader, key: str) -> WorldPrincipal:
    """Return whose key this is; ForbiddenError ``auth.invalid_token`` otherwise."""
    row = reader.row(_KEY, {"digest": digest(key)})
    is_over = row is not None and row.expires_at_ms is not None and row.expires_at_ms <= reader.now_ms
    if row is None or is_over or row.closed_at_ms is not None:
        raise ForbiddenError("auth.invalid_token", "The key is not valid.")
    return WorldPrincipal(row.world_id)


# --- What players allow -----------------------------------------------------------------------------


def consent_to(reader: Reader, customer_id: str, world_id: str) -> PlayerConsent | None:
    """Return what the customer has last said about a world, or None."""
    row = reader.row(_CONSENT, {"customer_id": customer_id, "world_id": world_id})
    return None if row is None else _consent(row)


def allow(uow: UnitOfWork, allowed: Allowed, *, last_seq: int) -> PlayerConsent:
    """Let a world see what the player owns, from now on. Allowing again changes scopes and expiry.

    ``last_seq`` is the number of the world's latest notice. What was written for the world before a consent
    that had ended is not sent to it: ``after_seq`` moves then. Raises NotFoundError ``world.not_found``,
    ConflictError ``world.too_many``.
    """
    known_world(uow, allowed.world_id)
    known = consent_to(uow, allowed.customer_id, allowed.world_id)
    goes_on = known is not None and known.stands(uow.now_ms)
    if not goes_on and len(told_about(uow, allowed.customer_id)) >= MOST_WORLDS:
        raise ConflictError("world.too_many", f"A player allows at most {MOST_WORLDS} worlds at a time.")
    allowed_at_ms, after_seq = uow.now_ms, last_seq
    if known is not None and goes_on:
        allowed_at_ms, after_seq = known.allowed_at_ms, known.after_seq
    scopes = encode([scope.value for scope in allowed.scopes])
    if known is None:
        uow.run(
            _INSERT_CONSENT,
            {
                "customer_id": allowed.customer_id,
                "world_id": allowed.world_id,
                "player_id": allowed.player_id,
                "item_key": allowed.item_key,
                "scopes": scopes,
                "device_id": allowed.device_id,
                "allowed_at_ms": allowed_at_ms,
                "expires_at_ms": allowed.expires_at_ms,
                "revoked_at_ms": None,
                "after_seq": after_seq,
            },
        )
    else:
        uow.run(
            _ALLOW_AGAIN,
            {
                "its_customer": allowed.customer_id,
                "its_world": allowed.world_id,
                "new_scopes": scopes,
                "new_device": allowed.device_id,
                "new_allowed": allowed_at_ms,
                "new_expiry": allowed.expires_at_ms,
                "new_after": after_seq,
            },
        )
    found = consent_to(uow, allowed.customer_id, allowed.world_id)
    assert found is not None
    return found


def revoke(uow: UnitOfWork, customer_id: str, world_id: str) -> PlayerConsent:
    """Take a consent back. NotFoundError ``world.not_allowed`` if there never was one; a repeat is fine."""
    uow.run(_REVOKE, {"its_customer": customer_id, "its_world": world_id, "at": uow.now_ms})
    found = consent_to(uow, customer_id, world_id)
    if found is None:
        raise NotFoundError("world.not_allowed", "The player has not allowed this world anything.")
    return found


def consents_of(reader: Reader, customer_id: str) -> list[tuple[PlayerConsent, str]]:
    """Return what the customer has said about worlds, each with the world's title."""
    rows = reader.rows(_OF_CUSTOMER, {"customer_id": customer_id})
    return [(_consent(row), row.title) for row in rows]


def told_about(reader: Reader, customer_id: str) -> list[tuple[PlayerConsent, bool]]:
    """Return the consents that stand now: the worlds that hear of what becomes of the customer's items. The
    second says whether the world has an address to which that is sent."""
    rows = reader.rows(_TOLD, {"customer_id": customer_id, "now_ms": reader.now_ms})
    return [(_consent(row), bool(row.is_sent)) for row in rows]


def player_of(reader: Reader, world_id: str, player_id: str) -> PlayerConsent | None:
    """Return a player whose consent to this world stands, or None: unknown and not allowed look the same."""
    asked = {"world_id": world_id, "player_id": player_id, "now_ms": reader.now_ms}
    row = reader.row(_PLAYER, asked)
    return None if row is None else _consent(row)


def known_player(reader: Reader, world_id: str, player_id: str) -> PlayerConsent:
    """Return the player; NotFoundError ``player.not_found`` as for `player_of`."""
    found = player_of(reader, world_id, player_id)
    if found is None:
        raise NotFoundError("player.not_found", "There is no such player of this world.")
    return found


def players_of(reader: Reader, world_id: str, *, after: str, limit: int) -> Sequence[PlayerConsent]:
    """Return at most ``limit`` players whose consent stands, by id, from behind ``after``."""
    asked = {"world_id": world_id, "after": after, "now_ms": reader.now_ms, "most": limit}
    return [_consent(row) for row in reader.rows(_PLAYERS, asked)]


def _world(row: Any) -> World:
    return World(
        row.world_id,
        row.title,
        row.webhook_url,
        row.webhook_stopped_because,
        row.created_at_ms,
        row.closed_at_ms is not None,
    )


def _consent(row: Any) -> PlayerConsent:
    return PlayerConsent(
        row.customer_id,
        row.world_id,
        row.player_id,
        row.item_key,
        tuple(Scope(one) for one in decode(row.scopes)),
        row.allowed_at_ms,
        row.expires_at_ms,
        row.revoked_at_ms,
        row.after_seq,
    )
