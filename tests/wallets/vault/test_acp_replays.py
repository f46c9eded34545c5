"""ACP's delegated payment when it is sent again, at once, or after somebody died (V21, P7, P8)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.kernel.clock import ManualClock, rfc3339
from gateway.kernel.errors import UnavailableError
from tests.wallets.vault.agents import Agent, agent, allowances, told
from tests.wallets.vault.shop import HOUR_MS, sql
from wallets.vault.acp_idempotency import CLAIM_MS, KEPT_MS
from wallets.vault.embedded import EmbeddedVault
from wallets.vault.port import CardEntry, StoredMethod
from wallets.vault.providers import test_cards

__all__ = ["agent"]


async def test_v21_a_replay_has_the_same_answer_and_no_second_effect(
    agent: Agent, tmp_path: Path, clock: ManualClock
) -> None:
    body = agent.body()
    first = await agent.post(body, Idempotency_Key="k")
    clock.advance(2 * HOUR_MS)  # the allowance has expired meanwhile; the answer is the same
    again = await agent.post(body, Idempotency_Key="k")
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["Idempotent-Replayed"] == "true"
    assert allowances(tmp_path) == 1


async def test_v21_equivalent_bodies_are_one_request(agent: Agent, tmp_path: Path) -> None:
    body = agent.body()
    first = await agent.post(body, Idempotency_Key="k")
    turned = json.dumps(dict(reversed(list(body.items())))).replace("2000", "2.000e3").encode()
    assert (await agent.post(turned, Idempotency_Key="k")).json() == first.json()
    for other in (
        agent.body(allowance__max_amount=2_001),
        agent.body(payment_method__checks_performed=["cvv", "avs"]),
        agent.body(metadata={}),
        agent.body(billing_address=None),
        agent.body(payment_method__cvc="124"),
    ):
        assert told(await agent.post(other, Idempotency_Key="k")) == (422, "idempotency_conflict", None)
    assert allowances(tmp_path) == 1


async def test_p7_a_key_belongs_to_its_caller(agent: Agent, tmp_path: Path) -> None:
    one = await agent.post(agent.body(), Idempotency_Key="k")
    two = await agent.post(agent.body(), Idempotency_Key="k", Authorization="Bearer agent-two")
    assert (one.status_code, two.status_code) == (201, 201)
    assert one.json()["id"] != two.json()["id"]
    assert allowances(tmp_path) == 2


async def test_v21_many_at_once_make_one_token(agent: Agent, tmp_path: Path) -> None:
    body = agent.body()
    answers = await asyncio.gather(*(agent.post(body, Idempotency_Key="k") for _ in range(20)))
    made = [answer.json()["id"] for answer in answers if answer.status_code == 201]
    assert len(set(made)) == 1
    for answer in answers:
        if answer.status_code != 201:
            assert told(answer) == (409, "idempotency_in_flight", None)
            assert int(answer.headers["Retry-After"]) >= 1
    assert allowances(tmp_path) == 1


async def test_p7_a_validation_error_is_not_kept(agent: Agent) -> None:
    wrong = agent.body(payment_method__number="4242424242424241")
    assert told(await agent.post(wrong, Idempotency_Key="k"))[:2] == (422, "invalid_card")
    assert (await agent.post(agent.body(), Idempotency_Key="k")).status_code == 201


async def test_p7_a_decline_of_the_provider_is_kept(agent: Agent) -> None:
    body = agent.body(payment_method__number=test_cards.WRONG_SECURITY_CODE)
    first = await agent.post(body, Idempotency_Key="k")
    again = await agent.post(body, Idempotency_Key="k")
    assert (first.status_code, again.status_code, again.json()) == (422, 422, first.json())
    assert again.headers["Idempotent-Replayed"] == "true"


class Faulty:
    """A vault whose next tokenizations end as the test says, after or before they are done."""

    def __init__(self, vault: EmbeddedVault) -> None:
        self._vault = vault
        self.after: list[BaseException] = []
        self.before: list[BaseException] = []
        self.entered = asyncio.Event()
        self.gate: asyncio.Event | None = None

    async def tokenize(self, customer_id: str, card: CardEntry) -> StoredMethod:
        self.entered.set()
        if self.before:
            raise self.before.pop()
        stored = await self._vault.tokenize(customer_id, card)
        if self.gate is not None:
            gate, self.gate = self.gate, None
            await gate.wait()
        if self.after:
            raise self.after.pop()
        return stored

    async def methods(self, customer_id: str) -> list[StoredMethod]:
        return await self._vault.methods(customer_id)

    async def remove_method(self, customer_id: str, payment_method_id: Any) -> bool:
        return await self._vault.remove_method(customer_id, payment_method_id)


@pytest.fixture
def faulty(own_vault: EmbeddedVault, agent: Agent) -> Faulty:
    faulty = Faulty(own_vault)
    agent.delegated._cards = faulty
    agent.delegated.forgetting._cards = faulty
    return faulty


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (UnavailableError("vault.provider_unavailable", "Later."), 503),
        (RuntimeError("4242424242424242"), 500),
    ],
)
async def test_v21_a_failure_on_our_side_is_not_kept_and_the_retry_starts_afresh(
    agent: Agent, faulty: Faulty, tmp_path: Path, when: str, fault: Exception, status: int
) -> None:
    getattr(faulty, when).append(fault)
    body = agent.body()
    first = await agent.post(body, Idempotency_Key="k")
    assert told(first)[0] == status
    again = await agent.post(body, Idempotency_Key="k")
    assert again.status_code == 201
    assert "Idempotent-Replayed" not in again.headers
    assert allowances(tmp_path) == 1
    stored = sql(tmp_path / "vault" / "vault.db", "SELECT count(*) FROM vault_method")
    assert stored == [(1,)]


async def test_p8_a_request_that_died_is_taken_over_after_its_claim(
    agent: Agent, faulty: Faulty, tmp_path: Path, clock: ManualClock
) -> None:
    """As after kill -9 between storing the card and granting: the claim stays, then runs out."""
    faulty.after.append(asyncio.CancelledError())
    body = agent.body()
    with pytest.raises(asyncio.CancelledError):
        await agent.post(body, Idempotency_Key="k")
    assert told(await agent.post(body, Idempotency_Key="k")) == (409, "idempotency_in_flight", None)
    other = agent.body(allowance__max_amount=1)
    assert told(await agent.post(other, Idempotency_Key="k")) == (422, "idempotency_conflict", None)
    clock.advance(CLAIM_MS)
    assert (await agent.post(body, Idempotency_Key="k")).status_code == 201
    assert allowances(tmp_path) == 1
    assert sql(tmp_path / "vault" / "vault.db", "SELECT count(*) FROM vault_method") == [(1,)]


async def test_p8_a_slow_request_that_lost_its_claim_grants_nothing(
    agent: Agent, faulty: Faulty, tmp_path: Path, clock: ManualClock
) -> None:
    gate = faulty.gate = asyncio.Event()
    body = agent.body()
    slow = asyncio.create_task(agent.post(body, Idempotency_Key="k"))
    await faulty.entered.wait()
    clock.advance(CLAIM_MS)
    quick = await agent.post(body, Idempotency_Key="k")
    assert quick.status_code == 201
    gate.set()
    assert told(await slow) == (409, "idempotency_in_flight", None)
    assert (await agent.post(body, Idempotency_Key="k")).json() == quick.json()
    assert allowances(tmp_path) == 1


async def test_p7_keys_are_kept_for_thirty_days(agent: Agent, clock: ManualClock, tmp_path: Path) -> None:
    body = agent.body(allowance__expires_at=rfc3339(clock.now_ms() + 60 * 24 * HOUR_MS))
    first = await agent.post(body, Idempotency_Key="k")
    clock.advance(KEPT_MS - 1)
    assert (await agent.post(body, Idempotency_Key="k")).json() == first.json()
    clock.advance(1)
    fresh = await agent.post(body, Idempotency_Key="k")
    assert fresh.status_code == 201 and fresh.json()["id"] != first.json()["id"]
    assert allowances(tmp_path) == 2


async def test_a_card_whose_request_died_for_good_is_forgotten(
    agent: Agent, faulty: Faulty, clock: ManualClock, tmp_path: Path
) -> None:
    faulty.after.append(asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await agent.post(agent.body())
    path = tmp_path / "vault" / "vault.db"
    clock.advance(HOUR_MS)
    assert await agent.delegated.forgetting.sweep() == 0
    clock.advance(CLAIM_MS)
    assert await agent.delegated.forgetting.sweep() == 1
    assert sql(path, "SELECT ciphertext IS NULL FROM vault_method") == [(1,)]
    assert sql(path, "SELECT count(*) FROM vault_idempotency") == [(0,)]
