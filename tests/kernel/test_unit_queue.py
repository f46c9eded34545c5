"""How units wait for a writer: who waits for an answer at once, background work a moment for company."""

from __future__ import annotations

import asyncio
import time

from gateway.kernel.store.queue import UnitQueue
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


async def test_who_waits_for_an_answer_does_not_wait_for_company_and_takes_the_others_along():
    queue = UnitQueue(gather_s=30)
    submit(queue, Lane.BACKGROUND)
    taking = asyncio.create_task(taken(queue))
    await asyncio.sleep(0.02)
    submit(queue, Lane.INTERACTIVE)
    lanes, waited_s = await taking
    assert lanes == [Lane.INTERACTIVE, Lane.BACKGROUND]
    assert waited_s < 10


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
