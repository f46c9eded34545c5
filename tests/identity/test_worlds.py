"""Worlds, their keys, and what players allow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.identity import worlds
from gateway.identity.model import WORLD_KEY_PREFIX, digest, new_secret
from gateway.identity.worlds import Allowed, PlayerConsent, Scope
from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import VitrineError
from gateway.kernel.store.sqlite import SqliteStore
from gateway.kernel.store.unit import UnitOfWork
from tests.support.stores import gateway_store


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteStore]:
    async with gateway_store(tmp_path, clock) as opened:
        for name in ("aurora", "borealis"):
            await opened.write(
                lambda uow, name=name: worlds.add_world(
                    uow, name, title=name, webhook_url="https://x.example"
                )
            )
        yield opened


async def allow(
    store: SqliteStore, customer_id: str, world_id: str = "aurora", expires_at_ms: int | None = None
) -> PlayerConsent:
    allowed = Allowed(
        customer_id,
        "dev_1",
        world_id,
        (Scope.ITEMS,),
        expires_at_ms,
        worlds.new_player_id(),
        worlds.new_item_key(),
    )
    return await store.write(lambda uow: worlds.allow(uow, allowed, last_seq=0))


async def told(store: SqliteStore, customer_id: str) -> list[str]:
    found = await store.read(lambda reader: worlds.told_about(reader, customer_id))
    return [consent.world_id for consent, _ in found]


async def test_a_key_opens_its_world_until_it_is_replaced_and_the_overlap_is_over(
    store: SqliteStore, clock: ManualClock
) -> None:
    keys = [new_secret(WORLD_KEY_PREFIX) for _ in range(2)]
    for key, overlap_ms in zip(keys, (0, 1000), strict=True):
        await store.write(
            lambda uow, key=key, overlap_ms=overlap_ms: worlds.store_world_key(
                uow, "aurora", key_digest=digest(key), overlap_ms=overlap_ms
            )
        )
    for key in keys:
        assert (await store.read(lambda r, key=key: worlds.authenticate_world(r, key))).world_id == "aurora"
    clock.advance(1000)
    with pytest.raises(VitrineError) as refused:
        await store.read(lambda reader: worlds.authenticate_world(reader, keys[0]))
    assert refused.value.code == "auth.invalid_token"
    assert (await store.read(lambda r: worlds.authenticate_world(r, keys[1]))).world_id == "aurora"
    await store.write(lambda uow: worlds.close_world(uow, "aurora"))
    with pytest.raises(VitrineError):
        await store.read(lambda reader: worlds.authenticate_world(reader, keys[1]))


@pytest.mark.parametrize("name", ["", "A", "with space", "-a", "x" * 65, "a/b", "a\n"])
async def test_a_name_that_cannot_be_said_is_refused(store: SqliteStore, name: str) -> None:
    with pytest.raises(VitrineError) as refused:
        await store.write(lambda uow: worlds.add_world(uow, name, title="", webhook_url=None))
    assert refused.value.code == "world.name"


async def test_a_closed_worlds_name_is_not_given_again(store: SqliteStore) -> None:
    await store.write(lambda uow: worlds.close_world(uow, "aurora"))
    with pytest.raises(VitrineError) as refused:
        await store.write(lambda uow: worlds.add_world(uow, "aurora", title="", webhook_url=None))
    assert refused.value.code == "world.exists"


async def test_a_player_has_another_id_in_every_world_and_the_same_one_for_ever(store: SqliteStore) -> None:
    here, there = await allow(store, "cus_1"), await allow(store, "cus_1", "borealis")
    other = await allow(store, "cus_2")
    assert len({here.player_id, there.player_id, other.player_id}) == 3
    assert len({here.item_key, there.item_key, other.item_key}) == 3
    await store.write(lambda uow: worlds.revoke(uow, "cus_1", "aurora"))
    again = await allow(store, "cus_1")
    assert (again.player_id, again.item_key) == (here.player_id, here.item_key)


async def test_what_is_not_allowed_any_more_looks_like_nobody(store: SqliteStore, clock: ManualClock) -> None:
    revoked = await allow(store, "cus_1")
    ends = await allow(store, "cus_2", expires_at_ms=clock.now_ms() + 1000)
    assert await told(store, "cus_1") == await told(store, "cus_2") == ["aurora"]
    await store.write(lambda uow: worlds.revoke(uow, "cus_1", "aurora"))
    clock.advance(1000)
    for consent in (revoked, ends):
        assert await told(store, consent.customer_id) == []
        found = await store.read(
            lambda reader, consent=consent: worlds.player_of(reader, "aurora", consent.player_id)
        )
        assert found is None
    page = await store.read(lambda reader: worlds.players_of(reader, "aurora", after="", limit=10))
    assert page == []


async def test_a_consent_is_for_one_world_alone(store: SqliteStore) -> None:
    consent = await allow(store, "cus_1")
    found = await store.read(lambda reader: worlds.player_of(reader, "borealis", consent.player_id))
    assert found is None


async def test_a_new_consent_begins_anew_and_a_changed_one_goes_on(
    store: SqliteStore, clock: ManualClock
) -> None:
    first = await allow(store, "cus_1")
    clock.advance(1000)
    changed = await allow(store, "cus_1", expires_at_ms=clock.now_ms() + 500)
    assert changed.allowed_at_ms == first.allowed_at_ms
    clock.advance(500)
    anew = await allow(store, "cus_1")
    assert anew.allowed_at_ms == clock.now_ms() and anew.expires_at_ms is None


async def test_a_closed_world_hears_nothing(store: SqliteStore) -> None:
    await allow(store, "cus_1")
    await store.write(lambda uow: worlds.close_world(uow, "aurora"))
    assert await told(store, "cus_1") == []
    with pytest.raises(VitrineError) as refused:
        await allow(store, "cus_2")
    assert refused.value.code == "world.not_found"


async def test_a_player_allows_a_bounded_number_of_worlds(store: SqliteStore) -> None:
    for number in range(worlds.MOST_WORLDS + 1):
        name = f"world-{number}"
        await store.write(lambda uow, name=name: worlds.add_world(uow, name, title="", webhook_url=None))
    for number in range(worlds.MOST_WORLDS):
        await allow(store, "cus_1", f"world-{number}")
    await allow(store, "cus_1", "world-3")
    with pytest.raises(VitrineError) as refused:
        await allow(store, "cus_1", f"world-{worlds.MOST_WORLDS}")
    assert refused.value.code == "world.too_many"
    await store.write(lambda uow: worlds.revoke(uow, "cus_1", "world-3"))
    await allow(store, "cus_1", f"world-{worlds.MOST_WORLDS}")
    assert len(await told(store, "cus_1")) == worlds.MOST_WORLDS


async def test_players_come_in_pages(store: SqliteStore) -> None:
    made = sorted([(await allow(store, f"cus_{number}")).player_id for number in range(7)])
    found: list[str] = []
    while True:
        after = found[-1] if found else ""
        page = await store.read(
            lambda reader, after=after: worlds.players_of(reader, "aurora", after=after, limit=3)
        )
        if not page:
            break
        found += [one.player_id for one in page]
    assert found == made


async def test_a_webhook_that_was_stopped_begins_again_with_a_new_address(store: SqliteStore) -> None:
    await allow(store, "cus_1")

    def stop(uow: UnitOfWork) -> bool:
        return worlds.stop_webhook(uow, "aurora", "https://x.example", "gone")

    assert not await store.write(
        lambda uow: worlds.stop_webhook(uow, "aurora", "https://old.example", "gone")
    )
    assert await store.write(stop) and not await store.write(stop)
    found = await store.read(lambda reader: worlds.told_about(reader, "cus_1"))
    assert [is_sent for _, is_sent in found] == [False], "it is still written down for paging"
    await store.write(lambda uow: worlds.set_webhook(uow, "aurora", "https://y.example"))
    found = await store.read(lambda reader: worlds.told_about(reader, "cus_1"))
    assert [is_sent for _, is_sent in found] == [True]
    world = await store.read(lambda reader: worlds.known_world(reader, "aurora"))
    assert world.webhook_url == "https://y.example" and world.stopped_because is None
