"""Events of several providers: one that does not answer holds neither another one's events nor all its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from gateway.kernel.subjects import OperationId
from tests.wallets.vault.providers.recorded import Recorded
from tests.wallets.vault.providers.stands import Parts, parts, simulated
from tests.wallets.vault.shop import CUSTOMER, Shop, card, eur
from wallets.vault.embedded import EmbeddedVault
from wallets.vault.http.webhook_route import WebhookRoute
from wallets.vault.port import Authorize, OperationStatus
from wallets.vault.providers.port import Capabilities, Lookup, NoAnswerError, Notice, ProviderAnswer
from wallets.vault.service import VaultService
from wallets.vault.tables import operation
from wallets.vault.webhook_work import AT_ONCE


class Sender(Recorded):
    """Sends events without a signature. Look-ups of ``silent`` operations are never answered."""

    def __init__(self, provider: Any, name: str) -> None:
        super().__init__(provider)
        self.name = name
        self.silent: set[str] = set()
        self.under_way = self.most = 0

    @property
    def capabilities(self) -> Capabilities:
        return replace(self.provider.capabilities, name=self.name)

    def notice(self, headers: Any, body: bytes, now_ms: int) -> Notice:
        event_id, operation_id = body.decode().split()
        return Notice(event_id, "x", OperationId(operation_id), None)

    async def authorize(self, order: Any) -> Any:
        await super().authorize(order)
        raise NoAnswerError("the reply was lost")

    async def find(self, lookup: Lookup) -> ProviderAnswer | None:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            if lookup.operation_id in self.silent:
                await asyncio.get_running_loop().create_future()
            return await super().find(lookup)
        finally:
            self.under_way -= 1


class World:
    def __init__(self, given: Parts, deadline_ms: int) -> None:
        self.given = given
        acquirer = simulated(given)
        self.near, self.far = Sender(acquirer, "near"), Sender(acquirer, "far")
        self.vault: VaultService = given.open(self.near, self.far, deadline_ms=deadline_ms)
        self.shop = Shop(cast(EmbeddedVault, self.vault), given.clock, given.ids)  # only the port is used

    async def unknown(self, of: Sender, silent: bool = False) -> Authorize:
        """An authorization that nobody answered, with an event about it."""
        method = await self.vault.tokenize(CUSTOMER, card())
        request = self.shop.request(self.shop.terms(method, eur(9)), eur(9))
        assert (await self.vault.authorize(request)).status is OperationStatus.UNKNOWN

        def move(uow: Any) -> None:
            its = operation.c.operation_id == request.operation_id
            uow.core(operation.update().where(its).values(provider=of.name))

        await self.given.store.write(move)
        if silent:
            of.silent.add(request.operation_id)
        await self.told(of, request)
        return request

    async def told(self, of: Sender, request: Authorize) -> None:
        body = f"evt_{request.operation_id} {request.operation_id}".encode()
        await self.vault.receive_webhook(of.name, {}, body)

    async def is_settled(self, request: Authorize) -> bool:
        page = await self.vault.operations_since("", 1_000)
        found = {one.operation_id: one.status for one in page.operations}
        # One that is just changing is listed a moment later.
        return found.get(request.operation_id) is OperationStatus.SUCCEEDED


@asynccontextmanager
async def world(directory: Path, deadline_ms: int) -> AsyncIterator[World]:
    async with parts(directory) as given:
        made = World(given, deadline_ms)
        yield made
        await made.near.close()


async def until(condition: Any) -> None:
    for _ in range(400):
        if await condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


async def test_h3_events_of_a_silent_provider_wait_side_by_side_within_a_bound(tmp_path: Path) -> None:
    async with world(tmp_path, deadline_ms=400) as made:
        for _ in range(AT_ONCE + 4):
            await made.unknown(made.far, silent=True)
        answered = await made.unknown(made.far)
        began = time.monotonic()
        assert await made.vault.process_webhooks() == 1
        assert time.monotonic() - began < 3, "two rounds of the deadline, not twenty"
        assert made.far.most == AT_ONCE
        assert await made.is_settled(answered)


async def test_h3_a_silent_provider_does_not_hold_another_ones_events(tmp_path: Path) -> None:
    """Also those that come while it is silent."""
    async with world(tmp_path, deadline_ms=30_000) as made:
        for _ in range(AT_ONCE + 4):
            await made.unknown(made.far, silent=True)
        before = await made.unknown(made.near)
        route = WebhookRoute(made.vault)
        route.start()
        await until(lambda: made.is_settled(before))
        later = await made.unknown(made.near)
        route._waiting["near"].set()
        await until(lambda: made.is_settled(later))
        assert made.far.under_way == AT_ONCE
        await route.stop()
        assert made.far.under_way == 0


async def test_h3_one_answer_that_does_not_come_leaves_room_for_later_events(tmp_path: Path) -> None:
    async with world(tmp_path, deadline_ms=30_000) as made:
        await made.unknown(made.far, silent=True)
        working = asyncio.create_task(made.vault.process_webhooks("far"))
        await asyncio.sleep(0.05)
        later = await made.unknown(made.far)
        await until(lambda: made.is_settled(later))
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
