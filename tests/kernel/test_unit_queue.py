"""How units wait for a writer: who waits for an answer at once, background work a moment for company."""

from __future__ import annotations

import asyncio
import time

from gateway.kernel.precedence import MAKES_WAY_S, Precedence
from gateway.kernel.store.queue import STARVED_S, UnitQueue
from gateway.kernel.store.unit import Lane


def unit(uow):
    return None


def submit(queue: UnitQueue, lane: Lane):
    return queue.submit(unit, lane, ())


async def taken(queue: UnitQueue) -> tuple[list[Lane], float]:
    began = time.monotonic()
    jobs = await asyncio.to_thread(queue.take, 10)
    return [job.lane for job in jobs], time.monotonic() - began


async def test_background_work_waits_a_moment_and_goes_together():
    queue = UnitQueue(gather_s=0.2)
    submit(queue, Lane.BACKGROUND)
    taking = asyncio.create_task(taken(queue))
    await asyncio.sleep(0.02)
    submit(queue, Lane.BACKGROUND)
    lanes, waited_s = await taking
    assert lanes == [Lane.BACKGROUND, Lane.BACKGROUND]
    assert waited_s > 0.15


async def test_who_waits_for_an_answer_waits_neither_for_company_nor_in_one_transaction_with_others():
    queue = UnitQueue(gather_s=30)
    submit(queue, Lane.BACKGROUND)
    submit(queue, Lane.INTERACTIVE)
    lanes, waited_s = await taken(queue)
    assert lanes == [Lane.INTERACTIVE]
    assert waited_s < 10


async def test_background_work_goes_along_once_it_has_made_way_long_enough():
    queue = UnitQueue()
    submit(queue, Lane.BACKGROUND)
    await asyncio.sleep(MAKES_WAY_S + 0.01)
    submit(queue, Lane.INTERACTIVE)
    lanes, _ = await taken(queue)
    assert lanes == [Lane.INTERACTIVE, Lane.BACKGROUND]


async def test_background_work_makes_way_to_what_is_waited_for_elsewhere_in_the_process():
    precedence = Precedence()
    queue = UnitQueue(precedence, gather_s=0)
    with precedence.taken():
        submit(queue, Lane.BACKGROUND)
        lanes, waited_s = await taken(queue)
    assert lanes == [Lane.BACKGROUND]
    assert MAKES_WAY_S / 2 < waited_s < 10


async def test_background_work_goes_on_when_nobody_waits_any_more(monkeypatch):
    monkeypatch.setattr("gateway.kernel.store.queue.MAKES_WAY_S", 30)
    precedence = Precedence()
    queue = UnitQueue(precedence, gather_s=0)
    with precedence.taken():
        submit(queue, Lane.BACKGROUND)
        taking = asyncio.create_task(taken(queue))
        await asyncio.sleep(0.02)
        assert not taking.done()
    lanes, waited_s = await taking
    assert lanes == [Lane.BACKGROUND] and waited_s < 10


async def test_a_closing_queue_waits_for_nobody():
    queue = UnitQueue(gather_s=30)
    submit(queue, Lane.BACKGROUND)
    taking = asyncio.create_task(taken(queue))
    await asyncio.sleep(0.02)
    queue.close()
    lanes, waited_s = await taking
    assert lanes == [Lane.BACKGROUND] and waited_s < 10
    assert (await taken(queue))[0] == []


async def test_what_is_given_back_has_waited_long_enough():
    queue = UnitQueue(gather_s=0.05)
    submit(queue, Lane.BACKGROUND)
    queue.give_back(await asyncio.to_thread(queue.take, 10))
    lanes, waited_s = await taken(queue)
    assert lanes == [Lane.BACKGROUND] and waited_s < 0.04


async def test_what_comes_in_one_turn_of_the_loop_is_taken_together():
    queue = UnitQueue()
    taking = asyncio.create_task(taken(queue))
    await asyncio.sleep(0.05)  # a thread waits for work
    submit(queue, Lane.INTERACTIVE)
    time.sleep(0.05)  # the loop is at work
    submit(queue, Lane.INTERACTIVE)
    assert (await taking)[0] == [Lane.INTERACTIVE, Lane.INTERACTIVE]


def test_a_loop_that_ended_keeps_no_other_loop_waiting():
    queue = UnitQueue()

    async def submits():
        submit(queue, Lane.INTERACTIVE)  # and ends in the same turn

    async def works_on():
        submit(queue, Lane.INTERACTIVE)
        return await taken(queue)

    asyncio.run(submits())
    lanes, waited_s = asyncio.run(works_on())
    assert lanes == [Lane.INTERACTIVE, Lane.INTERACTIVE] and waited_s < 10


async def test_what_one_thread_leaves_another_takes():
    queue = UnitQueue(gather_s=0)
    takings = [asyncio.create_task(taken(queue)) for _ in range(2)]
    await asyncio.sleep(0.05)  # both wait for work
    submit(queue, Lane.BACKGROUND)
    submit(queue, Lane.INTERACTIVE)
    async with asyncio.timeout(10):
        lanes = sorted(str(lane) for found, _ in await asyncio.gather(*takings) for lane in found)
    assert lanes == ["Lane.BACKGROUND", "Lane.INTERACTIVE"]


async def test_a_background_job_goes_first_once_it_has_starved():
    queue = UnitQueue()
    submit(queue, Lane.BACKGROUND)
    submit(queue, Lane.BACKGROUND)
    await asyncio.sleep(STARVED_S + 0.01)
    for _ in range(20):
        submit(queue, Lane.INTERACTIVE)
    lanes, _ = await taken(queue)
    assert lanes == [Lane.BACKGROUND] + [Lane.INTERACTIVE] * 9
