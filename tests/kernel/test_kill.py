"""kill -9: what was acknowledged is there exactly once, and what was begun is finished once."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import time
from collections import Counter

import pytest

from gateway.kernel.documents import decode
from gateway.kernel.tasks import queue
from gateway.kernel.tasks.runner import TaskRunner
from tests.kernel import kill_child

KILLS = 12


@pytest.fixture(scope="module")
def processes():
    """Children are forked from a server that has imported everything and has no threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.kernel.kill_child", "gateway.kernel.store.postgres"])
    return context


def lines(path):
    # The last line may be cut off: it was not acknowledged then.
    return path.read_text().rpartition("\n")[0].splitlines() if path.exists() else []


def wait_for(condition, within_s=15.0):
    give_up_at = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.002)


async def finish_tasks(database, dialect):
    store = kill_child.open_store(dialect, database.where)
    await store.write(queue.release_all_leases)
    runner = TaskRunner(store, [kill_child.SHIP])
    runner.start()
    async with asyncio.timeout(20):
        while await store.read(queue.open_tasks):
            await asyncio.sleep(0.01)
    await runner.stop()
    await store.close()


async def test_a_process_killed_again_and_again_loses_and_doubles_nothing(database, processes, tmp_path):
    acknowledged = tmp_path / "acknowledged"
    chance = random.Random()
    first = 0
    for _ in range(KILLS):
        before = len(lines(acknowledged))
        child = processes.Process(
            target=kill_child.run, args=(database.dialect, database.where, acknowledged, first)
        )
        child.start()
        wait_for(lambda before=before, child=child: len(lines(acknowledged)) > before or not child.is_alive())
        time.sleep(chance.uniform(0, 0.15))
        child.kill()
        child.join()
        assert child.exitcode == -9, "the child ended by itself"
        # The next life sends the last keys again, as clients do that heard no answer.
        first = max(0, max(map(int, lines(acknowledged))) - 40)

    await finish_tasks(database, database.dialect)
    names = [row[0] for row in database.rows("SELECT name FROM note")]
    assert set(lines(acknowledged)) <= set(names)
    assert len(names) == len(set(names))

    numbers: dict[str, list[int]] = {}
    told = Counter()
    for stream, seq, body in database.rows("SELECT stream, seq, body FROM event ORDER BY stream, seq"):
        numbers.setdefault(stream, []).append(seq)
        told[decode(body)["name"]] += 1
    assert len(numbers) == kill_child.STREAMS
    for found in numbers.values():
        assert found == list(range(1, len(found) + 1))
    assert told == Counter(names)

    recorded = Counter(row[0] for row in database.rows("SELECT subject FROM effect"))
    assert recorded == Counter(names)


async def test_a_task_in_flight_is_resumed_after_its_process_is_killed(database, processes, tmp_path):
    store = kill_child.open_store(database.dialect, database.where)
    await store.write(kill_child.purchase("00000001"))
    await store.close()
    mark = tmp_path / "mark"
    child = processes.Process(target=kill_child.hang, args=(database.dialect, database.where, mark))
    child.start()
    wait_for(lambda: lines(mark) == ["performing"])
    child.kill()
    child.join()
    assert database.rows("SELECT state, attempts FROM task") == [("running", 1)]
    await finish_tasks(database, database.dialect)
    assert database.rows("SELECT subject, by FROM effect") == [("00000001", "2")]
