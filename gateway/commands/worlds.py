"""Worlds: what a player allows from a device, what a world's server may ask, what an operator sets up."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from gateway.commands.context import Context
from gateway.identity import worlds
from gateway.identity.model import WORLD_KEY_PREFIX, DevicePrincipal, WorldPrincipal, digest, new_secret
from gateway.identity.worlds import Allowed, PlayerConsent, Scope
from gateway.kernel.clock import parse_rfc3339, rfc3339
from gateway.kernel.documents import decode
from gateway.kernel.errors import ForbiddenError, InvalidError, NotFoundError
from gateway.kernel.events.model import Event
from gateway.kernel.store.unit import Reader, Store, UnitOfWork
from gateway.orders.idempotency import earlier_result, keep_result, request_hash
from gateway.orders.item_ids import leg_id_of
from gateway.orders.ownership import Held, Holding, OwnedItem, listed_before, owned_items
from gateway.orders.world_notices import NoticeWriter, WorldEndpoints, with_model
from gateway.protocol.messages import WorldAllow, WorldList, WorldRevoke
from gateway.webhooks import outbox
from gateway.webhooks.egress import checked_url
from gateway.webhooks.model import NoticeState
from wallets.custody.accounts import account_of
from wallets.custody.linking import linked_wallets

DAY_MS = 24 * 3_600_000
KEY_OVERLAP_MS = DAY_MS
"""How long the key before stays valid after a new one was made."""


# --- A player's device ------------------------------------------------------------------------------


async def allow(context: Context, who: DevicePrincipal, command: WorldAllow) -> dict[str, Any]:
    """Let a world see what the player owns (``world.allow``); the reply has the player's id there."""
    body = command.body
    _require_own_world(who, body.world_id)
    allowed = Allowed(
        customer_id=who.customer_id,
        device_id=who.device_id,
        world_id=body.world_id,
        scopes=tuple(sorted(Scope(one) for one in body.scopes)),
        expires_at_ms=None if body.expires_at is None else _moment(body.expires_at),
        player_id=worlds.new_player_id(),
        item_key=worlds.new_item_key(),
    )
    hash_ = request_hash(body)

    def unit(uow: UnitOfWork) -> dict[str, Any]:
        if earlier_result(uow, who.customer_id, "world.allow", command.key or "", hash_) is not None:
            return _said(uow, who.customer_id, body.world_id, replayed=True)
        if allowed.expires_at_ms is not None and allowed.expires_at_ms <= uow.now_ms:
            raise InvalidError(
                "message.invalid", "The consent would have ended already.", param="$.body.expires_at"
            )
        title = worlds.known_world(uow, body.world_id).title
        consent = worlds.allow(uow, allowed, last_seq=outbox.last_number(uow, body.world_id))
        keep_result(
            uow, who.customer_id, "world.allow", command.key or "", hash_, {"world_id": body.world_id}
        )
        told = {name: value for name, value in _consent(uow, consent, title).items() if name != "state"}
        uow.emit(Event(who.customer_id, "world.allowed", told))
        return _said(uow, who.customer_id, body.world_id, replayed=False)

    return await context.store.write(unit, locks=_locks(who, command.key))


async def revoke(context: Context, who: DevicePrincipal, command: WorldRevoke) -> dict[str, Any]:
    """Take it back (``world.revoke``): from now on the world is told nothing, and finds no such player."""
    body = command.body
    _require_own_world(who, body.world_id)
    hash_ = request_hash(body)

    def unit(uow: UnitOfWork) -> dict[str, Any]:
        if earlier_result(uow, who.customer_id, "world.revoke", command.key or "", hash_) is not None:
            return _said(uow, who.customer_id, body.world_id, replayed=True)
        before = worlds.consent_to(uow, who.customer_id, body.world_id)
        consent = worlds.revoke(uow, who.customer_id, body.world_id)
        outbox.withdraw(uow, body.world_id, consent.player_id)
        keep_result(
            uow, who.customer_id, "world.revoke", command.key or "", hash_, {"world_id": body.world_id}
        )
        if before is not None and before.revoked_at_ms is None:
            uow.emit(Event(who.customer_id, "world.revoked", {"world_id": body.world_id}))
        return _said(uow, who.customer_id, body.world_id, replayed=False)

    return await context.store.write(unit, locks=_locks(who, command.key))


async def list_consents(context: Context, who: DevicePrincipal, command: WorldList) -> dict[str, Any]:
    """What the player has said about worlds (``world.list``)."""

    def query(reader: Reader) -> list[dict[str, Any]]:
        return [
            _consent(reader, consent, title)
            for consent, title in worlds.consents_of(reader, who.customer_id)
            if who.world_id in (None, consent.world_id)
        ]

    return {"worlds": await context.store.read(query)}


