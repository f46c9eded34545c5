"""Any sequence of purchases, cancellations, refunds, lost answers, repeats and days keeps the money right (P3).

The gateway is a real one without workers: the test claims the tasks itself, performs them in any order, loses
answers before and after the vault acted, records them twice or late, and moves the clock by minutes or days,
so that authorizations run out. After each step the amounts of every intent are compared with its operations,
and triggers see every move of every state; at the end everything is allowed to finish, and every promise is
checked.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
import tempfile
import uuid
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fulfillment.feed import read_updates
from gateway.app import Gateway
from gateway.commands import customer as customers
from gateway.commands import merchant as merchants
from gateway.commands import payments
from gateway.identity.model import DevicePrincipal, MerchantPrincipal
from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import VitrineError
from gateway.kernel.store.unit import UnitOfWork
from gateway.kernel.tasks.model import Task
from gateway.kernel.tasks.queue import claim, end, retry_later
from gateway.orders.changes import expire_order
from gateway.orders.fulfillment_facts import FulfillmentFacts
from gateway.orders.purchase import unpaid_orders
from gateway.orders.refunding import RefundWish
from gateway.orders.renewal_sweep import plan_renewals
from gateway.payments.refunds_model import RefundWay
from gateway.protocol.messages import OrderCancel, OrderPay, OrderPlace, QuoteCreate
from gateway.settings import Settings
from tests.support import money_promises
from tests.support.evidence import Evidence
from tests.support.gateway import CONSENT, address
from tests.support.invariants import violations
from tests.support.seed import SAMPLES
from tests.support.watched_moves import seen_moves, watch_moves
from wallets.vault.port import CardEntry, Initiation, OperationResult, OperationStatus
from wallets.vault.providers import simulated
from wallets.vault.providers.port import AuthorizeOrder
from wallets.vault.providers.simulated_rules import authorization_row
from wallets.vault.providers.test_cards import TEST_CARDS_BY_NAME, SimulatedCard

CARDS = ("visa", "visa", "mastercard", "insufficient_funds", "capture_declined", "mastercard")
ITEMS = ("FJORD-MUG:physical", "HALM-CHAIR:digital", "MONSTERA:bundle", "MOSS-MUG:physical")
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
FAULTS = ("none", "none", "none", "before", "after", "unknown", "twice", "late")

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


@pytest.fixture(scope="module")
def plain_seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample catalog in a gateway that mints nothing."""
    folder = tmp_path_factory.mktemp("plain") / "data"

    async def make() -> None:
        gateway = await Gateway.open(
            Settings(data_dir=folder, mint=False, workers=False), clock=ManualClock(), checked=True
        )
        await merchants.import_catalog(gateway.context, SAMPLES)
        await gateway.close()

    asyncio.run(make())
    return folder


@pytest.fixture(autouse=True)
def strict_issuer(monkeypatch: pytest.MonkeyPatch) -> None:
    """One card's issuer wants to hear from the customer: re-authorizations are declined."""
    monkeypatch.setattr(simulated, "authorization_row", _strictly)


def _strictly(order: AuthorizeOrder, card: SimulatedCard, now_ms: int) -> dict[str, Any]:
    row = authorization_row(order, card, now_ms)
    if order.initiation is Initiation.MERCHANT and card.name == "mastercard":
        row["outcome"], row["network_code"] = "declined", "51"
    return row


