"""Other work makes way while somebody waits, and not for longer than it must."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway.kernel.precedence import MAKES_WAY_S, Precedence


async def test_nobody_waits_for_nothing():
    began = time.monotonic()
    await Precedence().make_way()
    assert time.monotonic() - began < MAKES_WAY_S


async def test_other_work_goes_on_with_the_end_of_the_last_that_is_waited_for(monkeypatch):
    monkeypatch.setattr("gateway.kernel.precedence.MAKES_WAY_S", 30)
    precedence = Precedence()
    told = []
    precedence.on_quiet(lambda: told.append(precedence.is_taken))
    with precedence.taken():
        other = asyncio.create_task(precedence.make_way())
        with precedence.taken():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        assert not other.done() and precedence.is_taken and told == []
    await asyncio.wait_for(other, 10)
    assert told == [False]


async def test_other_work_does_not_make_way_for_longer_than_its_time():
    precedence = Precedence()
    with precedence.taken():
        began = time.monotonic()
        await precedence.make_way()
        assert time.monotonic() - began > MAKES_WAY_S / 2


async def test_who_comes_next_is_waited_for_too(monkeypatch):
    monkeypatch.setattr("gateway.kernel.precedence.MAKES_WAY_S", 30)
    precedence = Precedence()
    with precedence.taken():
        other = asyncio.create_task(precedence.make_way())
        await asyncio.sleep(0)
    with precedence.taken():
        await asyncio.sleep(0.01)
        assert not other.done()
    await asyncio.wait_for(other, 10)


async def test_what_fails_is_not_waited_for_any_more():
    precedence = Precedence()
    with pytest.raises(RuntimeError), precedence.taken():
        raise RuntimeError("no")
    assert not precedence.is_taken


async def test_work_that_makes_way_can_be_canceled():
    precedence = Precedence()
    with precedence.taken():
        other = asyncio.create_task(precedence.make_way())
        await asyncio.sleep(0)
        other.cancel()
        with pytest.raises(asyncio.CancelledError):
            await other
