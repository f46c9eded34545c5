"""Any mixture of refusals, silence, crashes and withdrawn consents: nothing lost, nothing out of order."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict

import pytest

from gateway.webhooks.model import Answer
from tests.support.chance import seeds
from tests.webhooks.conftest import Sending

PLAYERS = ("ada", "bea", "cyd")
ANSWERS = (204, 204, 204, 200, 500, 404, 302, 429, 503, None)


@pytest.mark.parametrize("chosen", seeds(()))
async def test_whatever_servers_and_processes_do(sending: Sending, chosen: int) -> None:
    print(f"VITRINE_TEST_SEED={chosen}")
    chance = random.Random(chosen)
    taken: dict[str, list[int]] = defaultdict(list)
    under_way: set[str] = set()

    class Odd:
        """A server that answers as it likes, or whose sender dies before the answer is recorded."""

        async def post(self, url: str, headers: object, body: bytes) -> Answer:
            player, _, number = body.decode().strip('"').partition(":")
            assert player not in under_way, "two about one player at a time"
            under_way.add(player)
            try:
                for _ in range(chance.randrange(4)):
                    await asyncio.sleep(0)
                status = chance.choice(ANSWERS)
                if status in (200, 204):
                    taken[player].append(int(number))
                if chance.random() < 0.15:
                    raise asyncio.CancelledError
                return Answer(status, retry_after_ms=chance.choice((None, 1_000, 30_000)))
            finally:
                under_way.discard(player)

        async def close(self) -> None:
            """Nothing is open."""

    sending.receiver = Odd()  # type: ignore[assignment]
    senders = [sending.sender(), sending.sender()]
    written: dict[str, int] = defaultdict(int)
    for turn in range(150):
        if turn < 40:
            player = chance.choice(PLAYERS)
            written[player] += 1
            await sending.write(f"{player}:{written[player]}", about=player)
        if chance.random() < 0.1:
            senders[chance.randrange(2)] = sending.sender()  # a process that begins anew
        sender = chance.choice(senders)
        await sender.step()
        await sender.settled()
        sending.clock.advance(chance.choice((0, 100, 6_000, 61_000, 3_600_000)))
        if turn > 40 and set(await sending.states()) <= {"delivered", "failed"}:
            break
    rows = await sending.rows()
    assert len(rows) == 40
    for player in PLAYERS:
        # Repeats are allowed, going back is not: a number comes first after all before it have ended.
        firsts = list(dict.fromkeys(taken[player]))
        assert firsts == sorted(firsts)
        assert taken[player] == sorted(taken[player]), "a repeat comes before the next one"
        mine = {row.data: row.state for row in rows if row.subject == player}
        delivered = {number for number in range(1, written[player] + 1)
                     if mine[f'{{"text":"{player}:{number}"}}'] == "delivered"}  # fmt: skip
        assert delivered <= set(taken[player]), "recorded as taken and never taken"
