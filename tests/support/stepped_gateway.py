"""A real gateway without workers, on a clock that is moved by hand.

Nothing happens by itself: a test claims the tasks (`work`), lets time pass (`wait`) and has the order backend
do its part (`ship`), so it decides what comes before what.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from fulfillment.feed import read_updates
from gateway.app import Gateway
from gateway.catalog.taxes import TaxRate, TaxTable
from gateway.commands import customer as customers
from gateway.commands import merchant as merchants
from gateway.commands import payments
from gateway.identity.model import DevicePrincipal, MerchantPrincipal
from gateway.kernel.clock import ManualClock
from gateway.kernel.documents import decode
from gateway.kernel.errors import VitrineError
from gateway.kernel.store.unit import UnitOfWork
from gateway.kernel.tasks.model import Task
from gateway.kernel.tasks.queue import claim, end, retry_later
from gateway.orders.changes import expire_order
from gateway.orders.choosing import leg_due
from gateway.orders.fulfillment_facts import FulfillmentFacts
from gateway.orders.purchase import due_legs, unpaid_orders
from gateway.orders.refunding import RefundWish
from gateway.orders.renewal_sweep import plan_renewals
from gateway.payments.refunds_model import RefundWay
from gateway.protocol.messages import (
    OrderCancel,
    OrderChooseWallet,
    OrderPay,
    OrderPayLink,
    OrderPlace,
    QuoteCreate,
)
from gateway.settings import Settings
from tests.support.evidence import Evidence, Row
from tests.support.gateway import CONSENT, address
from tests.support.seed import ATELIER, SAMPLES
from wallets.vault.port import CardEntry, OperationResult, OperationStatus
from wallets.vault.providers.test_cards import TEST_CARDS_BY_NAME

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
_BEGINNING_MS = 1_790_000_100_000


def make_plain_seed(folder: Path) -> Path:
    """Make the sample catalog's data directory for a gateway that mints nothing."""

    async def make() -> None:
        gateway = await Gateway.open(
            Settings(data_dir=folder, mint=False, workers=False), clock=ManualClock(), checked=True
        )
        await merchants.import_catalog(gateway.context, SAMPLES)
        await gateway.close()

    asyncio.run(make())
    return folder


@asynccontextmanager
async def stepped_gateway(
    seed: Path, folder: Path, *, chance: int = 1, **settings: Any
) -> AsyncIterator[SteppedGateway]:
    """Open a gateway on a copy of the seed, with one customer. ``chance`` decides the order of tasks."""
    data_dir = folder / "data"
    shutil.copytree(seed, data_dir)
    clock = ManualClock(_BEGINNING_MS)
    quiet: dict[str, Any] = {"mint": False, "workers": False, "most_unpaid": 0, **settings}
    gateway = await Gateway.open(Settings(data_dir=data_dir, **quiet), clock=clock, checked=True)
    stepped = SteppedGateway(gateway, clock, random.Random(chance), data_dir)
    try:
        await stepped.begin()
        yield stepped
    finally:
        await stepped.http.aclose()
        await gateway.close()


