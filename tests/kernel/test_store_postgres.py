"""What only PostgreSQL can do to a store: other nodes, deadlocks, lost connections, lost commits."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from pathlib import Path

import pytest
from sqlalchemy import insert, text
from sqlalchemy.exc import DBAPIError

pytest.importorskip("psycopg", reason="psycopg is not installed: install the extra 'postgres'")

import gateway.kernel.store.postgres
from gateway.kernel.documents import decode
from gateway.kernel.errors import ConflictError, UnavailableError
from gateway.kernel.events.log import EventLog
from gateway.kernel.events.model import Event
from gateway.kernel.ids import CountingIds
from gateway.kernel.store.postgres import PostgresStore, _Transaction, create_store_table
from tests.kernel.tables import (
    ADD,
    GET_COUNTER,
    INSERT_COUNTER,
    INSERT_NEW_NOTE,
    INSERT_NOTE,
    names,
    note,
    write_note,
)
from tests.support.postgres import PORT, require_server
from tests.support.postgres_proxy import Break, PostgresProxy


@pytest.fixture
def proxy():
    server = require_server()
    with tempfile.TemporaryDirectory(prefix="vitrine-px-", dir="/tmp") as folder:
        made = PostgresProxy(Path(folder), server.folder, PORT)
        yield made
        made.close()


@pytest.fixture
def through_proxy(postgres, proxy):
    """Open a store whose connections go through the proxy."""
    database = postgres.where.rsplit("dbname=", 1)[1]

    def open_store(*, committers=1, **options):
        where = require_server().conninfo(database, host=proxy.folder)
        return postgres.open(where=where, committers=committers, **options)

    return open_store


class Noting:
    """A unit with a fact and an event that counts its runs."""

    def __init__(self, name):
        self.name = name
        self.runs = 0

    def __call__(self, uow):
        self.runs += 1
        uow.run(INSERT_NOTE, {"name": self.name, "body": None})
        uow.emit(Event("s", "note.written", {"name": self.name}))
        return self.name


def events(database):
    return [
        (seq, decode(body)["name"]) for seq, body in database.rows("SELECT seq, body FROM event ORDER BY seq")
    ]


def on_duty(name, meet):
    """A doctor goes off duty if another one stays: the textbook write skew."""

    def unit(uow):
        on = uow.row(GET_COUNTER, {"name": "a"}).value + uow.row(GET_COUNTER, {"name": "b"}).value
        meet(name)
        if on < 2:
            raise ConflictError("duty.last", "Somebody has to stay.")
        uow.run(ADD, {"its_name": name, "step": -1})

    return unit


async def doctors(postgres):
    first, second = postgres.open(), postgres.open()
    for name in "ab":
        await first.write(lambda uow, name=name: uow.run(INSERT_COUNTER, {"name": name, "value": 1}))
    return first, second


def meeting():
    """Return a function that waits for the other unit, but not for long: with a lock it cannot come."""
    both = threading.Barrier(2)

    def meet(name):
        try:
            both.wait(0.3)
        except threading.BrokenBarrierError:
            return

    return meet


async def test_without_a_named_lock_two_nodes_can_skew_a_decision(postgres):
    """The neighbour of the next test: it shows that the test could fail."""
    first, second = await doctors(postgres)
    meet = meeting()
    await asyncio.gather(first.write(on_duty("a", meet)), second.write(on_duty("b", meet)))
    assert postgres.rows("SELECT sum(value)::int FROM counter") == [(0,)]


async def test_named_locks_prevent_write_skew_between_nodes(postgres):
    first, second = await doctors(postgres)
    meet = meeting()
    results = await asyncio.gather(
        first.write(on_duty("a", meet), locks=["duty"]),
        second.write(on_duty("b", meet), locks=["duty"]),
        return_exceptions=True,
    )
    assert sorted(type(result).__name__ for result in results) == ["ConflictError", "NoneType"]
    assert postgres.rows("SELECT sum(value)::int FROM counter") == [(1,)]


async def test_locks_named_in_any_order_do_not_deadlock(postgres):
    first, second = postgres.open(), postgres.open()
    await first.write(lambda uow: uow.run(INSERT_COUNTER, {"name": "a", "value": 0}))

    def add(uow):
        uow.run(ADD, {"its_name": "a", "step": 1})

    writes = []
    for index in range(60):
        keys = [f"lock-{number}" for number in range(6)]
        writes.append((first, second)[index % 2].write(add, locks=keys if index % 3 else keys[::-1]))
    await asyncio.gather(*writes)
    assert postgres.rows("SELECT value FROM counter") == [(60,)]
    assert postgres.rows(
        "SELECT deadlocks::int FROM pg_stat_database WHERE datname = current_database()"
    ) == [(0,)]


async def test_a_deadlock_is_run_again_and_both_units_succeed(postgres):
    first, second = postgres.open(), postgres.open()
    for name in "ab":
        await first.write(lambda uow, name=name: uow.run(INSERT_COUNTER, {"name": name, "value": 0}))
    both = threading.Barrier(2)
    runs = []

    def crossing(one, other):
        def unit(uow):
            uow.run(ADD, {"its_name": one, "step": 1})
            runs.append(one)
            if runs.count(one) == 1:
                both.wait(5)
            uow.run(ADD, {"its_name": other, "step": 1})

        return unit

    await asyncio.gather(first.write(crossing("a", "b")), second.write(crossing("b", "a")))
    assert len(runs) == 3  # one of them was the victim
    assert postgres.rows("SELECT name, value FROM counter ORDER BY name") == [("a", 2), ("b", 2)]


async def test_a_commit_that_happened_without_an_answer_is_answered_once(postgres, proxy, through_proxy):
    store = through_proxy()
    unit = Noting("a")
    proxy.break_next_commit(Break.NEVER_ANSWERED)
    assert await store.write(unit) == "a"
    assert proxy.broken.is_set()
    assert unit.runs == 1
    assert events(postgres) == [(1, "a")]


async def test_a_commit_that_did_not_happen_is_run_again(postgres, proxy, through_proxy):
    store = through_proxy()
    unit = Noting("a")
    proxy.break_next_commit(Break.NEVER_SENT)
    assert await store.write(unit) == "a"
    assert proxy.broken.is_set()
    assert unit.runs == 2
    assert events(postgres) == [(1, "a")]


async def test_a_commit_that_takes_longer_than_its_connection_is_waited_for(postgres, proxy, through_proxy):
    """The dying backend still commits when the store has connected again."""
    store = through_proxy()
    postgres.rows(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_sleep(0.4); RETURN NULL; END'"
    )
    postgres.rows(
        "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON note DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION dawdle()"
    )
    unit = Noting("a")
    proxy.break_next_commit(Break.NEVER_ANSWERED)
    assert await store.write(unit) == "a"
    assert unit.runs == 1
    assert events(postgres) == [(1, "a")]


@pytest.mark.parametrize("how", list(Break))
async def test_an_outcome_that_cannot_be_found_out_is_not_guessed_and_the_same_key_settles_it(
    postgres, proxy, through_proxy, how, monkeypatch
):
    monkeypatch.setattr(gateway.kernel.store.postgres, "_RECONNECT_S", 0.1)
    store = through_proxy()
    runs = []

    def unit(uow):
        runs.append(1)
        if uow.run(INSERT_NEW_NOTE, {"name": "key", "body": None}):
            uow.emit(Event("s", "note.written", {"name": "key"}))
            return "new"
        return "known"

    proxy.break_next_commit(how, stay_down=True)
    asked = asyncio.create_task(store.write(unit))
    assert await asyncio.to_thread(proxy.broken.wait, 5)
    with pytest.raises(UnavailableError, match=r"store\.unavailable"):
        await asked
    proxy.up()
    assert runs == [1]
    assert await store.write(unit) == ("known" if how is Break.NEVER_ANSWERED else "new")
    assert events(postgres) == [(1, "key")]


async def test_events_are_told_in_order_when_an_earlier_commit_is_still_in_doubt(
    postgres, proxy, through_proxy
):
    log, heard = EventLog(), []
    log.listen(lambda recorded: heard.extend(event.seq for event in recorded))
    store = through_proxy(event_log=log, committers=2)
    proxy.break_next_commit(Break.NEVER_ANSWERED, stay_down=True)
    doubtful = asyncio.create_task(store.write(Noting("a")))
    assert await asyncio.to_thread(proxy.broken.wait, 5)
    await store.write(Noting("b"))  # the other committer's connection still stands
    await asyncio.sleep(0.02)
    assert (doubtful.done(), heard) == (False, [])
    proxy.up()
    await doubtful
    await asyncio.sleep(0.02)
    assert heard == [1, 2]


async def test_a_commit_that_became_a_rollback_is_not_taken_for_one(postgres):
    """PostgreSQL answers the COMMIT of a failed transaction with ROLLBACK, and the driver is content."""
    create_store_table(postgres.where)
    transaction = _Transaction(postgres.where, "test", None)
    transaction.begin([])
    uow = transaction.unit_of_work(0, CountingIds())
    with pytest.raises(DBAPIError):
        uow.core(text("SELECT * FROM missing"))
    assert not transaction.intact()
    with pytest.raises(RuntimeError, match="ROLLBACK"):
        transaction.commit()
    transaction.close()


async def test_lost_connections_between_batches_are_made_again(postgres, proxy, through_proxy):
    store = through_proxy()
    await store.write(write_note("a"))
    assert await store.read(names) == ["a"]
    proxy.cut()
    assert await store.write(write_note("b")) == "b"
    proxy.cut()
    assert await store.read(names) == ["a", "b"]


@pytest.mark.parametrize("way", ["prepared", "many", "core"])
async def test_a_connection_lost_within_a_unit_runs_the_unit_again(postgres, proxy, through_proxy, way):
    store = through_proxy()
    runs = []
    last = {"name": "b", "body": None}

    def unit(uow):
        runs.append(1)
        uow.run(INSERT_NOTE, {"name": "a", "body": None})
        if len(runs) == 1:
            proxy.cut()
        match way:
            case "prepared":
                uow.run(INSERT_NOTE, last)
            case "many":
                uow.run_many(INSERT_NOTE, [last])
            case "core":
                uow.core(insert(note), last)

    await store.write(unit)
    assert len(runs) == 2
    assert await store.read(names) == ["a", "b"]


async def test_a_backend_ended_by_the_operator_is_replaced(postgres):
    store = postgres.open(committers=1)
    await store.write(write_note("a"))
    postgres.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await store.write(write_note("b"))
    assert await store.read(names) == ["a", "b"]


async def test_two_nodes_number_one_stream_without_gaps(postgres):
    logs, heard = [EventLog(), EventLog()], []
    for log in logs:
        log.listen(lambda recorded: heard.extend(recorded))
    nodes = [postgres.open(event_log=log) for log in logs]
    writes = []
    for index in range(400):
        writes.append(asyncio.create_task(nodes[index % 2].write(Noting(f"n{index}"))))
        if index % 25 == 0:
            await asyncio.sleep(0.001)
    await asyncio.gather(*writes)
    await asyncio.sleep(0.02)
    assert [seq for seq, _ in events(postgres)] == list(range(1, 401))
    assert sorted(event.seq for event in heard) == list(range(1, 401))


async def test_without_a_test_clock_time_is_the_databases(postgres):
    store = PostgresStore(postgres.where, None, CountingIds())
    seen = await store.write(lambda uow: uow.now_ms)
    read = await store.read(lambda reader: reader.now_ms)
    now = postgres.rows("SELECT (extract(epoch from clock_timestamp()) * 1000)::bigint")[0][0]
    await store.close()
    assert seen <= read <= now < seen + 5_000


async def test_a_closed_store_leaves_no_committer_behind(postgres):
    store = postgres.open()
    await store.write(write_note("a"))
    assert postgres.rows("SELECT count(*)::int FROM store_commit") == [(1,)]
    await store.close()
    assert postgres.rows("SELECT count(*)::int FROM store_commit") == [(0,)]


async def test_an_unreachable_database_is_refused_at_the_start(tmp_path):
    require_server()
    with pytest.raises(UnavailableError, match=r"store\.unavailable"):
        PostgresStore(f"host={tmp_path} port=5432 user=vitrine dbname=x", None, CountingIds())
