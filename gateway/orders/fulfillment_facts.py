"""Facts from the order backend: receipts, the feed of updates, and answers to a cancellation."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from fulfillment import shipments
from fulfillment.backends.port import (
    BackendLine,
    BackendOrder,
    BackendReceipt,
    BackendRefusedError,
    BackendUpdate,
    CancelAnswer,
    OrderBackend,
)
from fulfillment.feed import UpdatePage, advance_cursor
from fulfillment.model import Contradiction, FulfillmentFact, FulfillmentOrderId
from fulfillment.shipments import Recorded
from fulfillment.states import FulfillmentState
from gateway.kernel.store.unit import Store, UnitOfWork
from gateway.kernel.subjects import OrderId
from gateway.kernel.tasks.model import Task
from gateway.orders import books, process, undoing
from gateway.orders.model import LegState
from gateway.orders.process import ProcessRules
from gateway.orders.purchase import Leg, Purchase, known_purchase

log = structlog.get_logger(__name__)


_NOTHING_FOLLOWS = frozenset({FulfillmentState.CREATED, FulfillmentState.SENT})


@dataclass(frozen=True, slots=True)
class Sent:
    """The backend has the fulfillment order, or refuses it for good."""

    fulfillment_order_id: str
    receipt: BackendReceipt | None
    refusal: str | None


@dataclass(frozen=True, slots=True)
class CancelAnswered:
    """What the backend said to a cancellation."""

    leg_id: str
    fulfillment_order_id: str
    answer: CancelAnswer


class FulfillmentCalls:
    """Performs fulfillment tasks. The backend is idempotent by our reference, so each may run again."""

    def __init__(self, store: Store, backend: OrderBackend) -> None:
        self._store = store
        self._backend = backend

    async def send(self, task: Task) -> Sent:
        """Hand a fulfillment order to the backend."""
        asked = task.payload
        fulfillment_order_id = FulfillmentOrderId(asked["reference"])
        # Lines in the order of their legs' ids, as a later look-up of the same order gives them.
        wanted = BackendOrder(
            reference=fulfillment_order_id,
            order_id=task.subject,
            merchant_id=asked["merchant_id"],
            location_code=asked["location_code"],
            ship_to=asked["ship_to"],
            lines=tuple(BackendLine(sku, quantity, title) for sku, quantity, title in asked["lines"]),
        )
        try:
            receipt = await self._backend.create(wanted)
        except BackendRefusedError as error:
            return Sent(fulfillment_order_id, None, error.message)
        return Sent(fulfillment_order_id, receipt, None)

    async def cancel(self, task: Task) -> CancelAnswered:
        """Ask the backend not to ship what the leg is part of."""
        leg_id = task.payload["leg_id"]
        orders = await self._store.read(lambda reader: shipments.of_order(reader, OrderId(task.subject)))
        mine = next(one for one in orders if any(line.leg_id == leg_id for line in one.lines))
        reference = mine.fulfillment_order_id
        answer = await self._backend.cancel(reference)
        if answer is CancelAnswer.UNKNOWN:
            # Our order may still be on its way there: it goes first, then it can be canceled.
            await self._backend.create(shipments.for_backend(mine))
            answer = await self._backend.cancel(reference)
        return CancelAnswered(leg_id, reference, answer)


class FulfillmentFacts:
    """Records what the backend said."""

    def __init__(self, rules: ProcessRules) -> None:
        self._rules = rules

    def record_sent(self, uow: UnitOfWork, task: Task, sent: Sent) -> None:
        """A receipt or a refusal."""
        reference = FulfillmentOrderId(sent.fulfillment_order_id)
        if sent.receipt is not None:
            facts = shipments.record_sent(uow, reference, backend_reference=sent.receipt.backend_reference)
        else:
            facts = shipments.record_refused(uow, reference, reason=sent.refusal)
        self._apply(uow, facts)

    def record_cancel(self, uow: UnitOfWork, task: Task, answered: CancelAnswered) -> None:
        """Canceled, or too late: then the leg goes on and the customer is told."""
        reference = FulfillmentOrderId(answered.fulfillment_order_id)
        if answered.answer is CancelAnswer.CANCELED:
            self._apply(uow, shipments.record_canceled(uow, reference, reason="canceled"))
            return
        purchase = known_purchase(uow, task.subject)
        if purchase.leg(answered.leg_id).state is LegState.CANCELING:
            purchase.tell("order.cancel_refused", leg_id=answered.leg_id)

    def parked(self, uow: UnitOfWork, task: Task, error: str) -> None:
        """Attempts ran out: the order says so, and an operator sees the task."""
        known_purchase(uow, task.subject).tell("payment.stuck", task=task.kind)

    def record_page(self, uow: UnitOfWork, page: UpdatePage) -> bool:
        """Record a page of the backend's feed with its cursor; False when another worker did."""
        if not advance_cursor(uow, page.backend, expected=page.after, new=page.cursor):
            return False
        for told in page.updates:
            self._record_update(uow, told)
        return True

    def _record_update(self, uow: UnitOfWork, told: BackendUpdate) -> None:
        self._apply(uow, shipments.record_update(uow, told))

    def _apply(self, uow: UnitOfWork, facts: Recorded) -> None:
        for fact in facts:
            if isinstance(fact, FulfillmentFact) and fact.state in _NOTHING_FOLLOWS:
                continue
            purchase = known_purchase(uow, fact.order_id)
            if isinstance(fact, Contradiction):
                log.error(
                    "fulfillment.contradiction",
                    order_id=fact.order_id,
                    fulfillment_order_id=fact.fulfillment_order_id,
                    state=fact.state,
                    told=fact.told,
                )
                purchase.tell(
                    "fulfillment.contradiction",
                    fulfillment_order_id=fact.fulfillment_order_id,
                    state=fact.state.value,
                    told=fact.told.value,
                )
                continue
            self._advance(purchase, fact)

    def _advance(self, purchase: Purchase, fact: FulfillmentFact) -> None:
        legs = [purchase.leg(line.leg_id) for line in fact.lines]
        match fact.state:
            case FulfillmentState.SENT | FulfillmentState.CREATED:
                raise AssertionError("nothing follows from these")
            case FulfillmentState.ACCEPTED:
                self._accepted(purchase, fact, legs)
            case FulfillmentState.DISPATCHED:
                self._dispatched(purchase, fact, legs)
            case FulfillmentState.DELIVERED:
                purchase.tell("shipment.delivered", fulfillment_order_id=fact.fulfillment_order_id)
            case FulfillmentState.CANCELED:
                reason = fact.reason or "canceled by the order backend"
                for leg in legs:
                    if leg.state is LegState.CANCELING:
                        undoing.leg_canceled(purchase, leg, reason)
                    else:
                        process.leg_failed(purchase, leg, reason, self._rules)
                process.settle(purchase, self._rules)
            case FulfillmentState.REFUSED:
                for leg in legs:
                    process.leg_failed(
                        purchase, leg, fact.reason or "refused by the order backend", self._rules
                    )

    def _accepted(self, purchase: Purchase, fact: FulfillmentFact, legs: list[Leg]) -> None:
        for leg in legs:
            purchase.move_leg(leg, LegState.ACCEPTED)
        purchase.tell(
            "fulfillment.accepted",
            fulfillment_order_id=fact.fulfillment_order_id,
            location=legs[0].location_code,
        )
        process.settle(purchase, self._rules)

    def _dispatched(self, purchase: Purchase, fact: FulfillmentFact, legs: list[Leg]) -> None:
        tracking = fact.tracking
        purchase.tell(
            "shipment.dispatched",
            fulfillment_order_id=fact.fulfillment_order_id,
            carrier=None if tracking is None else tracking.carrier,
            tracking_number=None if tracking is None else tracking.number,
        )
        for leg in legs:
            if process.fulfilled(purchase, leg, self._rules):
                books.post_dispatched(purchase, leg)
        process.ask_for_waiting(purchase, self._rules)
