"""Any sequence of purchases, cancellations, refunds, lost answers, repeats and days keeps the money right (P3).

The gateway is a real one without workers: the test claims the tasks itself, performs them in any order, loses
answers before and after the vault acted, records them twice or late, and moves the clock by minutes or days,
so that authorizations run out. After each step the amounts of every intent are compared with its operations,
and triggers see every move of every state; at the end everything is allowed to finish, and every promise is
checked.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gateway.kernel.errors import VitrineError
from tests.support import money_promises
from tests.support.invariants import violations
from tests.support.stepped_gateway import DAY, HOUR, MINUTE, SteppedGateway, stepped_gateway
from tests.support.watched_moves import seen_moves, watch_moves

CARDS = ("visa", "visa", "mastercard", "insufficient_funds", "capture_declined", "mastercard")
ITEMS = ("FJORD-MUG:physical", "HALM-CHAIR:digital", "MONSTERA:bundle", "MOSS-MUG:physical")
FAULTS = ("none", "none", "none", "before", "after", "unknown", "twice", "late")

pytestmark = pytest.mark.usefixtures("strict_issuer")

STEP = st.one_of(
    st.tuples(st.just("buy"), st.integers(0, len(CARDS) - 1), st.integers(1, 15)),
    st.tuples(st.just("work"), st.integers(1, 12), st.sampled_from(FAULTS)),
    st.tuples(st.just("work"), st.integers(1, 12), st.sampled_from(FAULTS)),
    st.tuples(st.just("work"), st.integers(1, 12), st.just("none")),
    st.tuples(st.just("wait"), st.sampled_from((MINUTE, HOUR, DAY, 3 * DAY)), st.just(0)),
    st.tuples(st.just("ship"), st.just(0), st.just(0)),
    st.tuples(st.just("cancel"), st.integers(0, 9), st.just(0)),
    st.tuples(st.just("pay"), st.integers(0, 9), st.integers(0, len(CARDS) - 1)),
    st.tuples(st.just("refund"), st.integers(0, 9), st.integers(0, 4_000)),
    st.tuples(st.just("return"), st.integers(0, 9), st.just(0)),
    st.tuples(st.just("late"), st.just(0), st.just(0)),
)


class World:
    """What may happen to the orders of one customer, by the names of `STEP`."""

    def __init__(self, gateway: SteppedGateway) -> None:
        self.gateway = gateway
        self.orders: list[str] = []

    async def step(self, name: str, first: Any, second: Any) -> None:
        with suppress(VitrineError):  # refused by a rule, which wrote nothing
            await self._step(name, first, second)

    async def _step(self, name: str, first: Any, second: Any) -> None:
        gateway = self.gateway
        match name:
            case "buy":
                await self._buy(CARDS[first], second)
            case "work":
                await gateway.work(first, second)
            case "wait":
                await gateway.wait(first)
            case "ship":
                await gateway.ship()
            case "late":
                await gateway.late()
            case "cancel":
                await gateway.cancel(self._order(first))
            case "pay":
                await gateway.pay(self._order(first), CARDS[second])
            case "refund":
                await gateway.ask_refund(self._order(first), second or None)
            case "return":
                await gateway.take_back(self._order(first))
            case _:
                raise AssertionError(f"no step is called {name}")

    async def _buy(self, card: str, wanted: int) -> None:
        items = [item for number, item in enumerate(ITEMS) if wanted >> number & 1]
        quoted = await self.gateway.quote(*items)
        command = await self.gateway.place_command(quoted, card=card)
        placed = await self.gateway.perform(command)
        again = await self.gateway.perform(command)
        assert again["order_id"] == placed["order_id"] and again["replayed"]
        self.orders.append(placed["order_id"])

    def _order(self, number: int) -> str:
        return self.orders[number % len(self.orders)] if self.orders else "ord_none"

    async def finish(self) -> None:
        """Let everything come to rest: days pass, and nothing fails any more."""
        gateway, evidence = self.gateway, self.gateway.evidence
        await gateway.late()
        for _ in range(400):
            await gateway.work()
            await gateway.ship()
            waiting = evidence.unfinished()
            held = evidence.count("customer_order", "state = 'confirmed' AND pay_until_ms IS NOT NULL")
            if not waiting and not held:
                return
            busy = [what for what in waiting if "payment.renew" not in what]
            await gateway.wait(10_000 if busy else 3 * HOUR)
        raise AssertionError(f"not at rest: {waiting}")


@settings(
    max_examples=12,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
@given(steps=st.lists(STEP, min_size=12, max_size=60), seed=st.integers(0, 2**16))
def test_p3_money_is_right_after_any_sequence(plain_seed: Path, steps: list[Any], seed: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="payments-"))
    try:
        asyncio.run(_run(plain_seed, folder, steps, seed))
        found = violations(folder / "data", at_rest=True)
        assert not found, "\n".join(map(str, found))
        assert not seen_moves(folder / "data")
    finally:
        shutil.rmtree(folder)


def test_p3_the_watch_sees_what_left_an_end_and_what_was_too_much(plain_seed: Path, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    bought: list[Any] = [("buy", 0, 1), ("work", 12, "none"), ("ship", 0, 0), ("work", 12, "none")]
    asyncio.run(_run(plain_seed, tmp_path, bought, 1))
    assert seen_moves(data_dir) == []
    spoiled = {
        "gateway": (
            "UPDATE payment_operation SET state = 'created' WHERE kind = 'capture'",
            "UPDATE payment_intent SET captured_minor = authorized_minor + 1",
            "UPDATE payment_intent SET captured_minor = authorized_minor",
        ),
        "vault": ("UPDATE vault_operation SET state = 'sent' WHERE kind = 'authorize'",),
    }
    for database, statements in spoiled.items():
        with closing(sqlite3.connect(data_dir / f"{database}.db")) as connection:
            # The tables would refuse the amount by themselves.
            connection.execute("PRAGMA ignore_check_constraints = ON")
            for statement in statements:
                assert connection.execute(statement).rowcount == 1
            connection.commit()
    seen = [(place, said) for place, _, said in seen_moves(data_dir)]
    assert seen[0] == ("payment_operation", "succeeded>created")
    assert [place for place, _ in seen] == ["payment_operation", "payment_intent", "vault_operation"]


async def _run(plain_seed: Path, folder: Path, steps: list[Any], seed: int) -> None:
    async with stepped_gateway(plain_seed, folder, chance=seed) as gateway:
        world = World(gateway)
        watch_moves(folder / "data")
        for step in steps:
            await world.step(*step)
            found = list(money_promises.intents(gateway.evidence, at_rest=False))
            assert not found, f"after {step}:\n" + "\n".join(map(str, found))
        await world.finish()
