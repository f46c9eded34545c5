"""Rows of the simulated acquirer: how they are read, written and told to the vault."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, bindparam, or_, select, update

from gateway.kernel.errors import NotFoundError
from gateway.kernel.money import Money
from gateway.kernel.store.statements import Statement
from gateway.kernel.subjects import OperationId
from wallets.vault.declines import decline
from wallets.vault.inserts import insert_named
from wallets.vault.port import Action, OperationKind
from wallets.vault.providers.port import NoAnswerError, Outcome, ProviderAnswer
from wallets.vault.providers.simulated_tables import chargeback, operation
from wallets.vault.providers.test_cards import PAYERS_BY_NAME

ACTION_PATH = "/acquirer/challenges/"
ABSENT = "absent"
_FORGOTTEN = "~"
"""Separates our id from a count, once the acquirer has forgotten the idempotency key."""

GET = Statement(select(operation).where(operation.c.operation_id == bindparam("operation_id")))
GET_WITH_PARENT = Statement(
    select(operation).where(
        or_(
            operation.c.operation_id == bindparam("operation_id"),
            operation.c.operation_id == bindparam("parent_id"),
        )
    )
)
GET_CHALLENGE = Statement(select(operation).where(operation.c.action_id == bindparam("action_id")))
AUTHORIZATIONS = Statement(
    select(operation).where(
        operation.c.operation_id >= bindparam("first_id"),
        operation.c.operation_id <= bindparam("last_id"),
        operation.c.kind == OperationKind.AUTHORIZE.value,
        operation.c.card == bindparam("card"),
    )
)
INSERT = insert_named(
    operation,
    "operation_id kind parent_id card amount_minor currency outcome network_code failure capture_before_ms "
    "action_id received_at_ms liability",
    captured_minor=0,
    voided_minor=0,
    refunded_minor=0,
)
FORGET = Statement(
    update(operation)
    .where(operation.c.operation_id == bindparam("operation_id_"))
    .values(operation_id=bindparam("aside"))
)
DECIDE_CHALLENGE = Statement(
    update(operation)
    .where(operation.c.operation_id == bindparam("operation_id_"), operation.c.outcome == "requires_action")
    .values(
        outcome=bindparam("outcome"),
        network_code=bindparam("network_code"),
        failure=bindparam("failure"),
        liability=bindparam("liability"),
    )
)
DECIDE_PENDING = Statement(
    update(operation)
    .where(operation.c.operation_id == bindparam("operation_id_"), operation.c.outcome == "pending")
    .values(
        outcome=bindparam("outcome"),
        network_code=bindparam("network_code"),
        decided_at_ms=bindparam("decided_at_ms"),
    )
)
_OPEN = operation.c.amount_minor - operation.c.captured_minor - operation.c.voided_minor
_AMOUNT: BindParameter[int] = bindparam("taken")
_PARENT = operation.c.operation_id == bindparam("parent_id")
_PARENT_DONE = (_PARENT, operation.c.outcome == "succeeded")
TAKE: dict[OperationKind, Statement] = {
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
    OperationKind.INCREMENT: Statement(
        update(operation)
        .where(*_PARENT_DONE, operation.c.kind == "authorize", _OPEN > 0)
        .values(amount_minor=operation.c.amount_minor + _AMOUNT)
    ),
}
GIVE_BACK_CAPTURE = Statement(
    update(operation).where(_PARENT).values(captured_minor=operation.c.captured_minor - _AMOUNT)
)
EFFECTS = Statement(
    select(operation)
    .where(operation.c.outcome == "succeeded")
    .order_by(operation.c.received_at_ms, operation.c.operation_id)
)
PENDING = Statement(
    select(operation)
    .where(operation.c.outcome == "pending", operation.c.received_at_ms <= bindparam("received_until_ms"))
    .order_by(operation.c.received_at_ms)
    .limit(1_000)
)
CHARGE_BACK = insert_named(chargeback, "operation_id amount_minor currency received_at_ms")
CHARGEBACKS = Statement(select(chargeback).order_by(chargeback.c.received_at_ms))


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


def new_row(operation_id: str, kind: OperationKind | None, outcome: str, now_ms: int) -> dict[str, Any]:
    """Return the values of a new row, in the order of the table's columns."""
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
        "liability": None,
        "decided_at_ms": None,
    }


def repeat_or(stored: Any, fresh: dict[str, Any]) -> ProviderAnswer:
    """Return the answer to a stored operation, or to the fresh row that was just stored."""
    if stored is None:
        return answer(GET.make_row(fresh.values()))
    if stored.outcome == ABSENT:
        return ProviderAnswer(Outcome.FAILED, failure="provider.refused_after_lookup")
    grown = stored.kind == "authorize" and stored.amount_minor > (fresh["amount_minor"] or 0)
    if (stored.kind, stored.parent_id, stored.currency) != (
        fresh["kind"],
        fresh["parent_id"],
        fresh["currency"],
    ) or (stored.amount_minor != fresh["amount_minor"] and not grown):
        raise NoAnswerError("the idempotency key was used for another request")
    return answer(stored)


def answer(row: Any) -> ProviderAnswer:
    """Return what the vault is told of a row."""
    outcome = Outcome(row.outcome)
    key = plain_id(row.operation_id).rpartition("_")[2]
    action = None
    if outcome is Outcome.REQUIRES_ACTION:
        action = Action(row.action_id, ACTION_PATH + row.action_id)
    refused = None
    if outcome is Outcome.DECLINED:
        refused = decline(PAYERS_BY_NAME[row.card].brand, row.network_code)
    authorized = row.kind == "authorize" and outcome in (Outcome.SUCCEEDED, Outcome.REQUIRES_ACTION)
    if not authorized:
        return ProviderAnswer(outcome, f"sim_{key}", decline=refused, failure=row.failure)
    card = PAYERS_BY_NAME[row.card]
    return ProviderAnswer(
        outcome,
        f"sim_{key}",
        network_transaction_id=network_transaction_id(row.operation_id),
        capture_before_ms=row.capture_before_ms,
        action=action,
        failure=row.failure,
        account_reference=PARS[card.name] if card.brand != "sepa" else None,
        liability=row.liability,
    )


PARS = {card.name: card.account_reference for card in PAYERS_BY_NAME.values()}
"""PAR by the name of the card."""


def network_transaction_id(operation_id: str) -> str:
    """Return the network's name of an authorization: fifteen digits."""
    return f"{int(plain_id(operation_id)[-12:], 16):015d}"


def plain_id(operation_id: str) -> str:
    """Return our id of a row whose idempotency key may have been forgotten."""
    return operation_id.partition(_FORGOTTEN)[0]


def forgotten_id(operation_id: str, count: int) -> str:
    """Return the id that a row is put aside under."""
    return f"{operation_id}{_FORGOTTEN}{count}"


def effect(row: Any) -> Effect:
    return Effect(
        OperationId(plain_id(row.operation_id)),
        OperationKind(row.kind),
        Money(row.amount_minor, row.currency),
        None if row.parent_id is None else OperationId(plain_id(row.parent_id)),
        row.card,
        row.received_at_ms if row.decided_at_ms is None else row.decided_at_ms,
    )


def challenge(row: Any) -> Challenge:
    """Raises NotFoundError ``challenge.unknown`` for None."""
    if row is None:
        raise NotFoundError("challenge.unknown", "No such confirmation.")
    return Challenge(
        row.action_id,
        OperationId(row.operation_id),
        Money(row.amount_minor, row.currency),
        Outcome(row.outcome),
    )
