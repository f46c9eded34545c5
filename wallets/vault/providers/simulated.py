"""The simulated acquirer: an outside world of its own, with deterministic test cards.

Every operation is decided and stored in one unit under the caller's id, so a repeat gets the same answer and
`SimulatedAcquirer.effects` is a complete account of what really happened, for tests and for the reconciler.
A look-up of an unknown id stores a fence: a request that arrives later is refused, as a card network does
with a reversal that overtakes its original.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import Any, Never

from sqlalchemy import BindParameter, bindparam, or_, select, update

from gateway.kernel.clock import Clock
from gateway.kernel.errors import NotFoundError
from gateway.kernel.money import Money
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader, Store, UnitOfWork
from gateway.kernel.subjects import OperationId
from wallets.vault.declines import decline
from wallets.vault.inserts import insert_named
from wallets.vault.port import Action, OperationKind
from wallets.vault.providers.port import (
    AuthorizeOrder,
    Capabilities,
    ClearCard,
    FollowUpOrder,
    NoAnswerError,
    Outcome,
    ProviderAnswer,
)
from wallets.vault.providers.simulated_tables import operation
from wallets.vault.providers.test_cards import (
    TEST_CARDS,
    TEST_CARDS_BY_NAME,
    Behaviour,
    SimulatedCard,
)

CAPABILITIES = Capabilities(
    name="simulated",
    test_numbers=frozenset(TEST_CARDS),
    partial_capture=True,
    most_captures=1_000,
    partial_void=True,
    partial_refund=True,
    challenge=True,
    incremental_authorization=False,
    idempotency_key_kept_ms=10 * 365 * 86_400_000,
    lookup_fences=True,
    absent_is_final_after_ms=0,
)
ACTION_PATH = "/pay/challenges/"
_AUTHORIZATION_VALID_MS = 7 * 86_400_000  # online, customer initiated: seven days at all schemes
_NOT_AUTHENTICATED = "3DS:N"
_ABSENT = "absent"

_GET = Statement(select(operation).where(operation.c.operation_id == bindparam("operation_id")))
_GET_WITH_PARENT = Statement(
    select(operation).where(
        or_(
            operation.c.operation_id == bindparam("operation_id"),
            operation.c.operation_id == bindparam("parent_id"),
        )
    )
)
_GET_CHALLENGE = Statement(select(operation).where(operation.c.action_id == bindparam("action_id")))
_INSERT = insert_named(
    operation,
    "operation_id kind parent_id card amount_minor currency outcome network_code failure capture_before_ms "
    "action_id received_at_ms",
    captured_minor=0,
    voided_minor=0,
    refunded_minor=0,
)
_DECIDE_CHALLENGE = Statement(
    update(operation)
    .where(operation.c.operation_id == bindparam("operation_id_"), operation.c.outcome == "requires_action")
    .values(
        outcome=bindparam("outcome"), network_code=bindparam("network_code"), failure=bindparam("failure")
    )
)
_OPEN = operation.c.amount_minor - operation.c.captured_minor - operation.c.voided_minor
_AMOUNT: BindParameter[int] = bindparam("taken")
_PARENT_DONE = (operation.c.operation_id == bindparam("parent_id"), operation.c.outcome == "succeeded")
_TAKE: dict[OperationKind, Statement] = {
    OperationKind.CAPTURE: Statement(
        update(operation)
        .where(*_PARENT_DONE, operation.c.kind == "authorize", _OPEN >= _AMOUNT)
        .values(captured_minor=operation.c.captured_minor + _AMOUNT)
    ),
    OperationKind.VOID: Statement(
        update(operation)
        .where(*_PARENT_DONE, operation.c.kind == "authorize", _OPEN >= _AMOUNT)
        .values(voided_minor=operation.c.voided_minor + _AMOUNT)
    ),
    OperationKind.REFUND: Statement(
        update(operation)
        .where(
            *_PARENT_DONE,
            operation.c.kind == "capture",
            operation.c.amount_minor - operation.c.refunded_minor >= _AMOUNT,
        )
        .values(refunded_minor=operation.c.refunded_minor + _AMOUNT)
    ),
}
_EFFECTS = Statement(
    select(operation)
    .where(operation.c.outcome == "succeeded")
    .order_by(operation.c.received_at_ms, operation.c.operation_id)
)


@dataclass(frozen=True, slots=True)
class Effect:
    """Something that really happened to somebody's money."""

    operation_id: OperationId
    kind: OperationKind
    amount: Money
    parent_id: OperationId | None
    card: str
    """Name of the test card."""
    at_ms: int


