"""An order with its legs and intent, as the process reads and moves it inside a unit.

Reading locks the order's row (PostgreSQL; SQLite has one writer), so two facts about one order are recorded
one after the other and the later one sees the earlier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import bindparam, exists, select, update

from gateway.catalog.model import FailurePolicy
from gateway.kernel.documents import encode
from gateway.kernel.events.model import Event
from gateway.kernel.money import Money
from gateway.kernel.store.statements import Statement
from gateway.kernel.store.unit import Reader, UnitOfWork
from gateway.orders.model import (
    LEG_MOVES,
    ORDER_MOVES,
    LegKind,
    LegState,
    OrderState,
)
from gateway.orders.tables import consent, leg, order, order_line
from gateway.orders.withdrawal import DIGITAL_CONTENT_START
from gateway.payments.guardians import pending_of, requests_of
from gateway.payments.intents import attempts_of, inline, intent_of, sources
from gateway.payments.pay_links import offered_until_ms, open_until_ms

_ORDER = Statement(select(order).where(order.c.order_id == bindparam("order_id")).with_for_update())
_LEGS = Statement(
    select(
        leg.c.leg_id,
        leg.c.position,
        leg.c.line_position,
        leg.c.kind,
        leg.c.state,
        leg.c.sku,
        leg.c.quantity,
        leg.c.amount_minor,
        leg.c.tax_minor,
        leg.c.tax_country,
        leg.c.tax_category,
        leg.c.tax_rate_bps,
        leg.c.hold_id,
        leg.c.location_code,
        leg.c.item_number,
        leg.c.numbered,
        leg.c.capture_operation_id,
        leg.c.token.is_not(None).label("has_token"),
        leg.c.wallet_id,
        leg.c.recipient,
        leg.c.mint_not_before_ms,
        leg.c.paid_first,
        leg.c.delivered_at_ms,
        leg.c.due_at_ms,
        # In the same read: it is looked at before anything digital is delivered.
        exists(
            select(consent.c.kind).where(
                consent.c.order_id == bindparam("order_id"), consent.c.kind == DIGITAL_CONTENT_START
            )
        ).label("has_consent"),
        order_line.c.failure_policy,
        order_line.c.title,
    )
    .select_from(
        leg.join(
            order_line,
            (order_line.c.order_id == leg.c.order_id) & (order_line.c.position == leg.c.line_position),
        )
    )
    .where(leg.c.order_id == bindparam("order_id"))
    .order_by(leg.c.position)
)
_ORDER_OF_LEG = Statement(select(leg.c.order_id).where(leg.c.leg_id == bindparam("leg_id")))
_MOVE_LEG = {
    state: Statement(
        update(leg)
        .where(
            leg.c.order_id == bindparam("its_order_id"),
            leg.c.position == bindparam("its_position"),
            leg.c.state.in_(inline(sources(LEG_MOVES, state))),
        )
        # What a leg waited for is over when it moves.
        .values(state=state.value, due_at_ms=None)
    )
    for state in LegState
    if sources(LEG_MOVES, state)
}
_MOVE_ORDER = {
    state: Statement(
        update(order)
        .where(
            order.c.order_id == bindparam("its_order_id"),
            order.c.state.in_(inline(sources(ORDER_MOVES, state))),
        )
        .values(state=state.value, reason=bindparam("new_reason"), pay_until_ms=None)
    )
    for state in OrderState
    if sources(ORDER_MOVES, state)
}
_PAY_UNTIL = Statement(
    update(order)
    .where(order.c.order_id == bindparam("its_order_id"), order.c.state == OrderState.PLACED.value)
    .values(pay_until_ms=bindparam("until_ms"))
)
_FULFILL_LEG = Statement(
    update(leg)
    .where(
        leg.c.order_id == bindparam("its_order_id"),
        leg.c.position == bindparam("its_position"),
        leg.c.state.in_(inline(sources(LEG_MOVES, LegState.FULFILLED))),
    )
    .values(state=LegState.FULFILLED.value, capture_operation_id=bindparam("operation_id"))
)
_SET_CAPTURE = Statement(
    update(leg)
    .where(leg.c.order_id == bindparam("its_order_id"), leg.c.position == bindparam("its_position"))
    .values(capture_operation_id=bindparam("operation_id"))
)
_SET_TOKEN = Statement(
    update(leg)
    .where(leg.c.order_id == bindparam("its_order_id"), leg.c.position == bindparam("its_position"))
    .values(token=bindparam("new_token"))
)
_PAY_FIRST = Statement(
    update(leg)
    .where(
        leg.c.order_id == bindparam("its_order_id"),
        leg.c.position == bindparam("its_position"),
        leg.c.state.in_(inline(sources(LEG_MOVES, LegState.STARTED))),
    )
    .values(state=LegState.STARTED.value, paid_first=1)
)
_DELIVER = Statement(
    update(leg)
    .where(
        leg.c.order_id == bindparam("its_order_id"),
        leg.c.position == bindparam("its_position"),
        leg.c.state == LegState.PAID.value,
    )
    .values(state=LegState.CAPTURED.value, delivered_at_ms=bindparam("at_ms"), due_at_ms=None)
)
_WAIT = Statement(
    update(leg)
    .where(leg.c.order_id == bindparam("its_order_id"), leg.c.position == bindparam("its_position"))
    .values(due_at_ms=bindparam("at_ms"))
)
_SET_WALLET = Statement(
    update(leg)
    .where(leg.c.order_id == bindparam("its_order_id"), leg.c.position == bindparam("its_position"))
    .values(wallet_id=bindparam("its_wallet"), recipient=bindparam("its_recipient"))
)
_FULFILL_LINE = Statement(
    update(order_line)
    .where(
        order_line.c.order_id == bindparam("its_order_id"),
        order_line.c.position == bindparam("its_position"),
        order_line.c.quantity_fulfilled < order_line.c.quantity_current,
    )
    .values(quantity_fulfilled=order_line.c.quantity_current)
)
_REQUEST_REFUND = Statement(
    update(order).where(order.c.order_id == bindparam("its_order_id")).values(refund_requested=1)
)
_SET_REASON = Statement(
    update(order).where(order.c.order_id == bindparam("its_order_id")).values(reason=bindparam("new_reason"))
)
_HOLD = Statement(
    update(order)
    .where(order.c.order_id == bindparam("its_order_id"), order.c.state == OrderState.CONFIRMED.value)
    .values(pay_until_ms=bindparam("until_ms"))
)
_WAIT_FOR_LINK = Statement(
    update(order)
    .where(
        order.c.order_id == bindparam("its_order_id"),
        order.c.state == OrderState.PLACED.value,
        order.c.pay_until_ms < bindparam("until_ms"),
    )
    .values(pay_until_ms=bindparam("until_ms"))
)
_UNPAID = Statement(
    select(order.c.order_id)
    .where(order.c.pay_until_ms.is_not(None), order.c.pay_until_ms <= bindparam("now_ms"))
    .order_by(order.c.pay_until_ms)
    .limit(bindparam("most"))
)


# By text: a look-up takes a third of the time of the enum's call, and legs are read at every step.
_DUE_LEGS = Statement(
    select(leg.c.order_id, leg.c.leg_id)
    .where(
        leg.c.due_at_ms <= bindparam("now_ms"),
        leg.c.state.in_(inline([LegState.PAID, LegState.UNDELIVERED])),
    )
    .order_by(leg.c.due_at_ms)
    .limit(bindparam("most"))
)
_KINDS = {kind.value: kind for kind in LegKind}
_STATES = {state.value: state for state in LegState}
_POLICIES = {policy.value: policy for policy in FailurePolicy}

LONGEST_UNPAID_MS = 60 * 60_000
"""A reservation that nobody pays for is given up, however often another method is tried."""
_MOST_KEPT = 10
"""So many attempts make an order that is held wait longer; later ones have what is left of its time."""


@dataclass(slots=True)
class Leg:
    """A leg as read; ``state`` follows the moves made in this unit."""

    leg_id: str
    position: int
    line: int
    kind: LegKind
    state: LegState
    sku: str
    title: str
    quantity: int
    currency: str
    amount_minor: int
    tax_minor: int
    tax_country: str
    tax_category: str
    tax_rate_bps: int
    hold_id: str | None
    location_code: str | None
    item_number: int | None
    numbered: bool
    capture_operation_id: str | None
    policy: FailurePolicy
    has_token: bool = False
    """Whether something was minted for it, which is there or was given back."""
    wallet_id: str | None = None
    """The linked wallet that it is minted to; None: the customer's account here."""
    recipient: str | None = None
    """The address outside that it is minted to; None where we hold the key, and can take the token back."""
    mint_not_before_ms: int | None = None
    """When the period to withdraw ends, where that is waited for."""
    paid_first: bool = False
    """Whether its share is captured before it is delivered."""
    delivered_at_ms: int | None = None
    """When what was paid first was delivered."""
    due_at_ms: int | None = None
    """While it is paid: when its delivery may begin. While it is undelivered: until when another wallet can
    be chosen. While it is being paid first: when its customer withdrew."""
    account: tuple[str, str] | None = None
    """The customer's account here and the name of its key, once `starting` has looked it up in this unit."""
    has_consent: bool = False
    """Whether the customer has agreed that delivery starts at once; of the whole order."""

    @property
    def is_lost(self) -> bool:
        """Whether what was minted for it is gone for good, and the leg does not know yet."""
        return (
            self.kind is LegKind.MINT
            and not self.has_token
            and self.state in (LegState.FULFILLED, LegState.CAPTURED)
        )

    @property
    def is_earned(self) -> bool:
        """Whether what is captured for it is revenue: it is not while what was paid for is still owed."""
        return not self.paid_first or self.delivered_at_ms is not None

    @property
    def is_withdrawn(self) -> bool:
        """Whether its customer called it off while its share was being captured."""
        return self.state is LegState.STARTED and self.due_at_ms is not None

    @property
    def is_captured_to_start(self) -> bool:
        """Whether its share is asked for when it starts, and nothing is delivered before."""
        return self.paid_first or self.kind is LegKind.ENTITLE

    @property
    def is_gone(self) -> bool:
        """Whether it has not been delivered and never will be."""
        if self.state in (LegState.FAILED, LegState.CANCELED):
            return True
        return self.state in (LegState.RETURNING, LegState.RETURNED) and not self.is_earned

    @property
    def is_outside(self) -> bool:
        """Whether only its holder could give back what was minted for it."""
        return self.recipient is not None

    @property
    def amount(self) -> Money:
        return Money(self.amount_minor, self.currency)

    @property
    def digital(self) -> bool:
        return self.kind is not LegKind.SHIP


