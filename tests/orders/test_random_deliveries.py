"""T5 and the money of what is paid first, after any sequence of purchases, choices, refusals and days.

Purchases of everything digital, with and without a consent, into accounts here and wallets outside; wallets
refuse, editions sell out, customers choose, cancel and withdraw, staff refund, answers get lost, and the clock
goes on by hours or weeks. What must hold is asked of the files: nothing digital is delivered to a consumer who
could withdraw without a consent that was confirmed before, or the end of the period; what is minted outside is
paid for; and the books balance.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gateway.kernel.errors import VitrineError
from tests.support import money_promises, order_promises
from tests.support.invariants import violations
from tests.support.paper_lane import PaperLane
from tests.support.stepped_gateway import DAY, HOUR, SteppedGateway, stepped_gateway

ITEMS = (
    "KUPPEL-LAMP:digital",
    "HALM-CHAIR:digital",
    "DUSK-PRINT:digital",
    "KUPPEL-LAMP:bundle",
    "MONSTERA:bundle",
)
WALLETS = (None, "wal_good", "wal_bad", "wal_good")
STARTS = ("at_once", "after_withdrawal_period")
FAULTS = ("none", "none", "none", "before", "after", "unknown", "twice", "late")

STEP = st.one_of(
    st.tuples(st.just("buy"), st.integers(1, 31), st.integers(0, 15)),
    st.tuples(st.just("work"), st.integers(1, 12), st.sampled_from(FAULTS)),
    st.tuples(st.just("work"), st.integers(1, 12), st.just("none")),
    st.tuples(st.just("claim"), st.just(0), st.just(0)),
    st.tuples(st.just("settle"), st.sampled_from((0, 0, 0, 1)), st.just(0)),
    st.tuples(st.just("ship"), st.just(0), st.just(0)),
    st.tuples(st.just("wait"), st.sampled_from((HOUR, DAY, 15 * DAY, 20 * DAY)), st.just(0)),
    st.tuples(st.just("choose"), st.integers(0, 9), st.integers(0, 3)),
    st.tuples(st.just("cancel"), st.integers(0, 9), st.integers(0, 3)),
    st.tuples(st.just("refund"), st.integers(0, 9), st.integers(0, 2_000)),
    st.tuples(st.just("return"), st.integers(0, 9), st.just(0)),
    st.tuples(st.just("late"), st.just(0), st.just(0)),
)


class World:
    """What may happen to the orders of one customer, by the names of `STEP`."""

    def __init__(self, gateway: SteppedGateway, lane: PaperLane) -> None:
        self.gateway, self.lane = gateway, lane
        self.orders: list[str] = []

    async def step(self, name: str, first: Any, second: Any) -> None:
        with suppress(VitrineError):  # refused by a rule, which wrote nothing
            await self._step(name, first, second)

    async def _step(self, name: str, first: Any, second: Any) -> None:
        gateway, lane = self.gateway, self.lane
        match name:
            case "buy":
                await self._buy(first, second)
            case "work":
                await gateway.work(first, second)
            case "claim":
                await lane.claim()
            case "settle":
                lane.sold_out = bool(first)
                await lane.run()
                lane.sold_out = False
            case "ship":
                await gateway.ship()
            case "wait":
                await gateway.wait(first)
            case "late":
                await gateway.late()
            case "choose":
                await self._choose(first, second)
            case "cancel":
                await self._cancel(first, second)
            case "refund":
                await gateway.ask_refund(self._order(first), second or None)
            case "return":
                await gateway.take_back(self._order(first))
            case _:
                raise AssertionError(f"no step is called {name}")

    async def _buy(self, wanted: int, choice: int) -> None:
        items = [item for number, item in enumerate(ITEMS) if wanted >> number & 1]
        body: dict[str, Any] = {}
        if choice & 1:
            body["digital_start"] = STARTS[1]
        wallet = WALLETS[choice >> 1 & 3]
        if wallet is not None:
            body["mint_to"] = {"wallet_id": wallet}
        card = "capture_declined" if choice > 13 else "visa"
        country = "US" if choice == 13 else "DE"
        if country == "US":
            items = [item for item in items if item.endswith(":digital")] or [ITEMS[0]]
        placed = await self.gateway.place(*items, card=card, body=body, country=country)
        self.orders.append(placed["order_id"])

    async def _choose(self, number: int, wallet: int) -> None:
        for leg in self.gateway.rows("SELECT * FROM leg WHERE state = 'undelivered' ORDER BY leg_id"):
            if number % 2 or leg["order_id"] == self._order(number):
                await self.gateway.choose_wallet(leg["order_id"], leg["leg_id"], WALLETS[wallet])

    async def _cancel(self, number: int, which: int) -> None:
        order_id = self._order(number)
        found = self.gateway.rows("SELECT leg_id FROM leg WHERE order_id = ?", order_id)
        leg_id = found[which % len(found)]["leg_id"] if found and which else None
        await self.gateway.cancel(order_id, leg_id)

    def _order(self, number: int) -> str:
        return self.orders[number % len(self.orders)] if self.orders else "ord_none"

    async def finish(self) -> None:
        """Let everything come to rest: weeks pass, and nothing fails any more."""
        gateway, evidence = self.gateway, self.gateway.evidence
        await gateway.late()
        waiting: list[str] = []
        for _ in range(400):
            await gateway.work()
            await gateway.ship()
            await self.lane.run()
            waiting = evidence.unfinished()
            open_orders = evidence.count("customer_order", "state = 'confirmed'")
            if not waiting and not open_orders:
                return
            busy = [what for what in waiting if "payment.renew" not in what]
            await gateway.wait(10_000 if busy else 12 * HOUR)
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
def test_t5_no_path_mints_for_an_eu_consumer_without_a_consent_row_or_the_fourteen_day_hold(
    plain_seed: Path, steps: list[Any], seed: int
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="deliveries-"))
    try:
        asyncio.run(_run(plain_seed, folder, steps, seed))
        found = violations(folder / "data", at_rest=True)
        assert not found, "\n".join(map(str, found))
    finally:
        shutil.rmtree(folder)


async def _run(plain_seed: Path, folder: Path, steps: list[Any], seed: int) -> None:
    async with stepped_gateway(plain_seed, folder, chance=seed) as gateway:
        lane = PaperLane(gateway)
        await lane.begin()
        gateway.sell_to("US")
        await lane.link("wal_good")
        lane.refusing.add(await lane.link("wal_bad"))
        world = World(gateway, lane)
        for step in steps:
            await world.step(*step)
            found = [
                *money_promises.intents(gateway.evidence, at_rest=False),
                *order_promises.consents(gateway.evidence, at_rest=False),
                *order_promises.owners(gateway.evidence, at_rest=False),
            ]
            assert not found, f"after {step}:\n" + "\n".join(map(str, found))
        await world.finish()
