"""Lists of changes have no gaps: what is committed late is listed after what was read before."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from gateway.kernel.store.unit import Store, UnitOfWork
from gateway.kernel.subjects import OperationId
from tests.wallets.vault.shop import card, eur, sql
from tests.wallets.vault.two_databases import Books, books
from wallets.vault import card_sessions, feeds
from wallets.vault.authorizing import begin_authorize
from wallets.vault.card_intake import CardIntake
from wallets.vault.embedded import EmbeddedVault
from wallets.vault.model import request_digest
from wallets.vault.pages import operations_since
from wallets.vault.port import Authorize
from wallets.vault.providers.port import Outcome, ProviderAnswer
from wallets.vault.providers.simulated import SimulatedAcquirer
from wallets.vault.registry import Providers

__all__ = ["books"]


async def read_on(store: Store, cursor: str) -> tuple[list[OperationId], str]:
    page = await operations_since(store, cursor, 100)
    return [one.operation_id for one in page.operations], page.cursor


async def request_of(books: Books, customer_card: str = "pm_1") -> Authorize:
    method = await books.card(customer_card, fingerprint=None)
    return books.shop.request(books.shop.terms(method, eur(100)), eur(10))


async def test_a_unit_that_commits_late_is_listed_after_what_was_read_meanwhile(books: Books) -> None:
    """It is stamped first and committed last; more than a second lies between, by every clock."""
    late, early = await request_of(books), await request_of(books, "pm_2")
    began, finish = threading.Event(), threading.Event()
    providers = Providers([SimulatedAcquirer(books.stores[0], books.clock)], deadline_ms=1_000)

    def slow(uow: UnitOfWork) -> None:
        begin_authorize(uow, late, request_digest(late), providers)
        began.set()
        assert finish.wait(10)

    writing = asyncio.create_task(books.stores[0].write(slow))
    assert await asyncio.to_thread(began.wait, 10)
    books.clock.advance(5_000)
    if len(books.stores) > 1:
        # Another vault process on the same database.
        other = books.stores[1]
        digest = request_digest(early)
        await other.write(lambda uow: begin_authorize(uow, early, digest, providers))
        listed, cursor = await read_on(other, "")
        assert listed == [early.operation_id]
    else:
        listed, cursor = [], ""
    finish.set()
    await writing
    listed, cursor = await read_on(books.store(), cursor)
    assert listed == [late.operation_id]
    assert await read_on(books.store(), cursor) == ([], cursor)


async def test_a_change_is_listed_at_once_and_also_when_the_clock_was_set_back(books: Books) -> None:
    first, second = await request_of(books), await request_of(books, "pm_2")
    await books.begin(first)
    listed, cursor = await read_on(books.store(), "")
    assert listed == [first.operation_id]
    books.clock._now_ms -= 60_000
    await books.begin(second)
    listed, cursor = await read_on(books.store(), cursor)
    assert listed == [second.operation_id]


async def test_readers_at_the_same_moment_and_changes_between_leave_no_gap(books: Books) -> None:
    """Each reader sees the last change of every operation, whoever numbers it."""
    requests = [await request_of(books, f"pm_{number}") for number in range(12)]

    async def follow() -> dict[str, str]:
        seen: dict[str, str] = {}
        cursor, quiet = "", 0
        while quiet < 3:
            page = await operations_since(books.store(), cursor, 4)
            quiet = quiet + 1 if done.is_set() and not page.operations else 0
            cursor = page.cursor
            seen |= {one.operation_id: one.status.value for one in page.operations}
            await asyncio.sleep(0)
        return seen

    done = asyncio.Event()
    readers = [asyncio.create_task(follow()) for _ in range(3)]

    async def buy(request: Authorize) -> None:
        row = await books.begin(request)
        await books.answer(row, ProviderAnswer(Outcome.SUCCEEDED, reference=f"r_{request.operation_id}"))

    await asyncio.gather(*map(buy, requests))
    done.set()
    expected = {request.operation_id: "succeeded" for request in requests}
    for reader in readers:
        assert await reader == expected


async def test_a_card_that_is_committed_late_is_told_after_what_was_read(books: Books) -> None:
    for name in ("pm_1", "pm_2"):
        await books.card(name, fingerprint=None)
    intake = CardIntake(books.stores[0], books.clock, None, None)
    began, finish = threading.Event(), threading.Event()

    def slow(uow: UnitOfWork) -> None:
        card_sessions.announce(uow, "pm_1")
        began.set()
        assert finish.wait(10)

    writing = asyncio.create_task(books.stores[0].write(slow))
    assert await asyncio.to_thread(began.wait, 10)
    books.clock.advance(5_000)
    cursor = ""
    if len(books.stores) > 1:
        await books.stores[1].write(lambda uow: card_sessions.announce(uow, "pm_2"))
        page = await CardIntake(books.stores[1], books.clock, None, None).methods_since("", 10)
        assert [one.payment_method_id for one in page.methods] == ["pm_2"]
        cursor = page.cursor
    finish.set()
    await writing
    page = await intake.methods_since(cursor, 10)
    assert [one.payment_method_id for one in page.methods] == ["pm_1"]


async def test_the_list_of_cards_keeps_one_entry_of_each_stored_card(
    own_vault: EmbeddedVault, tmp_path: Path
) -> None:
    path = tmp_path / "vault" / "vault.db"
    stored = await own_vault.tokenize("cus_ada", card())
    for _ in range(3):
        await own_vault.store.write(lambda uow: card_sessions.announce(uow, stored.payment_method_id))
    assert sql(path, "SELECT count(*) FROM vault_card_entry") == [(1,)]
    assert (await own_vault.methods_since("", 10)).methods == (stored,)
    await own_vault.remove_method("cus_ada", stored.payment_method_id)
    assert sql(path, "SELECT count(*) FROM vault_card_entry") == [(0,)]


async def test_a_cursor_from_before_there_were_numbers_goes_on_without_a_gap(books: Books) -> None:
    requests = [await request_of(books, f"pm_{number}") for number in range(3)]
    for request in requests:
        await books.begin(request)
        books.clock.advance(60_000)
    start_ms = books.clock.now_ms() - 180_000

    def as_migrated(uow: UnitOfWork) -> None:
        table = feeds.operation
        uow.core(table.update().values(feed_no=table.c.changed_at_ms * 1_024))
        uow.core(feeds.feed.insert().values(name="operation", last_no=(start_ms + 120_000) * 1_024))

    await books.store().write(as_migrated)
    listed, cursor = await read_on(books.store(), f"{start_ms + 60_000}.{requests[1].operation_id}")
    assert listed == [requests[1].operation_id, requests[2].operation_id], "the last of them again"
    await books.begin(late := await request_of(books, "pm_9"))
    assert (await read_on(books.store(), cursor))[0] == [late.operation_id]


async def test_a_reader_that_is_ahead_of_a_restored_vault_begins_anew(books: Books) -> None:
    requests = [await request_of(books, f"pm_{number}") for number in range(4)]
    await books.begin(requests[0])
    _, copied = await read_on(books.store(), "")
    for request in requests[1:3]:
        await books.begin(request)
    _, ahead = await read_on(books.store(), copied)
    last_no = feeds.OPERATIONS.cursor(copied).number

    def restored(uow: UnitOfWork) -> None:
        uow.core(feeds.operation.delete().where(feeds.operation.c.feed_no > last_no))
        uow.core(feeds.feed.update().where(feeds.feed.c.name == "operation").values(last_no=last_no))

    await books.store().write(restored)
    await books.begin(requests[3])
    listed, cursor = await read_on(books.store(), ahead)
    assert listed == [requests[0].operation_id, requests[3].operation_id]
    assert await read_on(books.store(), cursor) == ([], cursor)
