"""Links and exports on SQLite and PostgreSQL: the same rows, and one winner where two come at once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

import gateway.schema
from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import ConflictError, VitrineError
from gateway.kernel.events.log import open_stream
from gateway.kernel.ids import TimeSortedIds
from gateway.kernel.store.unit import Store, UnitOfWork
from tests.support.databases import Database, sqlite_database
from tests.support.postgres import require_server
from tests.wallets.custody.test_challenges import KEY, ME, RULES, SOMEBODY, Links
from wallets.custody.accounts import Custody, held_account, is_exported, lock_account
from wallets.custody.challenges import (
    MOST_OPEN,
    MOST_TRIES,
    LinkChallenge,
    begin_link,
    check_message,
    finish_link,
    take_try,
)
from wallets.custody.exporting import begin_export, finish_export, open_export
from wallets.custody.linking import (
    LinkedWallet,
    Proof,
    WalletKind,
    link_wallet,
    linked_wallets,
    unlink_wallet,
)
from wallets.custody.local_signer import LocalSigner
from wallets.custody.sealed_seed import SealedSeed


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    server = name = None
    if request.param == "sqlite":
        found = sqlite_database(tmp_path)
    else:
        server = require_server()
        name = server.create_database()
        found = Database("postgresql", server.conninfo(name), server.url(name))
    found.create_all([gateway.schema.metadata])
    yield found
    await found.close()
    if server is not None and name is not None:
        server.drop_database(name)


@pytest.fixture
async def store(database: Database) -> Store:
    clock = ManualClock()
    opened = database.open(clock=clock, ids=TimeSortedIds(clock))
    for customer in ("cus_1", "cus_2"):
        await opened.write(lambda uow, customer=customer: open_stream(uow, customer))
    return opened


async def test_a_wallet_goes_from_one_customer_to_another(store: Store, database: Database) -> None:
    links = Links(store, database.clock)  # type: ignore[arg-type]  # any store
    mine = await links.linked()
    theirs = await links.begin(SOMEBODY)
    with pytest.raises(ConflictError, match=r"wallet\.linked_elsewhere"):
        await links.answer(theirs.message, SOMEBODY)
    await store.write(lambda uow: unlink_wallet(uow, "cus_1", mine.wallet_id))
    wallet = await links.answer(theirs.message, SOMEBODY)
    assert await store.read(lambda reader: linked_wallets(reader, "cus_2")) == [wallet]
    assert await store.read(lambda reader: linked_wallets(reader, "cus_1")) == []


async def test_two_at_once_do_not_both_link_an_address(store: Store, database: Database) -> None:
    links = Links(store, database.clock)  # type: ignore[arg-type]  # any store
    lock = f"wallet:{RULES.chain_id}:{KEY.address}"

    async def link(asker: Any) -> LinkedWallet:
        text = (await links.begin(asker)).message
        message = check_message(RULES, text, database.clock.now_ms())
        proof = Proof(text, "0x00", WalletKind.KEY)
        return await store.write(lambda uow: finish_link(uow, asker, message, proof), locks=(lock,))

    answers = await asyncio.gather(*(link(asker) for asker in (ME, SOMEBODY) * 4), return_exceptions=True)
    linked = [one for one in answers if isinstance(one, LinkedWallet)]
    assert len({one.wallet_id for one in linked}) == 1 and len(linked) == 4
    assert {one.code for one in answers if isinstance(one, ConflictError)} == {"wallet.linked_elsewhere"}
    assert database.rows("SELECT count(*) FROM linked_wallet") == [(1,)]


async def test_limits_hold_however_many_come_at_once(store: Store, database: Database) -> None:
    def begin(uow: UnitOfWork) -> LinkChallenge:
        return begin_link(uow, RULES, ME, KEY.address, None)

    begun = await asyncio.gather(
        *(store.write(begin, locks=("account:cus_1",)) for _ in range(MOST_OPEN + 6)), return_exceptions=True
    )
    texts = [one.message for one in begun if isinstance(one, LinkChallenge)]
    assert len(texts) == MOST_OPEN
    assert {one.code for one in begun if isinstance(one, VitrineError)} == {"wallet.link_too_many"}
    message = check_message(RULES, texts[0], database.clock.now_ms())
    tried = await asyncio.gather(
        *(store.write(lambda uow: take_try(uow, ME, message)) for _ in range(MOST_TRIES + 6)),
        return_exceptions=True,
    )
    assert tried.count(None) == MOST_TRIES
    assert {one.code for one in tried if isinstance(one, VitrineError)} == {"wallet.link_nonce"}


async def test_the_database_itself_refuses_a_second_owner(database: Database, store: Store) -> None:
    proof = Proof("", "", WalletKind.KEY)
    await store.write(lambda uow: link_wallet(uow, "cus_1", 1, KEY.address, proof))
    with pytest.raises(IntegrityError):
        database.rows(
            "INSERT INTO linked_wallet SELECT 'wal_2', 'cus_2', chain_id, address, kind, message, signature, "
            "linked_at_ms, unlinked_at_ms FROM linked_wallet"
        )


async def test_an_export_is_finished_once(store: Store) -> None:
    address = await Custody(LocalSigner(SealedSeed(bytes(64))), store).ensure_account("cus_1")
    export = await store.write(lambda uow: begin_export(uow, "cus_1", "dev_1", address, "{}"))
    assert await store.read(lambda reader: open_export(reader, "cus_1", "dev_1", export.export_id)) == export

    def finish(uow: UnitOfWork) -> None:
        finish_export(uow, export, "pky_1")

    answers = await asyncio.gather(*(store.write(finish) for _ in range(4)), return_exceptions=True)
    assert answers.count(None) == 1
    assert await store.read(lambda reader: is_exported(reader, "cus_1"))


async def test_who_is_about_to_use_an_account_sees_an_export_before_or_is_seen_by_it(
    database: Database, store: Store
) -> None:
    """Two nodes: one queues a mint into the account, the other gives its key."""
    address = await Custody(LocalSigner(SealedSeed(bytes(64))), store).ensure_account("cus_1")
    export = await store.write(lambda uow: begin_export(uow, "cus_1", "dev_1", address, "{}"))
    other = database.open(clock=database.clock, ids=TimeSortedIds(database.clock))
    looked, order = threading.Event(), []

    def queue(uow: UnitOfWork) -> None:
        found = held_account(uow, "cus_1")
        assert found is not None and not found[1]
        looked.set()
        time.sleep(0.2)
        order.append("queued")

    def give(uow: UnitOfWork) -> None:
        lock_account(uow, "cus_1")
        order.append("looked")
        finish_export(uow, export, "pky_1")
        order.append("given")

    queueing = asyncio.create_task(store.write(queue))
    await asyncio.to_thread(looked.wait)
    await other.write(give)
    await queueing
    assert order == ["queued", "looked", "given"]
    assert await store.write(lambda uow: held_account(uow, "cus_1")) is not None
