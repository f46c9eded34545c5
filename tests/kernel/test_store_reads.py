"""Reads see one committed state, never block the writer, and are cut off."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time

import pytest
from sqlalchemy import text

from gateway.kernel.errors import UnavailableError
from gateway.kernel.store.statements import Statement
from tests.kernel import tables
from tests.kernel.tables import COUNT_NOTES, INSERT_NOTE, names, write_note

ENDLESS = {
    "sqlite": "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n",
    "postgresql": "SELECT count(*) FROM generate_series(1, 100000000000) AS n",
}


async def test_a_query_sees_one_committed_state_and_does_not_block_the_writer(database):
    store = database.open()
    await store.write(write_note("before"))
    reading, written = threading.Event(), threading.Event()

    def query(reader):
        first = names(reader)
        reading.set()
        assert written.wait(1.5)
        return first, names(reader)

    asked = asyncio.create_task(store.read(query))
    assert await asyncio.to_thread(reading.wait, 5)
    await asyncio.wait_for(store.write(write_note("during")), 1.0)
    written.set()
    assert await asked == (["before"], ["before"])
    assert await store.read(names) == ["before", "during"]


async def test_a_query_sees_what_was_answered_before_it_was_asked(database):
    store = database.open(readers=2)
    for index in range(50):
        await store.write(write_note(f"n{index:02d}"))
        assert len(await store.read(names)) == index + 1


async def test_a_query_cannot_write(database):
    store = database.open()
    with pytest.raises(Exception, match=r"(?i)read-?only"):
        await store.read(lambda reader: reader.core(tables.note.insert(), {"name": "a", "body": None}))
    assert await store.read(names) == []


async def test_a_broken_query_fails_alone(database):
    store = database.open(readers=1)

    def broken(reader):
        return reader.core(text("SELECT * FROM missing"))

    def stops(reader):
        next(iter(()))

    results = await asyncio.gather(
        store.read(names), store.read(broken), store.read(stops), store.read(names), return_exceptions=True
    )
    assert results[0] == results[3] == []
    assert isinstance(results[1], Exception)
    assert isinstance(results[2], RuntimeError)


@pytest.mark.parametrize("way", ["prepared", "core"])
async def test_a_long_read_is_cut_off(database, way):
    store = database.open(longest_read_ms=150, readers=1)
    endless = text(ENDLESS[database.dialect])

    class Endless(Statement):
        def __init__(self):
            super().__init__(tables.note.select())

        def prepared(self, dialect):
            return ENDLESS[dialect], lambda values: values

    started = time.monotonic()
    with pytest.raises(UnavailableError, match=r"store\.read_too_long"):
        await store.read(lambda reader: reader.core(endless) if way == "core" else reader.row(Endless()))
    assert time.monotonic() - started < 1.5
    assert await store.read(names) == []


async def test_after_a_cut_off_read_the_wal_can_be_checkpointed(sqlite_file):
    store = sqlite_file.open(longest_read_ms=150, readers=1)
    await store.write(write_note("before"))

    def query(reader):
        reader.rows(tables.NOTES)  # pins the state of now
        reader.core(text(ENDLESS["sqlite"]))

    asked = asyncio.create_task(store.read(query))
    for index in range(20):
        await store.write(write_note(f"n{index}", "x" * 5_000))
    with pytest.raises(UnavailableError):
        await asked
    raw = sqlite3.connect(sqlite_file.where)
    busy, _, _ = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    raw.close()
    assert busy == 0
    wal = sqlite_file.where.with_name(sqlite_file.where.name + "-wal")
    assert wal.stat().st_size == 0


async def test_a_prepared_write_is_refused_in_a_query(database):
    store = database.open()
    with pytest.raises(Exception, match=r"(?i)read-?only"):
        await store.read(lambda reader: reader.rows(INSERT_NOTE, {"name": "a", "body": None}))


async def test_many_queries_at_once_are_all_answered(database):
    store = database.open(readers=2)
    await store.write(write_note("a"))
    found = await asyncio.gather(
        *(store.read(lambda reader: reader.row(COUNT_NOTES).notes) for _ in range(500))
    )
    assert found == [1] * 500
