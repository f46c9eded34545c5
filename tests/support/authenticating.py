"""Purchases that a customer is asked to authenticate, and answers to that."""

from __future__ import annotations

from typing import Any

import pytest

from samples.headset.client import CommandError, Document, Headset
from tests.support.authenticator import SoftAuthenticator
from tests.support.buying import buy, ended
from tests.support.challenges import decide
from tests.support.gateway import Customer, OpenGateway


async def challenged(headset: Headset, customer: Customer, item: str = "HALM-CHAIR:digital") -> Document:
    """Buy with a card that is always challenged; returns what the session is told."""
    order_id = await buy(headset, customer, item, card="challenge")
    body: Document = (await headset.event("payment.action_required", order_id=order_id))["body"]
    return body


async def with_passkey(
    shop: OpenGateway, headset: Headset, customer: Customer, **given: Any
) -> SoftAuthenticator:
    """Pay once with the bank's approval and add a passkey of this device on the strength of it."""
    asked = await challenged(headset, customer)
    await decide(shop.http, asked["url"])
    await ended(headset, asked["order_id"])
    device = SoftAuthenticator(shop.base_url, **given)
    action_id = asked["action_id"]
    options = (await headset.command("passkey.options", {"action_id": action_id}))["options"]
    body = {"action_id": action_id, "credential": device.create(options), "name": "Headset"}
    await headset.command("passkey.add", body)
    return device


async def answer(headset: Headset, asked: Document, credential: Document) -> Document:
    return await headset.command(
        "payment.authenticate", {"action_id": asked["action_id"], "credential": credential}
    )


async def refused(headset: Headset, asked: Document, credential: Document) -> str:
    with pytest.raises(CommandError) as error:
        await answer(headset, asked, credential)
    return str(error.value.code)


async def action_of(headset: Headset, asked: Document) -> Document:
    return await headset.command("payment.action", {"action_id": asked["action_id"]})