def _require_own_world(who: DevicePrincipal, world_id: str) -> None:
    """A token that was issued for use in one world is in the hands of that world's client."""
    if who.world_id is not None and who.world_id != world_id:
        raise ForbiddenError("world.other", "A token for use in one world speaks for that world alone.")


def _locks(who: DevicePrincipal, key: str | None) -> tuple[str, ...]:
    return (f"key:{who.customer_id}:{key}", f"worlds:{who.customer_id}")


def _moment(text: str) -> int:
    try:
        return parse_rfc3339(text)
    except ValueError:
        raise InvalidError("message.invalid", "There is no such time.", param="$.body.expires_at") from None


def _said(reader: Reader, customer_id: str, world_id: str, *, replayed: bool) -> dict[str, Any]:
    (found,) = [
        _consent(reader, consent, title)
        for consent, title in worlds.consents_of(reader, customer_id)
        if consent.world_id == world_id
    ]
    return {**found, "replayed": replayed}


def _consent(reader: Reader, consent: PlayerConsent, title: str) -> dict[str, Any]:
    state = "allowed"
    if not consent.stands(reader.now_ms):
        state = "revoked" if consent.revoked_at_ms is not None else "expired"
    return {"world_id": consent.world_id, "title": title, "state": state, **_player(consent)}


def _player(consent: PlayerConsent) -> dict[str, Any]:
    return {
        "player_id": consent.player_id,
        "scopes": [scope.value for scope in consent.scopes],
        "allowed_at": rfc3339(consent.allowed_at_ms),
        "expires_at": None if consent.expires_at_ms is None else rfc3339(consent.expires_at_ms),
    }


# --- A world's server -------------------------------------------------------------------------------


async def about(context: Context, who: WorldPrincipal) -> dict[str, Any]:
    """The world itself, where its notices go, and the number of the latest."""

    def query(reader: Reader) -> dict[str, Any]:
        found = worlds.known_world(reader, who.world_id)
        return {
            "world_id": found.world_id,
            "title": found.title,
            "webhook_url": found.webhook_url,
            "webhook_stopped": found.stopped_because,
            "seq": outbox.last_number(reader, who.world_id),
        }

    return await context.store.read(query)


async def list_players(context: Context, who: WorldPrincipal, after: str | None, limit: int) -> Any:
    """A page of the players who let this world see their items now."""
    found = await context.store.read(
        lambda reader: worlds.players_of(reader, who.world_id, after=after or "", limit=limit + 1)
    )
    return {
        "players": [_player(consent) for consent in found[:limit]],
        "next": found[limit - 1].player_id if len(found) > limit else None,
    }


async def get_player(context: Context, who: WorldPrincipal, player_id: str) -> dict[str, Any]:
    """One player of this world."""
    return _player(
        await context.store.read(lambda reader: worlds.known_player(reader, who.world_id, player_id))
    )


async def list_items(
    context: Context, who: WorldPrincipal, player_id: str, after: str | None, limit: int
) -> dict[str, Any]:
    """A page of what a player owns, oldest first. ``seq`` is the number of the latest notice that the page
    takes into account: a server reads the list once and follows the notices from there."""

    def query(reader: Reader) -> tuple[list[OwnedItem], dict[Holding, int], dict[str, Any]]:
        player = worlds.known_player(reader, who.world_id, player_id)
        behind = "" if after is None else leg_id_of(player.item_key, after)
        if behind is None:
            raise InvalidError("message.invalid", "There is no such item of this player.", param="after")
        found = owned_items(reader, player.customer_id, player.item_key, after=behind, limit=limit + 1)
        page: dict[str, Any] = {
            "player_id": player_id,
            "next": found[limit - 1].document["item_id"] if len(found) > limit else None,
            "seq": outbox.last_number(reader, who.world_id),
        }
        if Scope.WALLETS in player.scopes:
            page["wallets"] = _wallets(reader, player.customer_id)
        before = {} if after is None else listed_before(reader, found[:limit], behind)
        return found[:limit], before, page

    items, before, page = await context.store.read(query)
    documents = []
    for item, document in await _on_chain(context, items, before):
        if "wallets" in page and item.wallet is not None:
            document["wallet"] = item.wallet
        documents.append(with_model(context.catalog.current, context.process.base_url, document))
    return {**page, "items": documents}


async def _on_chain(
    context: Context, items: list[OwnedItem], before: Mapping[Holding, int]
) -> list[tuple[OwnedItem, dict[str, Any]]]:
    """Return the items that are still in their wallets, with how many of them; ``before`` are those of pages
    before.

    The chain is asked about wallets that somebody else controls, for a moment at most. Where it does not
    answer, the item is listed as we know it, with ``verified_at`` null.
    """
    outside = [item for item in items if item.is_outside]
    if not outside:
        return [(item, dict(item.document)) for item in items]
    held: Mapping[Holding, Held] = {}
    if context.holdings is not None:
        held = await context.holdings.held({item.holding for item in outside})
    left = {key: max(0, found.amount - before.get(key, 0)) for key, found in held.items()}
    shown = []
    for item in items:
        document = dict(item.document)
        if item.is_outside:
            key = item.holding
            found = held.get(key)
            document["verified_at"] = None if found is None else rfc3339(found.at_ms)
            if found is not None:
                # Copies of an open edition are alike: the oldest purchases are taken to be there.
                there = min(document["quantity"], left[key])
                left[key] -= there
                if not there:
                    continue
                document["quantity"] = there
        shown.append((item, document))
    return shown


