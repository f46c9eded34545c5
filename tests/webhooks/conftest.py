"""A database for each test of webhooks, SQLite and PostgreSQL, and a sender with a receiver that is played."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.documents import encode
from gateway.kernel.store.unit import Reader, Store, UnitOfWork
from gateway.webhooks import outbox
from gateway.webhooks.delivery import Delivery
from gateway.webhooks.model import Answer, Notice, Sight
from gateway.webhooks.signing import SigningKeys
from gateway.webhooks.tables import webhook_feed, webhook_notice
from tests.support.databases import Database, postgres_of, store_of

_TABLES = [webhook_feed, webhook_notice]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="session")
def webhook_database() -> Database:
    return postgres_of(_TABLES)


@pytest.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Store]:
    postgres = request.getfixturevalue("webhook_database") if request.param == "postgresql" else None
    async with store_of(_TABLES, clock, tmp_path, postgres) as opened:
        yield opened


class Endpoints:
    """Endpoints as a test sets them."""

    def __init__(self) -> None:
        self.urls: dict[str, str | None] = {"one": "https://one.example", "two": "https://two.example"}
        self.unknown: set[str] = set()
        self.sights: dict[str, Sight] = {}
        self.stopped: dict[str, str] = {}

    def url_of(self, reader: Reader, endpoint_id: str) -> str | None:
        return None if endpoint_id in self.stopped else self.urls[endpoint_id]

    def sight(self, reader: Reader, endpoint_id: str, subject: str) -> Sight | None:
        return None if subject in self.unknown else self.sights.get(subject, Sight(0))

    def stop(self, uow: UnitOfWork, endpoint_id: str, url: str, because: str) -> bool:
        if self.urls[endpoint_id] != url:
            return False
        uow.after_commit(lambda: self.stopped.setdefault(endpoint_id, because))
        return True


@dataclass
class Receiver:
    """Plays every server: ``answers`` are given one after the other to each address, then 204."""

    answers: dict[str, list[Answer]] = field(default_factory=dict)
    refused: set[bytes] = field(default_factory=set)
    """Bodies that are answered with 500."""
    sent: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    gate: Callable[[str], Any] | None = None
    """Awaited before an answer is given."""

    async def post(self, url: str, headers: Sequence[tuple[str, str]], body: bytes) -> Answer:
        self.sent.append((url, dict(headers), body))
        if self.gate is not None:
            await self.gate(url)
        if body in self.refused:
            return Answer(500)
        waiting = self.answers.get(url, [])
        return waiting.pop(0) if waiting else Answer(204)

    async def close(self) -> None:
        """Nothing is open."""

    def ids(self, url: str = "https://one.example") -> list[str]:
        return [headers["webhook-id"] for to, headers, _ in self.sent if to == url]

    def bodies(self, url: str = "https://one.example") -> list[str]:
        return [body.decode() for to, _, body in self.sent if to == url]


class Sending:
    """A sender that a test drives, on a clock that it moves."""

    def __init__(self, store: Store, clock: ManualClock, keys: SigningKeys) -> None:
        self.store, self.clock, self.keys = store, clock, keys
        self.endpoints, self.receiver = Endpoints(), Receiver()
        self.delivery = self.sender()

    def sender(self) -> Delivery:
        """Return another sender on the same rows, as another process or a later life has it."""
        receiver: Any = self.receiver
        return Delivery(self.store, self.clock, receiver, self.keys, self.endpoints, _body)

    async def write(self, text: str, *, to: str = "one", about: str = "ada") -> None:
        """Record a fact with its notice."""
        await self.store.write(
            lambda uow: outbox.write_notice(uow, to, about, "item.granted", {"text": text})
        )

    async def send(self, rounds: int = 3) -> None:
        """Send what is due, and what follows from that."""
        for _ in range(rounds):
            await self.delivery.step()
            await self.delivery.settled()

    async def rows(self, to: str = "one") -> list[Any]:
        return await self.store.read(lambda reader: outbox.notices_after(reader, to, 0, 1000))

    async def states(self, to: str = "one") -> list[str]:
        return [row.state for row in await self.rows(to)]


def _body(notice: Notice) -> bytes:
    return encode(notice.data["text"]).encode()


@pytest.fixture
async def sending(store: Store, clock: ManualClock, tmp_path: Path) -> Sending:
    keys = await asyncio.to_thread(SigningKeys.open, tmp_path / "keys")
    return Sending(store, clock, keys)
