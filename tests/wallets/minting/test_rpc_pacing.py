"""An endpoint is asked as fast as it answers, and no faster once it says so."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from tests.support.rpc_proxy import Limit
from wallets.minting.chain.jsonrpc import _pause_s
from wallets.minting.chain.pacing import Pace
from wallets.minting.chain.port import ChainUnavailable, Throttled


async def _ask(pace: Pace, limit: Limit, *, retry_after_s: float | None = None) -> None:
    """Ask as an endpoint does, again after each refusal."""
    while True:
        try:
            async with pace.turn(30):
                await asyncio.sleep(0.001)
                if not limit.takes():
                    raise Throttled("no", retry_after_s)
        except Throttled:
            continue
        return


async def test_an_endpoint_that_refuses_nothing_is_not_slowed() -> None:
    pace = Pace()
    loop = asyncio.get_running_loop()
    start = loop.time()
    await asyncio.gather(*(_ask(pace, Limit(10**6)) for _ in range(300)))
    assert pace.rate is None
    assert loop.time() - start < 0.5


async def test_a_hundred_who_ask_at_once_are_answered_near_the_limit_with_few_refusals() -> None:
    pace, limit = Pace(), Limit(100)
    loop = asyncio.get_running_loop()
    start = loop.time()
    await asyncio.gather(*(_ask(pace, limit) for _ in range(400)))
    took_s = loop.time() - start
    # A hundred at once and then a hundred a second: three seconds at best.
    assert took_s < 6
    assert pace.refused < 60, "more than one refusal in seven requests is a storm"


async def test_a_time_that_is_named_is_waited() -> None:
    pace, limit = Pace(), Limit(1)
    limit.takes()
    loop = asyncio.get_running_loop()
    start = loop.time()
    await _ask(pace, limit, retry_after_s=1.1)
    assert 1.1 <= loop.time() - start < 1.6
    assert pace.refused == 1


async def test_a_limit_that_is_gone_is_forgotten() -> None:
    pace = Pace()
    with pytest.raises(Throttled):
        async with pace.turn(1):
            raise Throttled("no", 0.0)
    slow = pace.rate
    assert slow is not None
    for _ in range(2_000):
        pace._speed_up(asyncio.get_running_loop().time())
    assert pace.rate is None or pace.rate > 50 * slow


async def test_who_waits_too_long_for_a_turn_is_told() -> None:
    pace = Pace()
    with pytest.raises(Throttled):
        async with pace.turn(1):
            raise Throttled("no", 5.0)
    with pytest.raises(Throttled, match="no turn"):
        async with pace.turn(0.02):
            pass


async def test_nobody_waits_any_more_when_the_gateway_stops() -> None:
    pace = Pace()
    with pytest.raises(Throttled):
        async with pace.turn(1):
            raise Throttled("no", 30.0)
    waiting = asyncio.gather(*(_ask(pace, Limit(10)) for _ in range(3)), return_exceptions=True)
    await asyncio.sleep(0.01)
    pace.hurry()
    assert all(isinstance(one, ChainUnavailable) for one in await waiting)


async def test_one_who_is_cancelled_in_line_holds_up_nobody() -> None:
    pace = Pace(at_once=1)
    with pytest.raises(Throttled):
        async with pace.turn(1):
            raise Throttled("no", 0.05)
    first = asyncio.create_task(_ask(pace, Limit(1_000)))
    second = asyncio.create_task(_ask(pace, Limit(1_000)))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.wait_for(second, 5)


def test_retry_after_is_read_in_seconds_and_as_a_date() -> None:
    assert _pause_s({}) is None
    assert _pause_s({"Retry-After": "7"}) == 7
    assert _pause_s({"Retry-After": "86400"}) == 60
    assert _pause_s({"Retry-After": "-3"}) == 0
    assert _pause_s({"Retry-After": "soon"}) is None
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    assert 18 <= (_pause_s({"Retry-After": soon}) or 0) <= 20
