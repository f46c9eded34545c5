"""The simulated acquirer: an outside world of its own, with deterministic test cards.

Every operation is decided and stored in one unit under the caller's id, so a repeat gets the same answer and
`SimulatedAcquirer.effects` is a complete account of what really happened, for tests and for the reconciler.
A look-up of an unknown id stores a fence: a request that arrives later is refused, as a card network does
with a reversal that overtakes its original.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Never

from gateway.kernel.clock import Clock
from gateway.kernel.errors import NotFoundError
from gateway.kernel.money import Money
from gateway.kernel.store.unit import Reader, Store, UnitOfWork
from gateway.kernel.subjects import OperationId
from wallets.vault.declines import decline
from wallets.vault.port import Exemption, MethodKind, OperationKind
from wallets.vault.providers import simulated_rows as rows
from wallets.vault.providers.port import (
    AuthorizeOrder,
    Capabilities,
    ClearCard,
    FollowUpOrder,
    Lookup,
    Outcome,
    PayoutOrder,
    ProviderAnswer,
)
from wallets.vault.providers.simulated_rows import ACTION_PATH, Challenge, Effect
from wallets.vault.providers.simulated_rules import (
    authorization_row,
    card_of,
    decide_debit,
    decide_follow_up,
    refuse_unknown_agreement,
)
from wallets.vault.providers.test_cards import (
    PAYERS_BY_NAME,
    TEST_ACCOUNTS,
    TEST_CARDS,
    TEST_TERMINAL_TOKENS,
    Behaviour,
)
from wallets.vault.secret import Secret

__all__ = ["ACTION_PATH", "CAPABILITIES", "DEBIT_CAPABILITIES", "Challenge", "Effect", "SimulatedAcquirer"]

CAPABILITIES = Capabilities(
    name="simulated",
    test_numbers=frozenset(TEST_CARDS),
    test_references=frozenset(TEST_TERMINAL_TOKENS),
    partial_capture=True,
    most_captures=1_000,
    partial_void=True,
    partial_refund=True,
    challenge=True,
    incremental_authorization=True,
    idempotency_key_kept_ms=10 * 365 * 86_400_000,
    lookup_fences=True,
    absent_is_final_after_ms=0,
    kinds=frozenset({MethodKind.CARD, MethodKind.CARD_PRESENT, MethodKind.APPLE_PAY, MethodKind.GOOGLE_PAY}),
    void_after_capture=True,
    unreferenced_refund=True,
    payout=True,
    moto=True,
    merchant_initiated=True,
    network_tokens=True,
    exemptions=frozenset(Exemption),
)
DEBIT_CAPABILITIES = replace(
    CAPABILITIES,
    name="simulated_debit",
    settled_with="simulated",
    test_numbers=None,
    test_references=frozenset(TEST_ACCOUNTS),
    challenge=False,
    incremental_authorization=False,
    kinds=frozenset({MethodKind.SEPA_DEBIT}),
    authorizes=False,
    payout=False,
    unreferenced_refund=False,
    merchant_initiated=True,
    async_capture_result=True,
    network_tokens=False,
    exemptions=frozenset(),
)
_NOT_AUTHENTICATED = "3DS:N"


class SimulatedAcquirer:
    """`Provider` without an outside. One process at a time may use a database file.

    ``keys_kept_ms``: it forgets an idempotency key after this long, so that the same request sent again is
    another effect, as real providers do. ``debits_take_ms``: how long a bank takes over a direct debit.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        slow_ms: int = 2_000,
        keys_kept_ms: int | None = None,
        debits_take_ms: int = 0,
    ) -> None:
        self._store = store
        self._clock = clock
        self._slow_s = slow_ms / 1000
        self._keys_kept_ms = keys_kept_ms
        self._debits_take_ms = debits_take_ms
        self._at_work: set[asyncio.Task[ProviderAnswer]] = set()
        self.capabilities = CAPABILITIES
        if keys_kept_ms is not None:
            self.capabilities = replace(CAPABILITIES, idempotency_key_kept_ms=keys_kept_ms)

    async def verify(self, card: ClearCard) -> ProviderAnswer:
        known = TEST_CARDS.get(card.number.reveal())
        if known is None:
            return ProviderAnswer(Outcome.FAILED, failure="provider.card_unknown")
        if not known.verifies:
            return ProviderAnswer(Outcome.DECLINED, decline=decline(known.brand, known.network_code))
        token = known.network_number
        return ProviderAnswer(
            Outcome.SUCCEEDED,
            account_reference=rows.PARS[known.name],
            network_token=None if token is None else Secret(token),
        )

    async def authorize(self, order: AuthorizeOrder) -> ProviderAnswer:
        card = card_of(order.card)
        if card is None:
            return ProviderAnswer(Outcome.FAILED, failure="provider.card_unknown")
        row = authorization_row(order, card, self._clock.now_ms())

        def receive(uow: UnitOfWork) -> Any:
            self._forget(uow, order.operation_id)
            refuse_unknown_agreement(uow, order, row)
            return None if uow.run(rows.INSERT, row) else uow.row(rows.GET, row)

        if card.affects is not OperationKind.AUTHORIZE or card.behaviour in (
            Behaviour.APPROVE,
            Behaviour.DECLINE,
        ):
            return rows.repeat_or(await self._store.write(receive), row)
        if card.behaviour is Behaviour.NEVER_ARRIVES:
            await _silence()
        if card.behaviour is Behaviour.SLOW:
            return await self._slowly(receive, row)
        answer = rows.repeat_or(await self._store.write(receive), row)
        if card.behaviour is Behaviour.ANSWER_LOST:
            await _silence()
        return answer

    async def capture(self, order: FollowUpOrder) -> ProviderAnswer:
        return await self._follow_up(OperationKind.CAPTURE, order)

    async def void(self, order: FollowUpOrder) -> ProviderAnswer:
        return await self._follow_up(OperationKind.VOID, order)

    async def refund(self, order: FollowUpOrder) -> ProviderAnswer:
        return await self._follow_up(OperationKind.REFUND, order)

    async def increment(self, order: FollowUpOrder) -> ProviderAnswer:
        return await self._follow_up(OperationKind.INCREMENT, order)

    async def payout(self, order: PayoutOrder) -> ProviderAnswer:
        card = card_of(order.card)
        if card is None:
            return ProviderAnswer(Outcome.FAILED, failure="provider.card_unknown")
        row = rows.new_row(order.operation_id, OperationKind.PAYOUT, "succeeded", self._clock.now_ms())
        row["card"] = card.name
        row["amount_minor"], row["currency"] = order.amount.amount_minor, order.amount.currency
        if card.affects is OperationKind.PAYOUT and card.behaviour is Behaviour.DECLINE:
            row["outcome"], row["network_code"] = "declined", card.network_code

        def receive(uow: UnitOfWork) -> Any:
            self._forget(uow, order.operation_id)
            return None if uow.run(rows.INSERT, row) else uow.row(rows.GET, row)

        return rows.repeat_or(await self._store.write(receive), row)

    async def find(self, lookup: Lookup) -> ProviderAnswer | None:
        """Look an operation up; an unknown id is refused from now on."""

        # A write, so that it is ordered after every request that was received before it.
        def look(uow: UnitOfWork) -> Any:
            fence = rows.new_row(lookup.operation_id, None, rows.ABSENT, uow.now_ms)
            if uow.run(rows.INSERT, fence):
                return None
            found = uow.row(rows.GET, fence)
            assert found is not None, "it was in the way of the fence"
            if found.outcome == "pending" and uow.now_ms >= found.received_at_ms + self._debits_take_ms:
                decide_debit(uow, found)
                found = uow.row(rows.GET, fence)
            return found

        found = await self._store.write(look)
        return None if found is None or found.outcome == rows.ABSENT else rows.answer(found)

    async def known(self, operation_id: OperationId) -> ProviderAnswer | None:
        """Return what is known of an operation, without a fence. For the acquirer's own use."""
        row = await self._store.read(lambda reader: reader.row(rows.GET, {"operation_id": operation_id}))
        return None if row is None or row.outcome == rows.ABSENT else rows.answer(row)

    async def decide_debits(self) -> list[OperationId]:
        """Have the banks answer the direct debits that are due, and return those."""

        def decide(uow: UnitOfWork) -> list[OperationId]:
            due = uow.rows(rows.PENDING, {"received_until_ms": uow.now_ms - self._debits_take_ms})
            for row in due:
                decide_debit(uow, row)
            return [OperationId(row.operation_id) for row in due]

        return await self._store.write(decide)

    async def charge_back(self, capture_id: OperationId) -> None:
        """The issuer takes a capture back. Raises NotFoundError ``capture.unknown``."""

        def take_back(uow: UnitOfWork) -> None:
            row = uow.row(rows.GET, {"operation_id": capture_id})
            if row is None or row.kind != OperationKind.CAPTURE or row.outcome != "succeeded":
                raise NotFoundError("capture.unknown", "No such capture.")
            values = {
                "operation_id": capture_id,
                "amount_minor": row.amount_minor - row.refunded_minor,
                "currency": row.currency,
                "received_at_ms": uow.now_ms,
            }
            uow.run(rows.CHARGE_BACK, values)

        await self._store.write(take_back)

    async def challenge(self, action_id: str) -> Challenge:
        """Return what the hosted page shows. Raises NotFoundError ``challenge.unknown``."""
        row = await self._store.read(lambda reader: reader.row(rows.GET_CHALLENGE, {"action_id": action_id}))
        return rows.challenge(row)

    async def complete_challenge(self, action_id: str, approved: bool) -> Challenge:
        """Record the customer's decision; only the first one counts.

        Ask the vault for `Challenge.operation_id` afterwards. Raises NotFoundError ``challenge.unknown``.
        """

        def complete(uow: UnitOfWork) -> Challenge:
            waiting = rows.challenge(uow.row(rows.GET_CHALLENGE, {"action_id": action_id}))
            decided = {
                "operation_id_": waiting.operation_id,
                "outcome": "succeeded" if approved else "declined",
                "network_code": None if approved else _NOT_AUTHENTICATED,
                "failure": None,
                "liability": "issuer" if approved else None,
            }
            uow.run(rows.DECIDE_CHALLENGE, decided)
            return rows.challenge(uow.row(rows.GET_CHALLENGE, {"action_id": action_id}))

        return await self._store.write(complete)

    async def effects(self) -> list[Effect]:
        """Return everything that was really done, in the order of arrival. For tests: no limit."""

        def query(reader: Reader) -> list[Effect]:
            return [rows.effect(row) for row in reader.rows(rows.EFFECTS)]

        return await self._store.read(query)

    async def chargebacks(self) -> list[tuple[OperationId, Money, int]]:
        """Return the captures that were taken back, with amount and time. For settlement: no limit."""
        found = await self._store.read(lambda reader: reader.rows(rows.CHARGEBACKS))
        return [
            (OperationId(row.operation_id), Money(row.amount_minor, row.currency), row.received_at_ms)
            for row in found
        ]

    async def close(self) -> None:
        """Stop slow requests that nobody waits for and close the database."""
        for task in self._at_work:
            task.cancel()
        await asyncio.gather(*self._at_work, return_exceptions=True)
        await self._store.close()

    async def _slowly(self, receive: Any, row: dict[str, Any]) -> ProviderAnswer:
        """Go on even when the caller stops waiting, as an acquirer on the other end of a wire does."""

        async def work() -> ProviderAnswer:
            await asyncio.sleep(self._slow_s)
            return rows.repeat_or(await self._store.write(receive), row)

        task = asyncio.create_task(work())
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)
        return await asyncio.shield(task)

    async def _follow_up(self, kind: OperationKind, order: FollowUpOrder) -> ProviderAnswer:
        row = rows.new_row(order.operation_id, kind, "succeeded", self._clock.now_ms())
        row["parent_id"] = order.parent_id
        row["amount_minor"] = order.amount.amount_minor
        row["currency"] = order.amount.currency
        behaviour = Behaviour.APPROVE

        def receive(uow: UnitOfWork) -> Any:
            nonlocal behaviour
            self._forget(uow, order.operation_id)
            found = {each.operation_id: each for each in uow.rows(rows.GET_WITH_PARENT, row)}
            stored = found.get(order.operation_id)
            if stored is not None:
                return stored
            parent = found.get(order.parent_id)
            card = None if parent is None or parent.card is None else PAYERS_BY_NAME[parent.card]
            behaviour = Behaviour.APPROVE
            if card is not None:
                row["card"] = card.name
                if card.affects is kind:
                    behaviour = card.behaviour
            if behaviour is Behaviour.NEVER_ARRIVES:
                return None
            row["outcome"], row["network_code"], row["failure"] = decide_follow_up(
                uow, kind, order, parent, card
            )
            uow.run(rows.INSERT, row)
            return None

        stored = await self._store.write(receive)
        if behaviour in (Behaviour.NEVER_ARRIVES, Behaviour.ANSWER_LOST) and stored is None:
            await _silence()
        return rows.repeat_or(stored, row)

    def _forget(self, uow: UnitOfWork, operation_id: OperationId) -> None:
        """After the window the same key is a new request. Its earlier effect stays in the account."""
        if self._keys_kept_ms is None:
            return
        known = uow.row(rows.GET, {"operation_id": operation_id})
        if known is None or uow.now_ms < known.received_at_ms + self._keys_kept_ms:
            return
        count = 1
        while uow.row(rows.GET, {"operation_id": rows.forgotten_id(operation_id, count)}) is not None:
            count += 1
        uow.run(rows.FORGET, {"operation_id_": operation_id, "aside": rows.forgotten_id(operation_id, count)})


class SimulatedDebit:
    """`Provider` for SEPA direct debits at the same acquirer: nothing is held, captures are decided later."""

    capabilities = DEBIT_CAPABILITIES

    def __init__(self, acquirer: SimulatedAcquirer) -> None:
        self._acquirer = acquirer
        self.verify = acquirer.verify
        self.authorize = acquirer.authorize
        self.capture = acquirer.capture
        self.void = acquirer.void
        self.refund = acquirer.refund
        self.find = acquirer.find

    async def increment(self, order: FollowUpOrder) -> ProviderAnswer:
        raise NotImplementedError("the flag incremental_authorization says no")

    async def payout(self, order: PayoutOrder) -> ProviderAnswer:
        raise NotImplementedError("the flag payout says no")

    async def close(self) -> None:
        """The acquirer is closed by whoever opened it."""


async def _silence() -> Never:
    """Never answer; the caller's deadline ends it."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody resolves this")