@dataclass(frozen=True, slots=True)
class Challenge:
    """What the hosted page of a challenge shows, and what became of it."""

    action_id: str
    operation_id: OperationId
    amount: Money
    outcome: Outcome


class SimulatedAcquirer:
    """`Provider` without an outside. One process at a time may use a database file."""

    capabilities = CAPABILITIES

    def __init__(self, store: Store, clock: Clock, *, slow_ms: int = 2_000) -> None:
        self._store = store
        self._clock = clock
        self._slow_s = slow_ms / 1000
        self._at_work: set[asyncio.Task[ProviderAnswer]] = set()

    async def verify(self, card: ClearCard) -> ProviderAnswer:
        known = TEST_CARDS.get(card.number.reveal())
        if known is None:
            return ProviderAnswer(Outcome.FAILED, failure="provider.card_unknown")
        if not known.verifies:
            return ProviderAnswer(Outcome.DECLINED, decline=decline(known.brand, known.network_code))
        return ProviderAnswer(Outcome.SUCCEEDED)

    async def authorize(self, order: AuthorizeOrder) -> ProviderAnswer:
        card = TEST_CARDS.get(order.card.number.reveal())
        if card is None:
            return ProviderAnswer(Outcome.FAILED, failure="provider.card_unknown")
        row = _authorization_row(order, card, self._clock.now_ms())

        def receive(uow: UnitOfWork) -> Any:
            return None if uow.run(_INSERT, row) else uow.row(_GET, row)

        if card.affects is not OperationKind.AUTHORIZE or card.behaviour in (
            Behaviour.APPROVE,
            Behaviour.DECLINE,
        ):
            return _repeat_or(await self._store.write(receive), row)
        if card.behaviour is Behaviour.NEVER_ARRIVES:
            await _silence()
        if card.behaviour is Behaviour.SLOW:
            return await self._slowly(receive, row)
        answer = _repeat_or(await self._store.write(receive), row)
        if card.behaviour is Behaviour.ANSWER_LOST:
            await _silence()
        return answer

    async def capture(self, order: FollowUpOrder) -> ProviderAnswer:
        return await self._follow_up(OperationKind.CAPTURE, order)

    async def void(self, order: FollowUpOrder) -> ProviderAnswer:
        return await self._follow_up(OperationKind.VOID, order)

    async def refund(self, order: FollowUpOrder) -> ProviderAnswer:
        return await self._follow_up(OperationKind.REFUND, order)

    async def find(self, operation_id: OperationId) -> ProviderAnswer | None:
        """Look an operation up; an unknown id is refused from now on."""

        # A write, so that it is ordered after every request that was received before it.
        def look(uow: UnitOfWork) -> Any:
            fence = _row(operation_id, None, _ABSENT, self._clock.now_ms())
            return None if uow.run(_INSERT, fence) else uow.row(_GET, fence)

        found = await self._store.write(look)
        return None if found is None or found.outcome == _ABSENT else _answer(found)

    async def challenge(self, action_id: str) -> Challenge:
        """Return what the hosted page shows. Raises NotFoundError ``challenge.unknown``."""
        row = await self._store.read(lambda reader: reader.row(_GET_CHALLENGE, {"action_id": action_id}))
        return _challenge(row)

    async def complete_challenge(self, action_id: str, approved: bool) -> Challenge:
        """Record the customer's decision; only the first one counts.

        Ask the vault for `Challenge.operation_id` afterwards. Raises NotFoundError ``challenge.unknown``.
        """

        def complete(uow: UnitOfWork) -> Challenge:
            waiting = _challenge(uow.row(_GET_CHALLENGE, {"action_id": action_id}))
            decided = {
                "operation_id_": waiting.operation_id,
                "outcome": "succeeded" if approved else "declined",
                "network_code": None if approved else _NOT_AUTHENTICATED,
                "failure": None,
            }
            uow.run(_DECIDE_CHALLENGE, decided)
            return _challenge(uow.row(_GET_CHALLENGE, {"action_id": action_id}))

        return await self._store.write(complete)

    async def effects(self) -> list[Effect]:
        """Return everything that was really done, in the order of arrival. For tests: no limit."""

        def query(reader: Reader) -> list[Effect]:
            return [
                Effect(
                    OperationId(row.operation_id),
                    OperationKind(row.kind),
                    Money(row.amount_minor, row.currency),
                    None if row.parent_id is None else OperationId(row.parent_id),
                    row.card,
                    row.received_at_ms,
                )
                for row in reader.rows(_EFFECTS)
            ]

        return await self._store.read(query)

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
            return _repeat_or(await self._store.write(receive), row)

        task = asyncio.create_task(work())
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)
        return await asyncio.shield(task)

    async def _follow_up(self, kind: OperationKind, order: FollowUpOrder) -> ProviderAnswer:
        row = _row(order.operation_id, kind, "succeeded", self._clock.now_ms())
        row["parent_id"] = order.parent_id
        row["amount_minor"] = order.amount.amount_minor
        row["currency"] = order.amount.currency
        behaviour = Behaviour.APPROVE

        def receive(uow: UnitOfWork) -> Any:
            nonlocal behaviour
            found = {each.operation_id: each for each in uow.rows(_GET_WITH_PARENT, row)}
            stored = found.get(order.operation_id)
            if stored is not None:
                return stored
            parent = found.get(order.parent_id)
            card = None if parent is None or parent.card is None else TEST_CARDS_BY_NAME[parent.card]
            behaviour = Behaviour.APPROVE
            if card is not None:
                row["card"] = card.name
                if card.affects is kind:
                    behaviour = card.behaviour
            if behaviour is Behaviour.NEVER_ARRIVES:
                return None
            row["outcome"], row["network_code"], row["failure"] = _decide(uow, kind, order, parent, card)
            uow.run(_INSERT, row)
            return None

        stored = await self._store.write(receive)
        if behaviour in (Behaviour.NEVER_ARRIVES, Behaviour.ANSWER_LOST) and stored is None:
            await _silence()
        return _repeat_or(stored, row)


