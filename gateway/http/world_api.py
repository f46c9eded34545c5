"""Worlds over HTTP: what a player's device allows, and what a world's server asks with its key."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from gateway.commands import worlds as commands
from gateway.http.callers import AsDevice, AsWorld, InContext, Key
from gateway.protocol.documents import WorldConsentReply, WorldListReply
from gateway.protocol.messages import (
    MAX_INTEGER,
    Name,
    WorldAllow,
    WorldAllowBody,
    WorldList,
    WorldRevoke,
    WorldRevokeBody,
    WorldScopes,
)

players = APIRouter(prefix="/v1", tags=["customer"])
router = APIRouter(prefix="/v1", tags=["world"])
_ID = "http"
_Player = Annotated[str, Path(max_length=64)]
_After = Annotated[str | None, Query(max_length=64)]


# --- A player's device ------------------------------------------------------------------------------


@players.get("/worlds", response_model=WorldListReply)
async def list_consents(context: InContext, who: AsDevice) -> Any:
    """What the player has said about worlds (``world.list``)."""
    return await commands.list_consents(context, who, WorldList(id=_ID, type="world.list"))


@players.put("/worlds/{world_id}", response_model=WorldConsentReply)
async def allow(context: InContext, who: AsDevice, key: Key, world_id: Name, body: WorldScopes) -> Any:
    """Let a world see what the player owns (``world.allow``)."""
    asked = WorldAllowBody(world_id=world_id, **body.model_dump())
    return await commands.allow(context, who, WorldAllow(id=_ID, type="world.allow", key=key, body=asked))


@players.delete("/worlds/{world_id}", response_model=WorldConsentReply)
async def revoke(context: InContext, who: AsDevice, key: Key, world_id: Name) -> Any:
    """Take it back (``world.revoke``)."""
    body = WorldRevokeBody(world_id=world_id)
    return await commands.revoke(context, who, WorldRevoke(id=_ID, type="world.revoke", key=key, body=body))


# --- A world's server -------------------------------------------------------------------------------


@router.get("/world")
async def about(context: InContext, who: AsWorld) -> Any:
    """The world itself, where its notices go, and the number of the latest."""
    return await commands.about(context, who)


@router.get("/world/players")
async def list_players(
    context: InContext,
    who: AsWorld,
    after: _After = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> Any:
    """The players who let this world see their items now."""
    return await commands.list_players(context, who, after, limit)


@router.get("/world/players/{player_id}")
async def get_player(context: InContext, who: AsWorld, player_id: _Player) -> Any:
    """One player. Without a consent there is no such player."""
    return await commands.get_player(context, who, player_id)


@router.get("/world/players/{player_id}/items")
async def list_items(
    context: InContext,
    who: AsWorld,
    player_id: _Player,
    after: _After = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> Any:
    """What a player owns, oldest first, and the number of the latest notice that it takes into account."""
    return await commands.list_items(context, who, player_id, after, limit)


@router.get("/world/notices")
async def list_notices(
    context: InContext,
    who: AsWorld,
    after: Annotated[int, Query(ge=0, le=MAX_INTEGER)] = 0,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> Any:
    """Notices by number, for a server that missed some or takes no webhooks; kept for 30 days."""
    return await commands.list_notices(context, who, after, limit)


@router.get("/webhook-keys")
async def webhook_keys(context: InContext) -> Any:
    """The public keys that notices are signed with, the newest first: ed25519, as Standard Webhooks writes
    them. Every notice carries a signature by each."""
    keys = () if context.webhook_keys is None else context.webhook_keys.current()
    return {"keys": [{"number": key.number, "public_key": key.public} for key in keys]}