def _wallets(reader: Reader, customer_id: str) -> list[dict[str, Any]]:
    account = account_of(reader, customer_id)
    own = [] if account is None else [{"kind": "account", "address": account.address, "chain_id": None}]
    linked = [
        {"kind": "linked", "address": one.address, "chain_id": one.chain_id}
        for one in linked_wallets(reader, customer_id)
    ]
    return own + linked


async def list_notices(context: Context, who: WorldPrincipal, after: int, limit: int) -> dict[str, Any]:
    """Notices that follow number ``after``, of players who still let this world know; numbers of others are
    left out. ``next`` is what to ask for next, also when nothing is left."""
    endpoints, writer = WorldEndpoints(), NoticeWriter(context.catalog, context.process.base_url)

    def query(reader: Reader) -> dict[str, Any]:
        rows = outbox.notices_after(reader, who.world_id, after, limit)
        sights = {
            subject: endpoints.sight(reader, who.world_id, subject)
            for subject in {row.subject for row in rows}
        }
        notices = []
        for row in rows:
            sight = sights[row.subject]
            if sight is not None and row.seq > sight.after_seq:
                data = sight.shown(decode(row.data))
                document = writer.document(row.seq, row.type, data, row.created_at_ms)
                notices.append({"id": row.notice_id, **document})
        return {
            "notices": notices,
            "next": rows[-1].seq if rows else after,
            "more": len(rows) == limit,
        }

    return await context.store.read(query)


# --- An operator ------------------------------------------------------------------------------------


async def add_world(
    store: Store, world_id: str, *, title: str, webhook_url: str | None, private: bool = False
) -> str:
    """Register a world and return its key, which is shown once. ``private``: see `checked_url`."""
    if webhook_url is not None:
        checked_url(webhook_url, private=private)
    key = new_secret(WORLD_KEY_PREFIX)

    def unit(uow: UnitOfWork) -> None:
        worlds.add_world(uow, world_id, title=title, webhook_url=webhook_url)
        worlds.store_world_key(uow, world_id, key_digest=digest(key))

    await store.write(unit)
    return key


async def rotate_key(store: Store, world_id: str, *, overlap_ms: int = KEY_OVERLAP_MS) -> str:
    """Return a new key of a world; earlier ones end after ``overlap_ms``."""
    key = new_secret(WORLD_KEY_PREFIX)
    await store.write(
        lambda uow: worlds.store_world_key(uow, world_id, key_digest=digest(key), overlap_ms=overlap_ms)
    )
    return key


async def set_webhook(store: Store, world_id: str, url: str | None, *, private: bool = False) -> None:
    """Say where a world's notices go, or nowhere; a webhook that was stopped begins again."""
    if url is not None:
        checked_url(url, private=private)

    def unit(uow: UnitOfWork) -> None:
        worlds.set_webhook(uow, world_id, url)
        if url is None:
            outbox.keep_all(uow, world_id)
        else:
            outbox.back_again(uow, world_id)

    await store.write(unit)


async def close_world(store: Store, world_id: str) -> None:
    """End a world for good."""

    def unit(uow: UnitOfWork) -> None:
        worlds.close_world(uow, world_id)
        outbox.keep_all(uow, world_id)

    await store.write(unit)


async def send_again(store: Store, world_id: str, notice_id: str) -> None:
    """Send a notice once more, under its id. NotFoundError ``notice.not_found``: it waits, or is unknown."""

    def unit(uow: UnitOfWork) -> None:
        worlds.known_world(uow, world_id)
        if not outbox.send_again(uow, world_id, notice_id):
            raise NotFoundError("notice.not_found", "Not a notice of this world that has ended.")

    await store.write(unit)


async def notices_in(store: Store, world_id: str, state: NoticeState | None, limit: int) -> list[Any]:
    """Return a world's notices as rows: the first ones of a state, or the latest of all; also of a world that
    is closed. Raises NotFoundError ``world.not_found``."""

    def query(reader: Reader) -> list[Any]:
        worlds.registered_world(reader, world_id)
        if state is not None:
            return outbox.notices_in(reader, world_id, state, 0, limit)
        after = max(0, outbox.last_number(reader, world_id) - limit)
        return outbox.notices_after(reader, world_id, after, limit)

    return await store.read(query)


async def all_worlds(store: Store) -> list[worlds.World]:
    """Return every world of this installation."""
    return await store.read(partial(worlds.all_worlds))
