"""A caller of the delegated payment endpoint, and what it is told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from gateway.kernel.clock import ManualClock, rfc3339
from gateway.kernel.errors import ForbiddenError
from tests.wallets.vault.shop import HOUR_MS, Shop, sql
from wallets.vault.acp import PATH, DelegatedPayments
from wallets.vault.embedded import EmbeddedVault
from wallets.vault.providers import test_cards

CALLERS = {"Bearer agent-one": "agent_one", "Bearer agent-two": "agent_two"}


async def allow(authorization: str, origin: str) -> str:
    if authorization not in CALLERS:
        raise ForbiddenError("credential.required", "Send a credential.")
    return CALLERS[authorization]


class Agent:
    """A caller of the endpoint. Every request has a fresh key unless it names one."""

    def __init__(self, delegated: DelegatedPayments, clock: ManualClock) -> None:
        self.delegated = delegated
        self.clock = clock
        self._keys = iter(range(1_000_000))
        transport = httpx.ASGITransport(Starlette(routes=delegated.routes()))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://vault")

    def body(self, **changes: Any) -> dict[str, Any]:
        """A good body; ``changes`` by path, ``allowance__max_amount=1``; None removes."""
        body: dict[str, Any] = {
            "payment_method": {
                "type": "card",
                "card_number_type": "fpan",
                "virtual": False,
                "number": test_cards.VISA,
                "exp_month": "12",
                "exp_year": "2031",
                "name": "Ada Lovelace",
                "cvc": "123",
                "checks_performed": ["avs", "cvv"],
                "iin": "424242",
                "display_card_funding_type": "credit",
                "display_brand": "visa",
                "display_last4": "4242",
                "metadata": {"issuing_bank": "temp"},
            },
            "allowance": {
                "reason": "one_time",
                "max_amount": 2_000,
                "currency": "eur",
                "checkout_session_id": "csn_1",
                "merchant_id": "mer_lamps",
                "expires_at": rfc3339(self.clock.now_ms() + HOUR_MS),
            },
            "billing_address": {
                "name": "Ada Lovelace",
                "line_one": "1 Chat Road",
                "city": "London",
                "state": "",
                "country": "GB",
                "postal_code": "N1",
            },
            "risk_signals": [{"type": "card_testing", "score": 10, "action": "authorized"}],
            "metadata": {"campaign": "q4"},
        }
        for path, value in changes.items():
            *parents, name = path.split("__")
            place = body
            for parent in parents:
                place = place[parent]
            if value is None:
                place.pop(name, None)
            else:
                place[name] = value
        return body

    async def post(self, body: Any, **headers: str | None) -> httpx.Response:
        sent: dict[str, str | None] = {
            "Authorization": "Bearer agent-one",
            "API-Version": "2026-04-17",
            "Idempotency-Key": f"key-{next(self._keys)}",
            "Content-Type": "application/json",
        }
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        kept = {name: value for name, value in sent.items() if value is not None}
        return await self.client.post(PATH, content=content, headers=kept)


@pytest.fixture
async def agent(own_vault: EmbeddedVault, clock: ManualClock) -> AsyncIterator[Agent]:
    agent = Agent(own_vault.delegated_payments(allow), clock)
    yield agent
    await agent.client.aclose()


def told(response: httpx.Response) -> tuple[int, str, str | None]:
    """Status, code and param of a flat error."""
    body = response.json()
    assert set(body) <= {"type", "code", "message", "param", "supported_versions"}, body
    assert isinstance(body["type"], str) and body["message"]
    assert test_cards.VISA not in response.text
    return response.status_code, body["code"], body.get("param")


@pytest.fixture
def shop(own_vault: EmbeddedVault, clock: ManualClock, ids: Any) -> Shop:
    return Shop(own_vault, clock, ids)


def allowances(tmp_path: Path) -> int:
    (count,) = sql(tmp_path / "vault" / "vault.db", "SELECT count(*) FROM vault_allowance")[0]
    return int(count)
