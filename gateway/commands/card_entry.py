"""How a customer's card gets to the vault without passing through here: a page of the vault, or encrypted."""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin

from gateway.commands.context import Context
from gateway.kernel.clock import rfc3339
from gateway.payments.method_feed import record_method


async def open_card_page(context: Context, customer_id: str, return_url: str | None) -> dict[str, Any]:
    """Return the address of a fresh page on which the customer enters a card."""
    session = await context.vault.open_card_session(customer_id, return_url)
    context.card_expected(session.expires_at_ms)
    return {
        "url": urljoin(context.process.base_url, session.url),
        "expires_at": rfc3339(session.expires_at_ms),
    }


async def card_key(context: Context, customer_id: str) -> dict[str, Any]:
    """Return the key to encrypt a card to (JWK, RFC 7517), and what the encrypted card must say."""
    key = await context.vault.card_key()
    return {
        "key": {
            "kty": "RSA",
            "use": "enc",
            "alg": "RSA-OAEP-256",
            "kid": key.key_id,
            "n": key.modulus,
            "e": key.exponent,
        },
        "enc": "A256GCM",
        "sub": customer_id,
        "iat": key.now_s,
    }


async def add_sealed_card(context: Context, customer_id: str, sealed: str) -> dict[str, Any]:
    """Pass on a card that the customer's device encrypted; only the vault can open it."""
    stored = await context.vault.store_sealed_card(customer_id, sealed)
    return await context.store.write(lambda uow: record_method(uow, stored))