def _decide(
    uow: UnitOfWork, kind: OperationKind, order: FollowUpOrder, parent: Any, card: SimulatedCard | None
) -> tuple[str, str | None, str | None]:
    """Take the amount from the parent where that is allowed. Returns outcome, network code and failure."""
    of = OperationKind.CAPTURE if kind is OperationKind.REFUND else OperationKind.AUTHORIZE
    if parent is None or card is None or parent.kind != of or parent.currency != order.amount.currency:
        return "failed", None, "provider.parent_unknown"
    if card.affects is kind and card.behaviour is Behaviour.DECLINE:
        return "declined", card.network_code, None
    if kind is OperationKind.CAPTURE and uow.now_ms >= parent.capture_before_ms:
        return "failed", None, "provider.authorization_expired"
    if kind is OperationKind.VOID and parent.outcome == "requires_action":
        if parent.amount_minor != order.amount.amount_minor:
            return "failed", None, "provider.not_open"
        uow.run(
            _DECIDE_CHALLENGE,
            {
                "operation_id_": order.parent_id,
                "outcome": "failed",
                "network_code": None,
                "failure": "provider.challenge_canceled",
            },
        )
        return "succeeded", None, None
    if uow.run(_TAKE[kind], {"parent_id": order.parent_id, "taken": order.amount.amount_minor}):
        return "succeeded", None, None
    return "failed", None, "provider.not_open"