class World:
    """One gateway, one customer with every card, and what has happened so far."""

    def __init__(self, gateway: Gateway, clock: ManualClock, chance: random.Random) -> None:
        self.gateway, self.clock, self.chance = gateway, clock, chance
        self.orders: list[str] = []
        self.kept: list[tuple[Task, Any]] = []
        self.facts = FulfillmentFacts(gateway.context.process)
        self.quoted = 0

    async def begin(self) -> None:
        context = self.gateway.context
        merchant = context.catalog.current.merchant_by_slug("atelier-nord")
        self.merchant = MerchantPrincipal(merchant.merchant_id)
        customer_id = await merchants.register(context, self.merchant, uuid.uuid4().hex)
        token = await merchants.issue_token(context, self.merchant, customer_id, kind="headset", name="")
        self.who: DevicePrincipal = token.device
        self.methods = [await self._card(customer_id, name) for name in CARDS]

    async def _card(self, customer_id: str, name: str) -> str:
        card = CardEntry.typed(TEST_CARDS_BY_NAME[name].number, 12, 2031, "739")
        stored = await merchants.add_card(self.gateway.context, customer_id, card)
        return str(stored["payment_method_id"])

    async def step(self, name: str, first: Any, second: Any) -> None:
        with suppress(VitrineError):  # refused by a rule, which wrote nothing
            await getattr(self, name)(first, second)

    async def buy(self, card: int, wanted: int) -> None:
        context = self.gateway.context
        items = [
            {"sku": sku, "format": form}
            for number, item in enumerate(ITEMS)
            if wanted >> number & 1
            for sku, form in [item.split(":")]
        ]
        body = {"merchant": "atelier-nord", "items": items, "currency": "EUR", "country": "DE"}
        quoted = await customers.perform(context, self.who, _command(QuoteCreate, "quote.create", body))
        place: dict[str, Any] = {
            "quote_id": quoted["quote_id"],
            "payment_method_id": self.methods[card],
        }
        if quoted["ship_to_required"]:
            place["ship_to"] = address()
        if quoted["consents_required"]:
            place["consents"] = [CONSENT]
        command = _command(OrderPlace, "order.place", place)
        placed = await customers.perform(context, self.who, command)
        again = await customers.perform(context, self.who, command)
        assert again["order_id"] == placed["order_id"] and again["replayed"]
        self.orders.append(placed["order_id"])

    async def work(self, most: int, fault: str) -> None:
        """Claim tasks that are due and perform them in any order, with one kind of fault."""
        kinds = self.gateway.runner._kinds
        tasks = await self.gateway.context.store.write(lambda uow: claim(uow, kinds, most))
        self.chance.shuffle(tasks)
        for task in tasks:
            await self._perform(task, fault)

    async def _perform(self, task: Task, fault: str) -> None:
        kind, store = self.gateway.runner._kinds[task.kind], self.gateway.context.store
        if fault == "before":
            await store.write(lambda uow: retry_later(uow, kind, task, "lost"))
            return
        try:
            outcome = await kind.perform(task)
        except VitrineError as error:
            message = str(error)
            await store.write(lambda uow: retry_later(uow, kind, task, message))
            return
        if fault == "after":
            await store.write(lambda uow: retry_later(uow, kind, task, "lost"))
            return
        if fault == "late":
            self.kept.append((task, outcome))
        if fault == "unknown" and isinstance(outcome, OperationResult) and task.kind != "payment.resolve":
            outcome = replace(
                outcome, status=OperationStatus.UNKNOWN, decline=None, action=None, refusal=None
            )

        def record(uow: UnitOfWork) -> None:
            end(uow, task)
            kind.record(uow, task, outcome)

        for _ in range(2 if fault == "twice" else 1):
            await store.write(record)

    async def late(self, *_: Any) -> None:
        """Answers of workers that had lost their lease arrive again."""
        kept, self.kept = self.kept, []
        for task, outcome in kept:
            await self.gateway.context.store.write(partial(self._record, task, outcome))

    def _record(self, task: Task, outcome: Any, uow: UnitOfWork) -> None:
        self.gateway.runner._kinds[task.kind].record(uow, task, outcome)

    async def wait(self, milliseconds: int, _: Any) -> None:
        """Time passes, and what looks at it looks."""
        self.clock.advance(milliseconds)
        store, rules = self.gateway.context.store, self.gateway.context.process
        for order_id in await store.read(lambda reader: unpaid_orders(reader, 100)):
            await store.write(partial(expire_order, order_id=order_id, rules=rules))
        await plan_renewals(store, rules.renewal)

    async def ship(self, *_: Any) -> None:
        """The order backend works, and its feed is read."""
        backend, store = self.gateway.backend, self.gateway.context.store
        await backend.work()
        while (page := await read_updates(store, backend)).updates:
            await store.write(partial(self.facts.record_page, page=page))

    async def cancel(self, number: int, _: Any) -> None:
        body = {"order_id": self._order(number)}
        await customers.perform(self.gateway.context, self.who, _command(OrderCancel, "order.cancel", body))

    async def pay(self, number: int, card: int) -> None:
        body = {"order_id": self._order(number), "payment_method_id": self.methods[card]}
        await customers.perform(self.gateway.context, self.who, _command(OrderPay, "order.pay", body))

    async def refund(self, number: int, amount: int) -> None:
        wish = RefundWish(
            self.merchant.merchant_id,
            self._order(number),
            uuid.uuid4().hex,
            "",
            RefundWay.ORIGINAL,
            amount or None,
            None,
            None,
            "scratched",
            "erin",
        )
        await payments.ask_refund(self.gateway.context, wish)

    async def _return(self, number: int, _: Any) -> None:
        await merchants.refund(self.gateway.context, self.merchant, self._order(number), uuid.uuid4().hex)

    def __getattr__(self, name: str) -> Any:
        if name == "return":
            return self._return
        raise AttributeError(name)

    def _order(self, number: int) -> str:
        return self.orders[number % len(self.orders)] if self.orders else "ord_none"

    async def finish(self, data_dir: Path) -> None:
        """Let everything come to rest: days pass, and nothing fails any more."""
        await self.late()
        for _ in range(400):
            await self.work(50, "none")
            await self.ship()
            waiting = Evidence(data_dir).unfinished()
            held = Evidence(data_dir).count(
                "customer_order", "state = 'confirmed' AND pay_until_ms IS NOT NULL"
            )
            if not waiting and not held:
                return
            busy = [what for what in waiting if "payment.renew" not in what]
            await self.wait(10_000 if busy else 3 * HOUR, 0)
        raise AssertionError(f"not at rest: {waiting}")


def _command(kind: Any, name: str, body: dict[str, Any]) -> Any:
    message = {"id": "1", "type": name, "key": uuid.uuid4().hex, "body": body}
    return kind.model_validate(message)


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
        asyncio.run(_run(plain_seed, folder / "data", steps, seed))
        found = violations(folder / "data", at_rest=True)
        assert not found, "\n".join(map(str, found))
        assert not seen_moves(folder / "data")
    finally:
        shutil.rmtree(folder)


def test_p3_the_watch_sees_what_left_an_end_and_what_was_too_much(plain_seed: Path, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    bought: list[Any] = [("buy", 0, 1), ("work", 12, "none"), ("ship", 0, 0), ("work", 12, "none")]
    asyncio.run(_run(plain_seed, data_dir, bought, 1))
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


async def _run(plain_seed: Path, data_dir: Path, steps: list[Any], seed: int) -> None:
    shutil.copytree(plain_seed, data_dir)
    clock = ManualClock(1_790_000_100_000)
    gateway = await Gateway.open(
        Settings(data_dir=data_dir, mint=False, workers=False, most_unpaid=0), clock=clock, checked=True
    )
    try:
        world = World(gateway, clock, random.Random(seed))
        await world.begin()
        watch_moves(data_dir)
        for step in steps:
            await world.step(*step)
            found = list(money_promises.intents(Evidence(data_dir), at_rest=False))
            assert not found, f"after {step}:\n" + "\n".join(map(str, found))
        await world.finish(data_dir)
    finally:
        await gateway.close()
