"""A token that was delegated to an agent (ACP) pays for the checkout session it names, and for nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx

from gateway.kernel.clock import SystemClock, rfc3339
from samples.headset.client import Document, Headset
from tests.support.buying import ended, show
from tests.support.gateway import HOLDER
from tests.support.seed import ATELIER, Seed
from tests.support.standing import HOUR_MS, merchant_id, with_allowance
from tests.support.vault_apart import ApartShop, issue, served_apart
from wallets.vault import credentials
from wallets.vault.acp import PATH
from wallets.vault.providers.test_cards import VISA


async def checkout(headset: Headset) -> Document:
    """Open a checkout session: a quote for the web shop."""
    body = {
        "merchant": ATELIER,
        "items": [{"sku": "KUPPEL-LAMP", "format": "digital", "quantity": 1}],
        "currency": "EUR",
        "country": "DE",
        "channel": "web",
    }
    return await headset.command("quote.create", body)


async def delegate(shop: ApartShop, credential: str, session_id: str) -> str:
    """Hand a card in as an agent does; returns the token."""
    body: dict[str, Any] = {
        "payment_method": {
            "type": "card",
            "card_number_type": "fpan",
            "number": VISA,
            "exp_month": "12",
            "exp_year": "2031",
            "cvc": "739",
            "name": HOLDER,
            "display_card_funding_type": "credit",
            "metadata": {},
        },
        "allowance": {
            "reason": "one_time",
            "max_amount": 2_000,
            "currency": "eur",
            "checkout_session_id": session_id,
            "merchant_id": await merchant_id(shop),
            "expires_at": rfc3339(SystemClock().now_ms() + HOUR_MS),
        },
        "risk_signals": [{"type": "card_testing", "score": 10, "action": "authorized"}],
        "metadata": {},
    }
    headers = {
        "Authorization": f"Bearer {credential}",
        "API-Version": "2026-04-17",
        "Idempotency-Key": session_id,
    }
    async with httpx.AsyncClient(base_url=shop.vault.settings.base_url) as http:
        made = await http.post(PATH, headers=headers, json=body)
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


async def test_v20_a_delegated_token_pays_for_its_quote_once(seed: Seed, tmp_path: Path) -> None:
    async with served_apart(seed, tmp_path) as shop:
        await asyncio.to_thread(shop.vault.terminate)
        credential = await issue(shop.vault.settings, credentials.Role.AGENT, "agent")
        shop.vault.start()
        await shop.vault.until_ready()
        shop.secrets |= {credential, VISA}
        customer, stranger = await shop.customer(), await shop.customer()
        async with shop.headset(customer) as headset, shop.headset(stranger) as other:
            quoted = await checkout(headset)
            token = await delegate(shop, credential, quoted["quote_id"])
            assert token.startswith("vt_")
            # Somebody who has got hold of it cannot pay for their own session with it.
            theirs = await other.command("order.place", with_allowance(await checkout(other), token))
            declined = await other.event("payment.declined", order_id=theirs["order_id"])
            assert declined["body"]["code"] == "allowance.session_mismatch"
            placed = await headset.command("order.place", with_allowance(quoted, token))
            assert (await ended(headset, placed["order_id"]))["type"] == "order.completed"
            # The card is nobody's stored method.
            assert (await headset.command("payment.methods"))["methods"] == []
            assert "declined" in (await show(other, theirs["order_id"]))["payment"]
            await other.command("order.cancel", {"order_id": theirs["order_id"]})
        await shop.at_rest()
        events = shop.evidence.rows("SELECT body FROM event")
        assert not any(token in row["body"] for row in events)
        await asyncio.to_thread(shop.terminate)
        assert shop.log.read_text().count(token) == 0