class Purchase:
    """One order inside one unit."""

    def __init__(self, uow: UnitOfWork, row: Any) -> None:
        self.uow = uow
        self.row = row
        self.order_id: str = row.order_id
        self.merchant_id: str = row.merchant_id
        self.customer_id: str = row.customer_id
        self.currency: str = row.currency
        self.state = OrderState(row.state)
        self.pay_until_ms: int | None = row.pay_until_ms
        """Until when a payment is waited for: the first one, or one in place of a lost authorization."""
        self.shares_wait = False
        """Whether this unit has fulfilled legs whose shares are still to be asked for."""

    @cached_property
    def legs(self) -> list[Leg]:
        """All legs of the order, by position; read when a fact first asks for them."""
        return _legs(self.uow, self.row)

    @property
    def total(self) -> Money:
        return Money(self.row.total_minor, self.currency)

    def intent(self) -> Any:
        """Return the intent's row as it stands now."""
        found = intent_of(self.uow, self.order_id)
        assert found is not None
        return found

    def leg(self, leg_id: str) -> Leg:
        """Return the leg with this id."""
        return next(leg for leg in self.legs if leg.leg_id == leg_id)

    def line_of(self, leg: Leg) -> list[Leg]:
        """Return all legs of this leg's line."""
        return [other for other in self.legs if other.line == leg.line]

    def move_leg(self, leg: Leg, target: LegState) -> bool:
        """Move by compare-and-set; the answer says whether this call did it."""
        moved = self.uow.run(_MOVE_LEG[target], {"its_order_id": self.order_id, "its_position": leg.position})
        if moved:
            leg.state, leg.due_at_ms = target, None
        return moved == 1

    def fulfill_leg(self, leg: Leg, operation_id: str | None) -> bool:
        """Move to fulfilled by compare-and-set, and note which operation captures the leg."""
        moved = self.uow.run(
            _FULFILL_LEG,
            {"its_order_id": self.order_id, "its_position": leg.position, "operation_id": operation_id},
        )
        if moved:
            leg.state = LegState.FULFILLED
            leg.capture_operation_id = operation_id
        return moved == 1

    def pay_first(self, leg: Leg) -> bool:
        """Start a leg whose share is captured before it is delivered, by compare-and-set."""
        moved = self.uow.run(_PAY_FIRST, self._its(leg))
        if moved:
            leg.state, leg.paid_first = LegState.STARTED, True
        return moved == 1

    def deliver_leg(self, leg: Leg) -> bool:
        """Note that what was paid first is delivered, by compare-and-set."""
        moved = self.uow.run(_DELIVER, {**self._its(leg), "at_ms": self.uow.now_ms})
        if moved:
            leg.state, leg.delivered_at_ms, leg.due_at_ms = LegState.CAPTURED, self.uow.now_ms, None
        return moved == 1

    def wait_until(self, leg: Leg, at_ms: int | None) -> None:
        """Note when a leg that waits is looked at again; None: it waits for no time."""
        leg.due_at_ms = at_ms
        self.uow.run(_WAIT, {**self._its(leg), "at_ms": at_ms})

    def set_wallet(self, leg: Leg, wallet_id: str | None, recipient: str | None) -> None:
        """Note where the leg is minted to: a linked wallet, or an address outside that is none."""
        leg.wallet_id, leg.recipient = wallet_id, recipient
        self.uow.run(_SET_WALLET, {**self._its(leg), "its_wallet": wallet_id, "its_recipient": recipient})

    def _its(self, leg: Leg) -> dict[str, Any]:
        return {"its_order_id": self.order_id, "its_position": leg.position}

    def move(self, target: OrderState, reason: str | None = None) -> bool:
        """Move the order by compare-and-set; the answer says whether this call did it."""
        moved = self.uow.run(_MOVE_ORDER[target], {"its_order_id": self.order_id, "new_reason": reason})
        if moved:
            self.state = target
            self.pay_until_ms = None
        return moved == 1

    def set_capture(self, leg: Leg, operation_id: str) -> None:
        """Note which operation captures the leg."""
        leg.capture_operation_id = operation_id
        self.uow.run(
            _SET_CAPTURE,
            {"its_order_id": self.order_id, "its_position": leg.position, "operation_id": operation_id},
        )

    def set_token(self, leg: Leg, token: Mapping[str, Any] | None) -> None:
        """Note what was minted for the leg; None: it is gone for good."""
        leg.has_token = token is not None
        text = None if token is None else encode(dict(token))
        self.uow.run(
            _SET_TOKEN, {"its_order_id": self.order_id, "its_position": leg.position, "new_token": text}
        )

    def fulfill_line(self, leg: Leg) -> None:
        """Count the line's quantity as fulfilled once all its legs are."""
        if all(other.state in (LegState.FULFILLED, LegState.CAPTURED) for other in self.line_of(leg)):
            self.uow.run(_FULFILL_LINE, {"its_order_id": self.order_id, "its_position": leg.line})

    def set_reason(self, reason: str) -> None:
        """Note why the order is being given up, before its legs have all answered."""
        self.row = self.row._replace(reason=reason)
        self.uow.run(_SET_REASON, {"its_order_id": self.order_id, "new_reason": reason})

    def request_refund(self) -> None:
        """Remember that the whole order is to be given back."""
        self.row = self.row._replace(refund_requested=1)
        self.uow.run(_REQUEST_REFUND, {"its_order_id": self.order_id})

    @property
    def is_held(self) -> bool:
        """Whether the order was paid for and its authorization has been lost: nothing more of it starts
        until another one takes its place."""
        return self.state is OrderState.CONFIRMED and self.pay_until_ms is not None

    def hold(self, until_ms: int) -> bool:
        """Hold what has not started; False if the order does not go on any more."""
        held = self.uow.run(_HOLD, {"its_order_id": self.order_id, "until_ms": until_ms}) == 1
        if held:
            self.pay_until_ms = until_ms
        return held

    def let_go(self) -> None:
        """End the hold."""
        self.uow.run(_HOLD, {"its_order_id": self.order_id, "until_ms": None})
        self.pay_until_ms = None

    def wait_for_link(self, until_ms: int) -> None:
        """Keep the reservation for as long as a pay link is open, however long that is."""
        self.uow.run(_WAIT_FOR_LINK, {"its_order_id": self.order_id, "until_ms": until_ms})
        self.pay_until_ms = max(until_ms, self.pay_until_ms or 0)

    def keep_for_attempt(self, until_ms: int) -> int:
        """Somebody is paying: the order does not end before their attempt does. Nothing gets shorter.

        That may be longer than an order waits for somebody to begin; `extend_payment` puts it right when the
        attempt has ended. Returns until when the order is kept.
        """
        until_ms = max(until_ms, self.pay_until_ms or 0)
        statement = _PAY_UNTIL
        if self.is_held:
            if len(attempts_of(self.uow, self.order_id)) > _MOST_KEPT:
                return until_ms
            statement = _HOLD
        if self.uow.run(statement, {"its_order_id": self.order_id, "until_ms": until_ms}):
            self.pay_until_ms = until_ms
        return until_ms

    def extend_payment(self, until_ms: int) -> int:
        """Wait for another way to pay, never longer than an hour after the order was placed.

        What was promised to somebody with a pay link stays, and the hour does not end while a guardian is
        asked. An order that is held keeps its time. Returns until when the order is kept.
        """
        if self.state is not OrderState.PLACED:
            return self.pay_until_ms or self.uow.now_ms
        asked = requests_of(self.uow, self.order_id)
        longest_ms = max(
            self.row.created_at_ms + LONGEST_UNPAID_MS,
            offered_until_ms(self.uow, self.order_id),
            *(row.kept_until_ms for row in asked),
        )
        pending = pending_of(asked)
        kept_ms = 0 if pending is None else pending.kept_until_ms
        until_ms = max(min(until_ms, longest_ms), kept_ms, open_until_ms(self.uow, self.order_id))
        self.pay_until_ms = until_ms
        self.uow.run(_PAY_UNTIL, {"its_order_id": self.order_id, "until_ms": until_ms})
        return until_ms

    @property
    def is_over(self) -> bool:
        """Whether its time to be paid for has passed: it ends when it is looked at next."""
        return self.pay_until_ms is not None and self.pay_until_ms <= self.uow.now_ms

    def tell(self, event_type: str, **body: Any) -> None:
        """Write an event on the customer's stream; ``order_id`` is added."""
        self.uow.emit(
            Event(self.customer_id, event_type, {"order_id": self.order_id, **body}, self.merchant_id)
        )