class SteppedGateway:
    """One gateway, one merchant, one customer on one device."""

    merchant: MerchantPrincipal
    who: DevicePrincipal

    def __init__(self, gateway: Gateway, clock: ManualClock, chance: random.Random, data_dir: Path) -> None:
        self.gateway, self.clock, self.chance = gateway, clock, chance
        self.context, self.store = gateway.context, gateway.context.store
        self.evidence = Evidence(data_dir)
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=gateway.asgi, raise_app_exceptions=False),
            base_url="http://127.0.0.1:8080",
        )
        self._kept: list[tuple[Task, Any]] = []
        self._cards: dict[str, str] = {}
        self._facts = FulfillmentFacts(gateway.context.process)

    async def begin(self) -> None:
        """Register the customer and sign their device in."""
        merchant = self.context.catalog.current.merchant_by_slug(ATELIER)
        self.merchant = MerchantPrincipal(merchant.merchant_id)
        customer_id = await merchants.register(self.context, self.merchant, uuid.uuid4().hex)
        token = await merchants.issue_token(self.context, self.merchant, customer_id, kind="headset", name="")
        self.who = token.device

    def sell_to(self, country: str) -> None:
        """Sell to a country whose taxes are not in the table, at those of Germany."""
        known = self.context.taxes

        class Taxes(TaxTable):
            def rate(self, where: str, category: str, at_ms: int) -> TaxRate:
                return known.rate("DE" if where == country else where, category, at_ms)

        self.context = replace(self.context, taxes=Taxes(()))

    # --- What the customer and the staff do -------------------------------------------------------------

    async def method(self, card: str) -> str:
        """Return the payment method of one of the customer's test cards, which is stored when first named."""
        if card not in self._cards:
            entry = CardEntry.typed(TEST_CARDS_BY_NAME[card].number, 12, 2031, "739")
            stored = await merchants.add_card(self.context, self.who.customer_id, entry)
            self._cards[card] = str(stored["payment_method_id"])
        return self._cards[card]

    async def quote(
        self, *items: str, merchant: str = ATELIER, currency: str = "EUR", country: str = "DE"
    ) -> Any:
        """Quote items such as ``FJORD-MUG:physical``."""
        wanted = [dict(zip(("sku", "format"), item.split(":"), strict=True)) for item in items]
        body = {"merchant": merchant, "items": wanted, "currency": currency, "country": country}
        return await self._command(QuoteCreate, "quote.create", body)

    async def place(
        self,
        *items: str,
        card: str = "visa",
        payment: Any = None,
        body: dict[str, Any] | None = None,
        **quoted_in: Any,
    ) -> Any:
        """Quote and place; paid with a card unless another payment is named. ``body`` adds to the command."""
        quoted = await self.quote(*items, **quoted_in)
        return await self.perform(await self.place_command(quoted, card=card, payment=payment, body=body))

    async def place_quoted(
        self, quoted: Any, *, card: str = "visa", method_id: str | None = None, payment: Any = None
    ) -> Any:
        """Place what was quoted."""
        command = await self.place_command(quoted, card=card, method_id=method_id, payment=payment)
        return await self.perform(command)

    async def place_command(
        self,
        quoted: Any,
        *,
        card: str = "visa",
        method_id: str | None = None,
        payment: Any = None,
        body: dict[str, Any] | None = None,
    ) -> OrderPlace:
        """Return the command that places what was quoted, to be sent once or again. Who waits for the end of
        the period to withdraw does not consent."""
        body = {"quote_id": quoted["quote_id"], **(body or {})}
        if payment is None:
            body["payment_method_id"] = method_id or await self.method(card)
        else:
            body["payment"] = payment
        if quoted["ship_to_required"]:
            body["ship_to"] = address()
        if quoted["consents_required"] and "digital_start" not in body:
            body["consents"] = [CONSENT]
        return _message(OrderPlace, "order.place", body)

    async def pay(self, order_id: str, card: str) -> Any:
        """Try another card."""
        body = {"order_id": order_id, "payment_method_id": await self.method(card)}
        return await self._command(OrderPay, "order.pay", body)

    async def cancel(self, order_id: str, leg_id: str | None = None) -> Any:
        """Have the customer call the order off, or one leg of it."""
        return await self._command(OrderCancel, "order.cancel", {"order_id": order_id, "leg_id": leg_id})

    async def choose_wallet(self, order_id: str, leg_id: str, wallet_id: str | None) -> Any:
        """Have the customer choose another wallet for a token."""
        body = {"order_id": order_id, "leg_id": leg_id, "wallet_id": wallet_id}
        return await self._command(OrderChooseWallet, "order.choose_wallet", body)

    async def pay_link(self, order_id: str, **body: Any) -> Any:
        """Have the customer make a link to the order."""
        return await self._command(OrderPayLink, "order.pay_link", {"order_id": order_id, **body})

    async def ask_refund(
        self,
        order_id: str,
        amount_minor: int | None = None,
        way: RefundWay = RefundWay.ORIGINAL,
        *,
        leg_id: str | None = None,
        method: str | None = None,
        staff: str = "erin",
    ) -> Any:
        """Have staff ask for money to be given back."""
        merchant_id, key = self.merchant.merchant_id, uuid.uuid4().hex
        wish = RefundWish(
            merchant_id, order_id, key, "", way, amount_minor, leg_id, method, "scratched", staff
        )
        return await payments.ask_refund(self.context, wish)

    async def decide_refund(self, refund_id: str, staff: str, *, approve: bool = True) -> Any:
        """Have somebody approve or reject what was asked for."""
        return await payments.decide_refund(self.context, self.merchant, refund_id, staff, approve=approve)

    async def take_back(self, order_id: str) -> None:
        """Have staff take the whole order back."""
        await merchants.refund(self.context, self.merchant, order_id, uuid.uuid4().hex)

    async def perform(self, command: Any) -> Any:
        """Perform a command of the customer's device."""
        return await customers.perform(self.context, self.who, command)

    async def _command(self, kind: Any, name: str, body: dict[str, Any]) -> Any:
        return await self.perform(_message(kind, name, body))

    async def answer_challenge(self, order_id: str, *, approves: bool = True) -> None:
        """Answer the open challenge of an order on the bank's page."""
        (asked,) = self.rows(
            "SELECT detail FROM payment_operation WHERE order_id = ? AND state = 'requires_action'", order_id
        )
        acquirer = self.gateway.embedded_vault.acquirer
        await acquirer.complete_challenge(decode(asked["detail"])["path"].rpartition("/")[2], approves)

    # --- What happens by itself elsewhere ---------------------------------------------------------------

    async def work(self, most: int = 50, fault: str = "none") -> None:
        """Claim tasks that are due and perform them in any order, with one kind of fault."""
        kinds = self.gateway.runner._kinds
        tasks = await self.store.write(lambda uow: claim(uow, kinds, most))
        self.chance.shuffle(tasks)
        for task in tasks:
            await self._perform(task, fault)

    async def finish_work(self, rounds: int = 6) -> None:
        """Do what is due, and what follows from it."""
        for _ in range(rounds):
            await self.work()

    async def wait(self, milliseconds: int) -> None:
        """Time passes, and what looks at it looks."""
        self.clock.advance(milliseconds)
        rules = self.context.process
        for order_id in await self.store.read(lambda reader: unpaid_orders(reader, 100)):
            await self.store.write(partial(expire_order, order_id=order_id, rules=rules))
        for due in await self.store.read(lambda reader: due_legs(reader, 100)):
            look = partial(leg_due, order_id=due.order_id, leg_id=due.leg_id, rules=rules)
            await self.store.write(look)
        await plan_renewals(self.store, rules.renewal)

    async def ship(self) -> None:
        """The order backend works, and its feed is read."""
        backend = self.gateway.backend
        await backend.work()
        while (page := await read_updates(self.store, backend)).updates:
            await self.store.write(partial(self._facts.record_page, page=page))

    async def deliver(self) -> None:
        """Everything on the way arrives, and what follows from that is done."""
        await self.finish_work()
        for _ in range(4):
            await self.ship()
            await self.wait(5 * SECOND)
            await self.finish_work(3)

    async def late(self) -> None:
        """Answers of workers that had lost their lease arrive again."""
        kept, self._kept = self._kept, []
        for task, outcome in kept:
            await self.store.write(partial(self._record, task, outcome))

    async def _perform(self, task: Task, fault: str) -> None:
        kind = self.gateway.runner._kinds[task.kind]
        if fault == "before":
            await self.store.write(lambda uow: retry_later(uow, kind, task, "lost"))
            return
        try:
            outcome = await kind.perform(task)
        except VitrineError as error:
            message = str(error)
            await self.store.write(lambda uow: retry_later(uow, kind, task, message))
            return
        if fault == "after":
            await self.store.write(lambda uow: retry_later(uow, kind, task, "lost"))
            return
        if fault == "late":
            self._kept.append((task, outcome))
        if fault == "unknown" and isinstance(outcome, OperationResult) and task.kind != "payment.resolve":
            outcome = replace(
                outcome, status=OperationStatus.UNKNOWN, decline=None, action=None, refusal=None
            )

        def record(uow: UnitOfWork) -> None:
            end(uow, task)
            kind.record(uow, task, outcome)

        for _ in range(2 if fault == "twice" else 1):
            await self.store.write(record)

    def _record(self, task: Task, outcome: Any, uow: UnitOfWork) -> None:
        self.gateway.runner._kinds[task.kind].record(uow, task, outcome)

    # --- What the files say -----------------------------------------------------------------------------

    def rows(self, query: str, *values: Any) -> list[Row]:
        """Return the rows of a query on the gateway's database."""
        return self.evidence.rows(query, *values)

    def order(self, order_id: str) -> Row:
        (row,) = self.rows("SELECT * FROM customer_order WHERE order_id = ?", order_id)
        return row

    def intent(self, order_id: str) -> Row:
        (row,) = self.rows("SELECT * FROM payment_intent WHERE order_id = ?", order_id)
        return row

    def legs(self, order_id: str) -> dict[str, Row]:
        """Return the order's legs by their kind."""
        return {row["kind"]: row for row in self.rows("SELECT * FROM leg WHERE order_id = ?", order_id)}

    def operations(self, order_id: str, kind: str) -> list[Row]:
        """Return the order's operations of a kind, oldest first."""
        query = "SELECT * FROM payment_operation WHERE order_id = ? AND kind = ? ORDER BY operation_id"
        return self.rows(query, order_id, kind)

    def events(self) -> list[str]:
        """Return the types of all events, in their order."""
        return [row["type"] for row in self.rows("SELECT type FROM event ORDER BY stream, seq")]

    def balances(self, like: str) -> dict[tuple[str, str], int]:
        """Return what is posted to accounts, by account and unit; accounts at zero are left out."""
        found = self.rows(
            "SELECT e.account, e.unit, sum(e.amount) AS amount FROM ledger_entry e "
            "JOIN ledger_transaction t USING (ledger_transaction_id) "
            "WHERE (t.phase IS NULL OR t.phase = 'post') AND e.account LIKE ? GROUP BY 1, 2",
            like,
        )
        return {(row["account"], row["unit"]): row["amount"] for row in found if row["amount"]}


def _message(kind: Any, name: str, body: dict[str, Any]) -> Any:
    """Return a command under a key of its own."""
    return kind.model_validate({"id": "1", "type": name, "key": uuid.uuid4().hex, "body": body})
