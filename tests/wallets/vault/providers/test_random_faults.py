"""P2, P3: any sequence of operations against a faulty acquirer keeps the invariants of a payment.

Requests come twice, at once and in any order; replies are lost, servers fail before and after acting, look-ups
fail, time passes beyond the acquirer's memory of our keys, the vault is opened anew. At the end everything is
asked about until nothing is unknown, and both sides agree on every cent.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.wallets.vault.providers.stands import DAY_MS, Parts, parts, simulated
from tests.wallets.vault.shop import CUSTOMER, MERCHANT, Shop, card, eur
from wallets.vault.port import (
    Authorize,
    Capture,
    Increment,
    OperationKind,
    OperationResult,
    OperationStatus,
    Payout,
    Refund,
    StoredMethod,
    Void,
)
from wallets.vault.providers import test_cards
from wallets.vault.providers.acquirer.faults import Switches, TroubledAcquirer
from wallets.vault.service import VaultService

S, K = OperationStatus, OperationKind
FAULTS = ("lose_replies", "fail_before", "fail_after", "fail_lookups")
CARDS = (
    test_cards.VISA,
    test_cards.INSUFFICIENT_FUNDS,
    test_cards.CAPTURE_DECLINED,
    test_cards.INCREMENT_DECLINED,
    test_cards.CHALLENGE,
)
KEYS_KEPT_MS = DAY_MS
PICK = st.integers(0, 30)
AMOUNT = st.integers(1, 8)


class Payments(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.stack = AsyncExitStack()
        self.switches = Switches()
        self.requests: dict[str, Any] = {}
        self.final: dict[str, OperationResult] = {}
        self.actions: list[str] = []

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    @initialize()
    def open(self) -> None:
        self.folder = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.given: Parts = self.run(self.stack.enter_async_context(parts(Path(self.folder))))
        self.acquirer = simulated(self.given, keys_kept_ms=KEYS_KEPT_MS)
        self.methods: list[StoredMethod] = []
        self.open_vault()
        for number in CARDS:
            self.methods.append(self.run(self.vault.tokenize(CUSTOMER, card(number))))

    def open_vault(self) -> None:
        self.vault: VaultService = self.given.open(
            TroubledAcquirer(self.acquirer, self.switches), deadline_ms=2_000
        )
        self.shop = Shop(self.vault, self.given.clock, self.given.ids)

    def pick(self, kind: type, index: int) -> Any:
        fitting = [each for each in self.requests.values() if isinstance(each, kind)]
        return fitting[index % len(fitting)] if fitting else None

    async def send(self, request: Any) -> None:
        call: Any = {
            Authorize: self.vault.authorize,
            Capture: self.vault.capture,
            Void: self.vault.void,
            Refund: self.vault.refund,
            Increment: self.vault.increment,
            Payout: self.vault.payout,
        }[type(request)]
        self.note(await call(request))

    def note(self, result: OperationResult | None) -> None:
        """No transition leaves a final state. Only an authorization's amount grows, by its increments."""
        assert result is not None
        if result.action is not None:
            self.actions.append(result.action.action_id)
        known = self.final.get(result.operation_id)
        if known is not None:
            assert (result.status, result.provider_reference) == (known.status, known.provider_reference)
            assert result.amount == known.amount or known.kind is K.AUTHORIZE
        elif result.status.is_final:
            self.final[result.operation_id] = result

    def ask(self, request: Any, copies: int) -> None:
        self.requests[request.operation_id] = request

        async def all_at_once() -> None:
            await asyncio.gather(*(self.send(request) for _ in range(copies)))

        self.run(all_at_once())

    @rule(index=PICK, amount=AMOUNT, copies=st.integers(1, 3))
    def authorize(self, index: int, amount: int, copies: int) -> None:
        method = self.methods[index % len(self.methods)]
        days = self.given.clock.now_ms() + 365 * DAY_MS
        self.ask(self.shop.request(self.shop.terms(method, eur(20), expires_at_ms=days), eur(amount)), copies)

    @rule(index=PICK, amount=AMOUNT, copies=st.integers(1, 3))
    def capture(self, index: int, amount: int, copies: int) -> None:
        if parent := self.pick(Authorize, index):
            self.ask(Capture(self.shop.op(), parent.operation_id, eur(amount)), copies)

    @rule(index=PICK, amount=st.one_of(st.none(), AMOUNT), copies=st.integers(1, 2))
    def void(self, index: int, amount: int | None, copies: int) -> None:
        if parent := self.pick(Authorize, index):
            money = None if amount is None else eur(amount)
            self.ask(Void(self.shop.op(), parent.operation_id, money), copies)

    @rule(index=PICK, amount=AMOUNT, copies=st.integers(1, 3))
    def refund(self, index: int, amount: int, copies: int) -> None:
        if parent := self.pick(Capture, index):
            self.ask(Refund(self.shop.op(), parent.operation_id, eur(amount)), copies)

    @rule(index=PICK, amount=AMOUNT, copies=st.integers(1, 2))
    def increment(self, index: int, amount: int, copies: int) -> None:
        if parent := self.pick(Authorize, index):
            self.ask(Increment(self.shop.op(), parent.operation_id, eur(amount)), copies)

    @rule(index=PICK, amount=AMOUNT)
    def payout(self, index: int, amount: int) -> None:
        method = self.methods[index % len(self.methods)]
        self.ask(
            Payout(self.shop.op(), method.payment_method_id, CUSTOMER, MERCHANT, "ord_1", eur(amount)), 1
        )

    @precondition(lambda self: self.requests)
    @rule(index=PICK, others=st.lists(PICK, max_size=3))
    def repeat_old_ones_together(self, index: int, others: list[int]) -> None:
        """Late copies, in another order than they were made."""

        async def together() -> None:
            await asyncio.gather(*(self.send(self.pick(object, each)) for each in (*others, index)))

        self.run(together())

    @rule(fault=st.sampled_from(FAULTS), times=st.integers(1, 3))
    def break_something(self, fault: str, times: int) -> None:
        self.switches.change({fault: times})

    @rule(hours=st.sampled_from((1, 12, 25)))
    def let_time_pass(self, hours: int) -> None:
        self.given.clock.advance(hours * 3_600_000)

    @rule()
    def open_the_vault_anew(self) -> None:
        self.open_vault()

    @precondition(lambda self: self.actions)
    @rule(index=PICK, approved=st.booleans())
    def decide_a_challenge(self, index: int, approved: bool) -> None:
        self.run(self.acquirer.complete_challenge(self.actions[index % len(self.actions)], approved))

    @invariant()
    def p3_amounts_hold_at_the_acquirer_at_every_moment(self) -> None:
        if not hasattr(self, "given"):
            return
        taken: Counter[tuple[str | None, K]] = Counter()
        effects = self.run(self.acquirer.effects())
        for each in effects:
            taken[each.parent_id, each.kind] += each.amount.amount_minor
        # One effect for one id, though the acquirer has forgotten keys (P9).
        assert max(Counter(each.operation_id for each in effects).values(), default=1) == 1
        for each in effects:
            if each.kind is K.AUTHORIZE:
                # `amount` of the row has grown by its increments.
                captured, voided = taken[each.operation_id, K.CAPTURE], taken[each.operation_id, K.VOID]
                assert captured + voided <= each.amount.amount_minor
            elif each.kind is K.CAPTURE:
                assert taken[each.operation_id, K.REFUND] <= each.amount.amount_minor

    def teardown(self) -> None:
        if hasattr(self, "given"):
            self.switches.change(dict.fromkeys(FAULTS, 0))
            self.run(self.settle_everything())
            self.run(self.both_sides_agree())
            self.run(self.acquirer.close())
            self.run(self.stack.aclose())
        self.loop.close()

    async def settle_everything(self) -> None:
        for _ in range(3):
            # A look-up may be the first to tell of an action.
            for action_id in set(self.actions):
                await self.acquirer.complete_challenge(action_id, True)
            for operation_id in self.requests:
                self.note(await self.vault.operation(operation_id))
        assert self.requests.keys() == self.final.keys()

    async def both_sides_agree(self) -> None:
        self.given.clock.advance(10_000)
        page = await self.vault.operations_since("", 10_000)
        done = [each for each in page.operations if each.status is S.SUCCEEDED]
        effects = await self.acquirer.effects()
        ours = Counter((each.operation_id, each.kind, each.amount, each.parent_id) for each in done)
        theirs = Counter((each.operation_id, each.kind, each.amount, each.parent_id) for each in effects)
        assert ours == theirs
        taken: Counter[tuple[str | None, K | None]] = Counter()
        for each in done:
            assert each.amount is not None
            taken[each.parent_id, each.kind] += each.amount.amount_minor
        for each in done:
            assert each.amount is not None
            if each.kind is K.AUTHORIZE:
                request = self.requests[each.operation_id]
                added = taken[each.operation_id, K.INCREMENT]
                assert each.amount.amount_minor == request.amount.amount_minor + added


Payments.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestP3Payments = Payments.TestCase
