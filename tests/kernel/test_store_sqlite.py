"""What is SQLite's own: durability settings, a full disk."""

from __future__ import annotations

import sqlite3

import pytest
from sqlalchemy import text

from gateway.kernel.store.sqlite import connect
from tests.kernel.tables import names, write_note


def test_the_file_is_in_wal_mode_and_every_commit_is_synced(tmp_path):
    raw, core = connect(tmp_path / "gateway.db")
    assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert raw.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert raw.execute("PRAGMA foreign_keys").fetchone() == (1,)
    core.close()
    raw.close()


async def test_a_full_disk_is_an_answer_and_the_store_goes_on(sqlite_file):
    store = sqlite_file.open()
    await store.write(write_note("a"))

    def limit(pages):
        # The limit belongs to the writer's own connection.
        return lambda uow: uow.core(text(f"PRAGMA max_page_count={pages}")).all()

    await store.write(limit(1))
    with pytest.raises(sqlite3.OperationalError, match="full"):
        await store.write(write_note("big", "x" * 500_000))
    await store.write(limit(1_000_000))
    await store.write(write_note("b"))
    assert await store.read(names) == ["a", "b"]
