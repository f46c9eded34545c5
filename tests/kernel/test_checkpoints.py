"""The write-ahead log is copied beside the writer and begins anew, so that no commit pays for it."""

import sqlite3
import time

from structlog.testing import capture_logs

from gateway.kernel.store.checkpoints import Checkpointer
from gateway.kernel.store.sqlite import connect

PAGE = 4096
COMMITS = 400
PAGES_A_COMMIT = 10


def write(path, *, checkpointer=None, pause_s=0.0):
    """Commit more than the log may hold, and return the log's size in pages at the end."""
    raw, core = connect(path)
    raw.execute("PRAGMA wal_autocheckpoint=0")
    cursor = raw.cursor()
    cursor.execute("CREATE TABLE IF NOT EXISTS thing (number INTEGER PRIMARY KEY, value BLOB)")
    for number in range(COMMITS):
        cursor.execute("BEGIN IMMEDIATE")
        cursor.execute(
            "INSERT OR REPLACE INTO thing VALUES (?, zeroblob(?))", (number % 40, PAGES_A_COMMIT * PAGE)
        )
        cursor.execute("COMMIT")
        if checkpointer is not None:
            checkpointer.committed(cursor)
        time.sleep(pause_s)
    pages = path.with_name(path.name + "-wal").stat().st_size // PAGE
    core.close()
    raw.close()
    return pages


def test_the_log_begins_anew_under_a_writer_that_never_rests(tmp_path):
    path = tmp_path / "busy.db"
    holder, core = connect(path)  # keeps the log when the writer closes
    own = sqlite3.connect(path, check_same_thread=False)
    checkpointer = Checkpointer("busy", own, every_s=0.005, long_log_pages=200)
    pages = write(path, checkpointer=checkpointer, pause_s=0.001)
    checkpointer.close()
    assert COMMITS * PAGES_A_COMMIT > 3500
    assert pages < 2000
    assert holder.execute("SELECT count(*) FROM thing").fetchone() == (40,)
    core.close()
    holder.close()


def test_without_the_checkpointer_the_log_only_grows(tmp_path):
    assert write(tmp_path / "busy.db") > COMMITS * PAGES_A_COMMIT


def test_a_copy_that_fails_stops_neither_the_thread_nor_the_writer(tmp_path):
    path = tmp_path / "busy.db"
    own = sqlite3.connect(path, check_same_thread=False)
    own.close()
    checkpointer = Checkpointer("busy", own, every_s=0.001)
    with capture_logs() as logged:
        write(path, checkpointer=checkpointer)
        deadline = time.monotonic() + 5
        while len(logged) < 2 and time.monotonic() < deadline:
            time.sleep(0.005)
            checkpointer._news.set()
    assert {entry["event"] for entry in logged} == {"store.checkpoint_failed"}
    assert len(logged) >= 2
    checkpointer.close()


def test_an_ended_checkpointer_gives_its_connection_back(tmp_path):
    own = sqlite3.connect(tmp_path / "idle.db", check_same_thread=False)
    Checkpointer("idle", own).close()
    try:
        own.execute("SELECT 1")
    except sqlite3.ProgrammingError as error:
        assert "closed" in str(error)
    else:
        raise AssertionError("the connection is open")