def _row(operation_id: str, kind: OperationKind | None, outcome: str, now_ms: int) -> dict[str, Any]:
    return {
        "operation_id": operation_id,
        "kind": None if kind is None else kind.value,
        "parent_id": None,
        "card": None,
        "amount_minor": None,
        "currency": None,
        "outcome": outcome,
        "network_code": None,
        "failure": None,
        "capture_before_ms": None,
        "action_id": None,
        "captured_minor": 0,
        "voided_minor": 0,
        "refunded_minor": 0,
        "received_at_ms": now_ms,
    }


def _authorization_row(order: AuthorizeOrder, card: SimulatedCard, now_ms: int) -> dict[str, Any]:
    behaviour = card.behaviour if card.affects is OperationKind.AUTHORIZE else Behaviour.APPROVE
    row = _row(order.operation_id, OperationKind.AUTHORIZE, "succeeded", now_ms)
    row["card"] = card.name
    row["amount_minor"] = order.amount.amount_minor
    row["currency"] = order.amount.currency
    row["capture_before_ms"] = now_ms + _AUTHORIZATION_VALID_MS
    challenged = behaviour in (Behaviour.CHALLENGE, Behaviour.NEEDS_SCA) or order.request_challenge
    if behaviour is Behaviour.DECLINE or (behaviour is Behaviour.NEEDS_SCA and not order.request_challenge):
        row["outcome"], row["network_code"] = "declined", card.network_code
    elif challenged:
        # The page needs no sign-in, so its address must not be guessable.
        row["outcome"], row["action_id"] = "requires_action", f"act_{secrets.token_urlsafe(18)}"
    return row


def _repeat_or(stored: Any, fresh: dict[str, Any]) -> ProviderAnswer:
    """Return the answer to a stored operation, or to the fresh row that was just stored."""
    if stored is None:
        return _answer(_GET.make_row(fresh.values()))
    if stored.outcome == _ABSENT:
        return ProviderAnswer(Outcome.FAILED, failure="provider.refused_after_lookup")
    if (stored.kind, stored.parent_id, stored.amount_minor, stored.currency) != (
        fresh["kind"],
        fresh["parent_id"],
        fresh["amount_minor"],
        fresh["currency"],
    ):
        raise NoAnswerError("the idempotency key was used for another request")
    return _answer(stored)


def _answer(row: Any) -> ProviderAnswer:
    outcome = Outcome(row.outcome)
    key = row.operation_id.rpartition("_")[2]
    action = None
    if outcome is Outcome.REQUIRES_ACTION:
        action = Action(row.action_id, ACTION_PATH + row.action_id)
    refused = None
    if outcome is Outcome.DECLINED:
        refused = decline(TEST_CARDS_BY_NAME[row.card].brand, row.network_code)
    authorized = row.kind == "authorize" and outcome in (Outcome.SUCCEEDED, Outcome.REQUIRES_ACTION)
    return ProviderAnswer(
        outcome,
        reference=f"sim_{key}",
        decline=refused,
        network_transaction_id=f"{int(key[-12:], 16):015d}" if authorized else None,
        capture_before_ms=row.capture_before_ms if authorized else None,
        action=action,
        failure=row.failure,
    )


def _challenge(row: Any) -> Challenge:
    if row is None:
        raise NotFoundError("challenge.unknown", "No such confirmation.")
    return Challenge(
        row.action_id,
        OperationId(row.operation_id),
        Money(row.amount_minor, row.currency),
        Outcome(row.outcome),
    )


async def _silence() -> Never:
    """Never answer; the caller's deadline ends it."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody resolves this")