def wire_money(amount: Money) -> dict[str, Any]:
    """Return an amount as the wire writes it."""
    return {"amount_minor": amount.amount_minor, "currency": amount.currency}


def load_purchase(uow: UnitOfWork, order_id: str) -> Purchase | None:
    """Read and lock an order, or None."""
    row = uow.row(_ORDER, {"order_id": order_id})
    return None if row is None else Purchase(uow, row)


def known_purchase(uow: UnitOfWork, order_id: str) -> Purchase:
    """Read and lock an order that must exist: our own rows refer to it."""
    found = load_purchase(uow, order_id)
    assert found is not None, f"no order {order_id}"
    return found


def order_of_leg(reader: Reader, leg_id: str) -> str | None:
    """Return the order a leg belongs to."""
    row = reader.row(_ORDER_OF_LEG, {"leg_id": leg_id})
    return None if row is None else row.order_id


def due_legs(reader: Reader, most: int) -> list[Any]:
    """Return (order_id, leg_id) of paid legs whose time has come, the longest waiting first."""
    return reader.rows(_DUE_LEGS, {"now_ms": reader.now_ms, "most": most})


def unpaid_orders(reader: Reader, most: int) -> list[str]:
    """Return orders whose reservation has waited long enough for its payment."""
    return [row.order_id for row in reader.rows(_UNPAID, {"now_ms": reader.now_ms, "most": most})]


def _legs(uow: UnitOfWork, row: Any) -> list[Leg]:
    return [
        Leg(
            leg_id=found.leg_id,
            position=found.position,
            line=found.line_position,
            kind=_KINDS[found.kind],
            state=_STATES[found.state],
            sku=found.sku,
            title=found.title,
            quantity=found.quantity,
            currency=row.currency,
            amount_minor=found.amount_minor,
            tax_minor=found.tax_minor,
            tax_country=found.tax_country,
            tax_category=found.tax_category,
            tax_rate_bps=found.tax_rate_bps,
            hold_id=found.hold_id,
            location_code=found.location_code,
            item_number=found.item_number,
            numbered=bool(found.numbered),
            capture_operation_id=found.capture_operation_id,
            policy=_POLICIES[found.failure_policy],
            has_token=bool(found.has_token),
            wallet_id=found.wallet_id,
            recipient=found.recipient,
            mint_not_before_ms=found.mint_not_before_ms,
            paid_first=bool(found.paid_first),
            delivered_at_ms=found.delivered_at_ms,
            due_at_ms=found.due_at_ms,
            has_consent=bool(found.has_consent),
        )
        for found in uow.rows(_LEGS, {"order_id": row.order_id})
    ]
