"""Looking into a wallet from a browser: who may, and for how long."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.identity import wallet_pages
from gateway.identity.wallet_pages import (
    ADDRESS_MS,
    MOST_PAGES,
    SESSION_MS,
    add_page,
    close_session,
    is_openable,
    open_session,
    session_of,
)
from gateway.kernel.clock import ManualClock
from tests.support.stores import gateway_store


async def test_an_address_opens_for_the_first_of_many(tmp_path: Path) -> None:
    async with gateway_store(tmp_path) as store:
        await store.write(lambda uow: add_page(uow, "cus_1", "address"))
        tries = [
            store.write(lambda uow, at=at: open_session(uow, "address", f"session {at}")) for at in range(5)
        ]
        assert sorted(await asyncio.gather(*tries)) == [False] * 4 + [True]
        found = [await store.read(lambda r, at=at: session_of(r, f"session {at}")) for at in range(5)]
        assert [one.customer_id for one in found if one is not None] == ["cus_1"]
        assert not await store.read(lambda reader: is_openable(reader, "address"))
        assert await store.read(lambda reader: session_of(reader, "address")) is None


async def test_address_and_session_end_to_the_millisecond(tmp_path: Path) -> None:
    clock = ManualClock()
    async with gateway_store(tmp_path, clock) as store:
        for secret in ("early", "late"):
            await store.write(lambda uow, secret=secret: add_page(uow, "cus_1", secret))
        clock.advance(ADDRESS_MS - 1)
        assert await store.write(lambda uow: open_session(uow, "early", "session"))
        clock.advance(1)
        assert not await store.read(lambda reader: is_openable(reader, "late"))
        assert not await store.write(lambda uow: open_session(uow, "late", "other"))
        clock.advance(SESSION_MS - 2)
        assert await store.read(lambda reader: session_of(reader, "session")) is not None
        clock.advance(1)
        assert await store.read(lambda reader: session_of(reader, "session")) is None


async def test_a_closed_session_is_over(tmp_path: Path) -> None:
    async with gateway_store(tmp_path) as store:
        await store.write(lambda uow: add_page(uow, "cus_1", "address"))
        await store.write(lambda uow: open_session(uow, "address", "session"))
        await store.write(lambda uow: close_session(uow, "session"))
        assert await store.read(lambda reader: session_of(reader, "session")) is None
        assert not await store.write(lambda uow: open_session(uow, "address", "session"))


async def test_the_oldest_of_too_many_pages_ends(tmp_path: Path) -> None:
    clock = ManualClock()
    async with gateway_store(tmp_path, clock) as store:
        await store.write(lambda uow: add_page(uow, "cus_2", "somebody else's"))
        for at in range(MOST_PAGES + 2):
            clock.advance(1)
            await store.write(lambda uow, at=at: add_page(uow, "cus_1", f"address {at}"))
        opens = [
            await store.read(lambda reader, at=at: is_openable(reader, f"address {at}"))
            for at in range(MOST_PAGES + 2)
        ]
        assert opens == [False] * 2 + [True] * MOST_PAGES
        assert await store.read(lambda reader: is_openable(reader, "somebody else's"))


async def test_what_has_ended_is_removed(tmp_path: Path) -> None:
    clock = ManualClock()
    async with gateway_store(tmp_path, clock) as store:
        await store.write(lambda uow: add_page(uow, "cus_1", "address"))
        clock.advance(ADDRESS_MS)
        await store.write(lambda uow: add_page(uow, "cus_1", "another"))
        rows = await store.read(lambda reader: reader.rows(wallet_pages._OLDEST, {"customer_id": "cus_1"}))
        assert len(rows) == 1
