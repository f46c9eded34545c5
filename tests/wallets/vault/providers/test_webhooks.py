"""H3: webhooks are verified before they are read, stored, dealt with once, in any order; the query wins."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import ForbiddenError, InvalidError, NotFoundError
from tests.wallets.vault.providers.recorded import Recorded
from tests.wallets.vault.providers.stands import (
    API_KEY,
    WEBHOOK_KEY,
    AcquirerServer,
    Parts,
    Stand,
    acquirer_process,
    parts,
)
from tests.wallets.vault.shop import CUSTOMER, card, eur, sql
from wallets.vault.port import Authorize, Capture, OperationStatus
from wallets.vault.providers import test_cards
from wallets.vault.providers.acquirer.client import AcquirerClient
from wallets.vault.providers.port import NoAnswerError
from wallets.vault.providers.signatures import standard_headers
from wallets.vault.secret import Secret
from wallets.vault.service import VaultService
from wallets.vault.webhooks import _BY_REFERENCE

S = OperationStatus


class Announcing(Recorded):
    """Recorded calls of a provider that sends webhooks."""

    def notice(self, headers: Any, body: bytes, now_ms: int) -> Any:
        assert isinstance(self.provider, AcquirerClient)
        return self.provider.notice(headers, body, now_ms)


@dataclass
class Inbox:
    """A small server that keeps what arrives."""

    url: str = ""
    events: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head if line)}
        body = await reader.readexactly(int(headers["content-length"]))
        self.events.append((headers, body))
        writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async def holds(self, count: int) -> None:
        for _ in range(1_000):
            if len(self.events) >= count:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{len(self.events)} of {count} events came")


@dataclass
class World:
    stand: Stand
    server: AcquirerServer
    inbox: Inbox
    given: Parts

    @property
    def vault(self) -> VaultService:
        return self.stand.service

    async def receive_all(self) -> list[str]:
        return [
            (await self.vault.receive_webhook("simulated", headers, body)).state.value
            for headers, body in self.inbox.events
        ]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    inbox = Inbox()
    listening = await asyncio.start_server(inbox.take, "127.0.0.1", 0)
    inbox.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
    with acquirer_process(tmp_path, "--webhook-url", inbox.url) as server:
        async with parts(tmp_path, ManualClock(int(time.time() * 1000))) as given:
            provider = Announcing(AcquirerClient(server.url, API_KEY, webhook_keys=(WEBHOOK_KEY,)))
            vault = given.open(provider)
            stand = Stand(vault, given.clock, given.ids, provider, lambda: vault.tokenize(CUSTOMER, card()))
            yield World(stand, server, inbox, given)
            await provider.close()
    listening.close()


async def test_h3_duplicates_and_disorder_leave_one_result(world: World) -> None:
    """Every event three times, in reverse order, with the replies lost: one capture, found by the query."""
    world.server.switch(duplicate_webhooks=2, hold_webhooks=3, lose_replies=3)
    method = await world.stand.new_method()
    request = world.stand.request(world.stand.terms(method, eur(900)), eur(900))
    assert (await world.vault.authorize(request)).status is S.UNKNOWN
    assert (await world.vault.operation(request.operation_id)).status is S.SUCCEEDED
    first, second = (Capture(world.stand.op(), request.operation_id, eur(each)) for each in (300, 600))
    for capture in (first, second):
        assert (await world.vault.capture(capture)).status is S.UNKNOWN
    await world.inbox.holds(9)
    types = [json.loads(body)["type"] for _, body in world.inbox.events]
    assert sorted(types) == ["authorize.succeeded"] * 3 + ["capture.succeeded"] * 6
    states = await world.receive_all()
    assert sorted(states) == ["known"] * 6 + ["received"] * 3
    finds = world.stand.provider.calls.count("find")
    assert await world.vault.process_webhooks() == 3
    assert await world.vault.process_webhooks() == 0
    assert world.stand.provider.calls.count("find") == finds + 2  # the two that were undecided
    page = await world.vault.operations_since("", 100)
    assert page is not None
    for capture in (first, second):
        found = await world.vault.operation(capture.operation_id)
        assert found is not None
        assert found.status is S.SUCCEEDED
    effects = [(each["kind"], each["amount"]["amount_minor"]) for each in world.server.effects()]
    assert sorted(effects) == [("authorize", 900), ("capture", 300), ("capture", 600)]


async def test_h3_the_query_wins_over_what_an_event_says(world: World) -> None:
    """An authentic event that claims a success which the provider does not know changes nothing."""
    world.server.switch(fail_before=1)
    method = await world.stand.new_method()
    request = world.stand.request(world.stand.terms(method, eur(900)), eur(900))
    assert (await world.vault.authorize(request)).status is S.UNKNOWN
    body = json.dumps(
        {"type": "authorize.succeeded", "data": {"operation_id": request.operation_id, "reference": "sim_1"}}
    ).encode()
    now_ms = world.given.clock.now_ms()
    await world.vault.receive_webhook("simulated", standard_headers(WEBHOOK_KEY, "evt_1", body, now_ms), body)
    assert await world.vault.process_webhooks() == 1
    found = await world.vault.operation(request.operation_id)
    assert found is not None
    assert (found.status, found.refusal) == (S.FAILED, "provider.never_received")


async def test_h3_what_is_not_authentic_is_neither_read_nor_stored(world: World, tmp_path: Path) -> None:
    body = b'{"type":"capture.succeeded","data":{"operation_id":"op_1","reference":null}}'
    now_ms = world.given.clock.now_ms()
    good = standard_headers(WEBHOOK_KEY, "evt_1", body, now_ms)
    spoilt: list[tuple[dict[str, str], bytes]] = [
        (good, body + b" "),
        ({**good, "webhook-id": "evt_2"}, body),
        ({**good, "webhook-timestamp": str(now_ms // 1000 - 1)}, body),
        (standard_headers(WEBHOOK_KEY, "evt_1", body, now_ms - 301_000), body),
        (standard_headers(WEBHOOK_KEY, "evt_1", body, now_ms + 301_000), body),
        (standard_headers(Secret("whsec_AAAA"), "evt_1", body, now_ms), body),
        ({**good, "webhook-signature": "v2," + good["webhook-signature"][3:]}, body),
        ({name: value for name, value in good.items() if name != "webhook-signature"}, body),
        ({}, body),
    ]
    for headers, spoilt_body in spoilt:
        with pytest.raises(ForbiddenError, match=r"webhook\.not_authentic"):
            await world.vault.receive_webhook("simulated", headers, spoilt_body)
    assert sql(tmp_path / "vault" / "vault.db", "SELECT * FROM vault_webhook") == []
    # Several signatures at once, while a key is changed.
    both = {**good, "webhook-signature": "v1,AAAA " + good["webhook-signature"]}
    assert (await world.vault.receive_webhook("simulated", both, body)).state == "received"


async def test_h3_authentic_nonsense_and_unknown_providers_are_refused(world: World) -> None:
    now_ms = world.given.clock.now_ms()
    for body in (b"not json", b"[]", b"{}", b'{"type":"x","data":null}'):
        with pytest.raises(InvalidError, match=r"webhook\.unreadable"):
            headers = standard_headers(WEBHOOK_KEY, "evt_1", body, now_ms)
            await world.vault.receive_webhook("simulated", headers, body)
    with pytest.raises(InvalidError, match=r"webhook\.unreadable"):
        await world.vault.receive_webhook("simulated", {}, b" " * 300_000)
    with pytest.raises(NotFoundError, match=r"webhook\.unknown_provider"):
        await world.vault.receive_webhook("another", {}, b"{}")


async def test_h3_an_event_about_nothing_of_ours_is_parked_and_looked_at_again(world: World) -> None:
    method = await world.stand.new_method()
    request = world.stand.request(world.stand.terms(method, eur(900)), eur(900))
    data = {"operation_id": request.operation_id, "reference": "sim_elsewhere"}
    body = json.dumps({"type": "authorize.succeeded", "data": data}).encode()
    headers = standard_headers(WEBHOOK_KEY, "evt_early", body, world.given.clock.now_ms())
    await world.vault.receive_webhook("simulated", headers, body)
    assert await world.vault.process_webhooks() == 0
    [parked] = await world.vault.webhooks.parked()
    assert (parked.event_id, parked.operation_id) == ("evt_early", request.operation_id)
    # Our own commit comes later than the event.
    world.server.switch(lose_replies=1)
    assert (await world.vault.authorize(request)).status is S.UNKNOWN
    assert await world.vault.process_webhooks() == 0  # not every moment
    world.given.clock.advance(60_000)
    assert await world.vault.process_webhooks() == 1
    assert await world.vault.webhooks.parked() == []
    found = await world.vault.operation(request.operation_id)
    assert found is not None
    assert found.status is S.SUCCEEDED


async def test_h3_a_challenge_that_was_passed_on_the_acquirers_page_is_announced(world: World) -> None:
    import httpx

    method = await world.vault.tokenize(CUSTOMER, card(test_cards.CHALLENGE))
    request = world.stand.request(world.stand.terms(method, eur(900)), eur(900))
    waiting = await world.vault.authorize(request)
    assert waiting.action is not None
    page = httpx.get(waiting.action.path)
    assert page.status_code == 200
    assert "9.00 EUR" in page.text
    assert httpx.post(waiting.action.path + "/approve").status_code == 303
    await world.inbox.holds(2)
    await world.receive_all()
    await world.vault.process_webhooks()
    page_of_changes = await world.vault.operations_since("", 100)
    assert page_of_changes is not None
    found = await world.vault.operation(request.operation_id)
    assert found is not None
    assert (found.status, found.liability) == (S.SUCCEEDED, "issuer")


async def announce(world: World, event_id: str, operation_id: str) -> None:
    """Receive an authentic event about an operation."""
    data = {"operation_id": operation_id, "reference": "sim_elsewhere"}
    body = json.dumps({"type": "authorize.succeeded", "data": data}).encode()
    headers = standard_headers(WEBHOOK_KEY, event_id, body, world.given.clock.now_ms())
    await world.vault.receive_webhook("simulated", headers, body)


async def lost(world: World) -> Authorize:
    """An authorization whose reply did not arrive."""
    world.server.switch(lose_replies=1)
    method = await world.stand.new_method()
    request = world.stand.request(world.stand.terms(method, eur(900)), eur(900))
    assert (await world.vault.authorize(request)).status is S.UNKNOWN
    return request


async def settled(world: World, request: Authorize) -> bool:
    path = world.given.directory / "vault" / "vault.db"
    [(state,)] = sql(path, "SELECT state FROM vault_operation WHERE operation_id = ?", request.operation_id)
    return bool(state == "succeeded")


async def test_h3_an_event_stays_open_until_the_provider_has_said_what_became_of_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = await lost(world)
    await announce(world, "evt_1", request.operation_id)

    async def silent(_: Any) -> None:
        raise NoAnswerError("silent")

    with monkeypatch.context() as away:
        away.setattr(world.stand.provider, "find", silent)
        assert await world.vault.process_webhooks() == 0
    assert await world.vault.process_webhooks() == 0  # not every moment
    assert await world.vault.webhooks.parked() == []
    world.given.clock.advance(60_000)
    assert await world.vault.process_webhooks() == 1
    assert await settled(world, request)


async def test_h3_an_event_that_cannot_be_dealt_with_does_not_hold_up_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison, good = await lost(world), await lost(world)
    await announce(world, "evt_1", poison.operation_id)
    world.given.clock.advance(1)
    await announce(world, "evt_2", good.operation_id)
    operation = world.vault.operation

    async def ask(operation_id: Any) -> Any:
        if operation_id == poison.operation_id:
            raise RuntimeError("cannot be settled")
        return await operation(operation_id)

    with monkeypatch.context() as broken:
        broken.setattr(world.vault, "operation", ask)
        assert await world.vault.process_webhooks() == 1
    assert await settled(world, good)
    world.given.clock.advance(60_000)
    assert await world.vault.process_webhooks() == 1
    assert await settled(world, poison)


async def test_h3_what_is_parked_does_not_keep_new_events_waiting(world: World) -> None:
    for number in range(250):
        await announce(world, f"evt_foreign_{number}", f"op_foreign_{number}")
    assert await world.vault.process_webhooks() == 0
    assert len(await world.vault.webhooks.parked()) == 250
    world.given.clock.advance(60_000)
    request = await lost(world)
    await announce(world, "evt_ours", request.operation_id)
    assert (await world.vault.webhooks.open("simulated", 1))[0].event_id == "evt_ours"
    assert await world.vault.process_webhooks() == 1
    assert await settled(world, request)
    # What stays foreign is looked at ever more rarely.
    world.given.clock.advance(60_000)
    assert await world.vault.process_webhooks() == 0
    for _ in range(2):
        assert await world.vault.webhooks.open("simulated") == []
        world.given.clock.advance(60_000)
    assert len(await world.vault.webhooks.open("simulated", 1_000)) == 250


async def test_h3_the_operation_of_a_reference_is_found_by_an_index(world: World) -> None:
    path = world.given.directory / "vault" / "vault.db"
    plan = sql(path, f"EXPLAIN QUERY PLAN {_BY_REFERENCE.prepared('sqlite')[0]}", "simulated", "sim_1")
    assert "ix_vault_operation_reference" in str(plan)
