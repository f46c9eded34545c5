"""Money that people hand over: at the door, at the counter, at the till. Confirmed by staff, once.

The promise is an authorization of a provider that holds nothing; its capture, and the refund of a capture,
stays unknown until somebody says what was counted. What staff say is written down before the vault is told,
so that the books know the tender and the drawer whenever the vault's answer comes. The first word counts:
whoever speaks next has the vault hear it, if it has not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select

from fulfillment import pools
from fulfillment.model import stock_pool_id
from gateway.kernel.errors import ConflictError, InvalidError, NotFoundError
from gateway.kernel.money import Money
from gateway.kernel.store.statements import Statement, insert_new
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.kernel.subjects import MerchantId
from gateway.orders import books, process, undoing
from gateway.orders.model import LegKind, LegState
from gateway.orders.process import ProcessRules
from gateway.orders.purchase import Leg, Purchase, load_purchase, wire_money
from gateway.payments.intents import intent_of
from gateway.payments.model import OperationState
from gateway.payments.operations import Recorded, operations_of
from gateway.payments.provider_terms import terms_of
from gateway.payments.tables import cash_collection
from wallets.vault.port import OperationKind

NOT_COLLECTED = "cash.not_collected"
"""Why the capture of a promise fails that nobody kept."""

_INSERT = insert_new(cash_collection)
_GET = Statement(select(cash_collection).where(cash_collection.c.operation_id == bindparam("operation_id")))


@dataclass(frozen=True, slots=True)
class Collection:
    """What staff say happened. ``tendered_minor`` is what was handed over; None: nothing, goods refused.

    Of a refund it is what was given back.
    """

    merchant_id: str
    order_id: str
    staff_id: str
    drawer: str
    tendered_minor: int | None
    restocked: bool
    operation_id: str | None = None
    """Which collection; needed where several wait, and for a refund: a collection that is reported once more
    is never taken for it."""


@dataclass(frozen=True, slots=True)
class Due:
    """A collection that waits for staff, or was decided: what was said of it first."""

    operation_id: str
    amount: Money
    tendered: Money | None
    staff_id: str
    is_theirs: bool
    """Whether that is what this member of the staff says."""


def note_collection(uow: UnitOfWork, told: Collection) -> Due:
    """Write down what staff say, before the vault is told; what was said before stays.

    Raises NotFoundError ``order.not_found``; ConflictError ``collection.none_due``,
    ``collection.several_due`` (data: their ids); InvalidError ``cash.not_enough``.
    """
    if told.tendered_minor is not None and told.tendered_minor < 0:
        raise InvalidError("cash.not_enough", "Nothing is taken out here.", param="$.tendered_minor")
    purchase = load_purchase(uow, told.order_id)
    if purchase is None or purchase.merchant_id != told.merchant_id:
        raise NotFoundError("order.not_found", "There is no such order.")
    row = _due(purchase, told.operation_id)
    amount = Money(row.amount_minor, row.currency)
    values = {
        "operation_id": row.operation_id,
        "order_id": told.order_id,
        "merchant_id": told.merchant_id,
        "staff_id": told.staff_id,
        "drawer": told.drawer,
        "currency": row.currency,
        "tendered_minor": told.tendered_minor,
        "restocked": int(told.restocked),
        "at_ms": uow.now_ms,
    }
    uow.run(_INSERT, values)
    first = collection_of(uow, row.operation_id)
    assert first is not None
    tendered = None if first.tendered_minor is None else Money(first.tendered_minor, row.currency)
    # A colleague who says the same says nothing else.
    theirs = (first.tendered_minor, first.drawer) == (told.tendered_minor, told.drawer)
    return Due(row.operation_id, amount, tendered, first.staff_id, theirs)


def forget_collection(uow: UnitOfWork, operation_id: str) -> None:
    """The vault would not take it (too little was handed over): staff may say something else."""
    uow.core(cash_collection.delete().where(cash_collection.c.operation_id == operation_id))


def waiting_collections(reader: Reader, merchant_id: str, order_id: str) -> list[Any]:
    """Return the operations of an order that wait for staff, oldest first.

    Raises NotFoundError ``order.not_found``.
    """
    intent = intent_of(reader, order_id)
    if intent is None or intent.merchant_id != merchant_id:
        raise NotFoundError("order.not_found", "There is no such order.")
    found = _by_hand(reader, intent)
    return [row for row in found if row.state != OperationState.SUCCEEDED]


def collection_of(reader: Reader, operation_id: str) -> Any | None:
    """Return what staff said of a capture, or None."""
    return reader.row(_GET, {"operation_id": operation_id})


def captured(purchase: Purchase, recorded: Recorded, legs: Sequence[Leg], rules: ProcessRules) -> None:
    """A capture of a provider with terms of its own has succeeded."""
    provider = rules.provider_of(terms_of(purchase.intent()))
    told = collection_of(purchase.uow, recorded.operation_id)
    target = recorded.target_operation_id
    if told is None or told.tendered_minor is None:
        process.captured(purchase, legs, rules, target, provider=provider)
        return
    assert target is not None
    books.post_voided(purchase, recorded.amount, target)
    tendered = Money(told.tendered_minor, told.currency)
    change = books.post_cash_taken(
        purchase, recorded.amount, tendered, country=rules.cash_country, drawer=told.drawer
    )
    purchase.tell(
        "payment.collected",
        operation_id=recorded.operation_id,
        amount=wire_money(recorded.amount),
        change=wire_money(change),
    )
    process.captured(purchase, legs, rules, target, is_posted=True)


def refused(purchase: Purchase, recorded: Recorded, legs: Sequence[Leg], rules: ProcessRules) -> None:
    """Nobody paid at the door: what was brought goes back, and is owed by nobody."""
    told = collection_of(purchase.uow, recorded.operation_id)
    for leg in legs:
        purchase.tell("payment.capture_failed", leg_id=leg.leg_id, code=NOT_COLLECTED)
        if not purchase.move_leg(leg, LegState.CAPTURE_FAILED):
            continue
        if leg.kind is LegKind.MINT:
            undoing.return_token(purchase, leg)
            process.spoil_line(purchase, leg)
            continue
        purchase.move_leg(leg, LegState.RETURNING)
        if told is not None and told.restocked and leg.location_code is not None:
            _restock(purchase, leg)
        purchase.move_leg(leg, LegState.RETURNED)
        purchase.tell("order.leg_refused", leg_id=leg.leg_id)
    process.settle(purchase, rules)


def _restock(purchase: Purchase, leg: Leg) -> None:
    assert leg.location_code is not None
    pools.put_back(
        purchase.uow,
        pool_id=stock_pool_id(MerchantId(purchase.merchant_id), leg.sku, leg.location_code),
        quantity=leg.quantity,
        reason="refused at delivery",
        reference=leg.leg_id,
    )
    books.post_restocked(purchase, leg)


def _due(purchase: Purchase, operation_id: str | None) -> Any:
    rows = [
        row
        for row in _by_hand(purchase.uow, purchase.intent())
        if row.operation_id == operation_id or (operation_id is None and row.kind == OperationKind.CAPTURE)
    ]
    waiting = [row for row in rows if row.state != OperationState.SUCCEEDED] or rows[-1:]
    if not waiting:
        raise ConflictError("collection.none_due", "Nothing is to be collected for this order now.")
    if len(waiting) > 1:
        raise ConflictError(
            "collection.several_due",
            "Say which of them was collected.",
            data={"operation_ids": [row.operation_id for row in waiting]},
        )
    return waiting[0]


def _by_hand(reader: Reader, intent: Any) -> list[Any]:
    """Return the captures and refunds that people decide, as far as they may still be reported."""
    terms = terms_of(intent)
    promised = intent.authorization_id if terms is not None and terms.by_hand else ""
    rows = operations_of(reader, intent.order_id)
    collected = {
        row.operation_id
        for row in rows
        if row.kind == OperationKind.CAPTURE
        and (row.target_operation_id == promised or collection_of(reader, row.operation_id) is not None)
    }
    return [
        row
        for row in rows
        if (row.operation_id in collected or row.target_operation_id in collected)
        and row.state in (OperationState.CREATED, OperationState.UNKNOWN, OperationState.SUCCEEDED)
    ]
