"""Who calls over HTTP: the bearer token of a device or the key of a merchant or a world."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header, Request

from gateway.commands.context import Context
from gateway.identity.model import DevicePrincipal, MerchantPrincipal, WorldPrincipal
from gateway.identity.tokens import authenticate_device, authenticate_merchant
from gateway.identity.worlds import authenticate_world
from gateway.kernel.errors import ForbiddenError, InvalidError


def context_of(request: Request) -> Context:
    """Return what the composition root put on the app."""
    context: Context = request.app.state.context
    return context


def _bearer(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise ForbiddenError("auth.required", "Send Authorization: Bearer with a token.")
    return token


async def device(
    context: Annotated[Context, Depends(context_of)],
    authorization: Annotated[str | None, Header()] = None,
) -> DevicePrincipal:
    """The signed-in device."""
    token = _bearer(authorization)
    return await context.store.read(lambda reader: authenticate_device(reader, token))


async def merchant(
    context: Annotated[Context, Depends(context_of)],
    authorization: Annotated[str | None, Header()] = None,
) -> MerchantPrincipal:
    """The merchant whose key this is."""
    key = _bearer(authorization)
    return await context.store.read(lambda reader: authenticate_merchant(reader, key))


async def world(
    context: Annotated[Context, Depends(context_of)],
    authorization: Annotated[str | None, Header()] = None,
) -> WorldPrincipal:
    """The world whose key this is."""
    key = _bearer(authorization)
    return await context.store.read(lambda reader: authenticate_world(reader, key))


def key_required() -> InvalidError:
    """Return the error of a call without its key."""
    return InvalidError(
        "idempotency.key_required", "Send an Idempotency-Key header.", param="Idempotency-Key"
    )


def idempotency_key(
    idempotency_key: Annotated[
        str, Header(description="Chosen by the caller; the same key with the same call is done once.")
    ],
) -> str:
    """The caller's key; every changing call needs one."""
    if not idempotency_key:
        raise key_required()
    if len(idempotency_key) > 255 or not idempotency_key.isprintable() or not idempotency_key.isascii():
        raise InvalidError(
            "message.invalid", "A key has 1 to 255 printable characters.", param="Idempotency-Key"
        )
    return idempotency_key


InContext = Annotated[Context, Depends(context_of)]
AsDevice = Annotated[DevicePrincipal, Depends(device)]
AsMerchant = Annotated[MerchantPrincipal, Depends(merchant)]
AsWorld = Annotated[WorldPrincipal, Depends(world)]
Key = Annotated[str, Depends(idempotency_key)]
