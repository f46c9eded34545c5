"""Payment actions and passkeys over HTTP, for a device that can run WebAuthn itself: the socket's twins."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from gateway.commands import actions
from gateway.http.callers import AsDevice, InContext, Key
from gateway.protocol.messages import (
    Name,
    PasskeyAdd,
    PasskeyAddBody,
    PasskeyList,
    PasskeyOptions,
    PasskeyOptionsBody,
    PasskeyRemove,
    PasskeyRemoveBody,
    PaymentAction,
    PaymentActionBody,
    PaymentAuthenticate,
    PaymentAuthenticateBody,
)

router = APIRouter(prefix="/v1", tags=["customer"])
_ID = "http"


@router.get("/payment-actions/{action_id}")
async def get_action(context: InContext, who: AsDevice, action_id: str) -> Any:
    """What the customer is asked to approve (``payment.action``)."""
    body = PaymentActionBody(action_id=action_id)
    return await actions.get_action(context, who, PaymentAction(id=_ID, type="payment.action", body=body))


@router.post("/payment-actions/authenticate")
async def authenticate(context: InContext, who: AsDevice, key: Key, body: PaymentAuthenticateBody) -> Any:
    """Answer with an assertion (``payment.authenticate``)."""
    command = PaymentAuthenticate(id=_ID, type="payment.authenticate", key=key, body=body)
    return await actions.authenticate(context, who, command)


@router.post("/passkeys/options")
async def passkey_options(context: InContext, who: AsDevice, body: PasskeyOptionsBody) -> Any:
    """What to create a passkey with (``passkey.options``)."""
    command = PasskeyOptions(id=_ID, type="passkey.options", body=body)
    return await actions.passkey_options(context, who, command)


@router.post("/passkeys")
async def add_passkey(context: InContext, who: AsDevice, key: Key, body: PasskeyAddBody) -> Any:
    """Store a passkey (``passkey.add``)."""
    command = PasskeyAdd(id=_ID, type="passkey.add", key=key, body=body)
    return await actions.add_passkey(context, who, command)


@router.get("/passkeys")
async def list_passkeys(context: InContext, who: AsDevice) -> Any:
    """The customer's passkeys (``passkey.list``)."""
    return await actions.list_passkeys(context, who, PasskeyList(id=_ID, type="passkey.list"))


@router.delete("/passkeys/{passkey_id}")
async def remove_passkey(context: InContext, who: AsDevice, key: Key, passkey_id: Name) -> Any:
    """End a passkey (``passkey.remove``)."""
    body = PasskeyRemoveBody(passkey_id=passkey_id)
    command = PasskeyRemove(id=_ID, type="passkey.remove", key=key, body=body)
    return await actions.remove_passkey(context, who, command)
