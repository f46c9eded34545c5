"""Giving money back, in parts or whole: asked for, approved where it needs a second person, done, recorded.

The amount is kept from others (`intents.reserve_refund`) from the request to its end, so any number of
refunds, at the same time and in any order, give back exactly what was captured at most. Money that is not to
go back the way it came waits for the approval of somebody else than who asked, within the merchant's caps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.catalog.loading import payment_policy_of
from gateway.catalog.model import PaymentPolicy
from gateway.kernel.clock import rfc3339
from gateway.kernel.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from gateway.kernel.money import Money
from gateway.kernel.store.unit import UnitOfWork
from gateway.kernel.subjects import OperationId
from gateway.kernel.tasks.queue import enqueue
from gateway.orders import books, process
from gateway.orders.collecting import collection_of
from gateway.orders.idempotency import earlier_result, keep_result
from gateway.orders.model import LegState, is_owed
from gateway.orders.process import ProcessRules
from gateway.orders.purchase import Leg, Purchase, known_purchase, load_purchase, wire_money
from gateway.orders.undoing import begin_refund, goods_are_back, is_paid, leg_money_back, undo_leg
from gateway.payments import calls, intents
from gateway.payments.methods import method_of
from gateway.payments.model import OperationState, operation_is_final
from gateway.payments.operations import Recorded, begin_operation, operation_row, operations_of
from gateway.payments.provider_terms import terms_of
from gateway.payments.refunds import (
    count_done,
    decide_refund,
    end_refund,
    merchants_refund,
    open_refund,
    refund_row,
    sent_since,
)
from gateway.payments.refunds_model import (
    RefundState,
    RefundWay,
    gives_back,
    is_same_person,
    needs_second_person,
    refund_is_open,
)
from wallets.vault.port import MethodKind, OperationKind

REQUEST_OPERATION = "refund.request"

_WITH_MONEY = frozenset({LegState.PAID, LegState.UNDELIVERED, LegState.CAPTURED, LegState.RETURNING})
_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_NO_TARGET = frozenset({MethodKind.APPLE_PAY.value, MethodKind.GOOGLE_PAY.value, MethodKind.CASH.value})
"""Wallets' payloads pay once and take nothing; cash goes back only where cash came from, over a counter."""


@dataclass(frozen=True, slots=True)
class RefundWish:
    """What a merchant's staff asks for. Without an amount it is all that can be given back."""

    merchant_id: str
    order_id: str
    key: str
    request_hash: str
    way: RefundWay
    amount_minor: int | None
    leg_id: str | None
    payment_method_id: str | None
    reason: str
    staff_id: str
    authentication_id: str | None = None
    """With which the customer named the method, where that was asked for."""


@dataclass(frozen=True, slots=True)
class RefundAnswer:
    refund_id: str
    state: RefundState
    amount: Money
    replayed: bool = False


def request_refund(uow: UnitOfWork, wish: RefundWish) -> RefundAnswer:
    """Ask for money to be given back. To the original method it is on its way with the answer.

    Raises NotFoundError ``order.not_found``, ``leg.not_found``, ``payment_method.not_found``; ConflictError
    ``order.not_refundable``, ``refund.exceeds`` (data: what can be refunded), ``refund.not_offered``,
    ``refund.above_cap``, ``refund.target_too_new``; InvalidError ``refund.amount``.
    """
    earlier = earlier_result(uow, wish.merchant_id, REQUEST_OPERATION, wish.key, wish.request_hash)
    if earlier is not None:
        row = refund_row(uow, earlier["refund_id"])
        assert row is not None
        return RefundAnswer(row.refund_id, RefundState(row.state), _amount(row), replayed=True)
    purchase = load_purchase(uow, wish.order_id)
    if purchase is None or purchase.merchant_id != wish.merchant_id:
        raise NotFoundError("order.not_found", "There is no such order.")
    shares = _refundable(purchase, wish.leg_id)
    most = sum(rest for _, rest in shares)
    amount = _wanted(purchase, wish, most)
    policy = payment_policy_of(uow, wish.merchant_id)
    if needs_second_person(wish.way):
        _check_target(uow, purchase, wish, policy, amount)
    if gives_back(wish.way):
        if amount.amount_minor > most:
            raise _exceeds(most, purchase.currency)
        if not intents.reserve_refund(uow, purchase.order_id, amount.amount_minor):
            intent = purchase.intent()
            left = intent.captured_minor - intent.refunded_minor - intent.refunding_minor
            raise _exceeds(left, purchase.currency)
    refund_id = open_refund(
        uow,
        order_id=purchase.order_id,
        merchant_id=purchase.merchant_id,
        customer_id=purchase.customer_id,
        way=wish.way,
        amount=amount,
        leg_id=wish.leg_id,
        payment_method_id=wish.payment_method_id,
        reason=wish.reason,
        requested_by=wish.staff_id,
        authentication_id=wish.authentication_id,
        expires_at_ms=uow.now_ms + policy.approval_hours * _HOUR_MS,
    )
    state = RefundState.PENDING if needs_second_person(wish.way) else RefundState.APPROVED
    purchase.tell(
        "refund.requested",
        refund_id=refund_id,
        amount=wire_money(amount),
        way=wish.way.value,
        state=state.value,
        reason=wish.reason,
    )
    if state is RefundState.APPROVED:
        for leg, part in _spread(shares, amount):
            begin_refund(purchase, leg, part, refund_id=refund_id)
    keep_result(
        uow, wish.merchant_id, REQUEST_OPERATION, wish.key, wish.request_hash, {"refund_id": refund_id}
    )
    return RefundAnswer(refund_id, state, amount)


def decide(
    uow: UnitOfWork,
    merchant_id: str,
    refund_id: str,
    staff_id: str,
    rules: ProcessRules,
    *,
    approve: bool,
) -> RefundAnswer:
    """Approve or reject a pending request; the same decision again changes nothing.

    Raises NotFoundError ``refund.not_found``; ForbiddenError ``refund.same_person``; ConflictError
    ``refund.decided``, ``refund.exceeds``, ``payout.too_many``, ``payout.above_daily_cap`` (data: when).
    """
    row = merchants_refund(uow, merchant_id, refund_id)
    purchase = known_purchase(uow, row.order_id)
    row = merchants_refund(uow, merchant_id, refund_id)  # as it is under the order's lock
    wanted = RefundState.APPROVED if approve else RefundState.REJECTED
    if row.state != RefundState.PENDING:
        if row.decided_by == staff_id and (row.state != RefundState.REJECTED) == approve:
            return RefundAnswer(refund_id, RefundState(row.state), _amount(row), replayed=True)
        raise ConflictError("refund.decided", "This was decided already.", data={"state": row.state})
    if row.expires_at_ms <= uow.now_ms:
        raise ConflictError("refund.decided", "Its time is over.", data={"state": RefundState.EXPIRED.value})
    if not approve:
        decide_refund(uow, refund_id, wanted, staff_id)
        purchase.tell("refund.rejected", refund_id=refund_id)
        _give_up(purchase, row, rules)
        return RefundAnswer(refund_id, wanted, _amount(row))
    if is_same_person(staff_id, row.requested_by):
        raise ForbiddenError("refund.same_person", "Somebody else has to approve this.")
    _check_velocity(uow, row)
    parts = _parts_to_pay_out(purchase, row)
    decide_refund(uow, refund_id, wanted, staff_id)
    purchase.tell("refund.approved", refund_id=refund_id)
    for leg, part in parts:
        _begin_payout(purchase, row, part, leg)
    return RefundAnswer(refund_id, wanted, _amount(row))


def expire(uow: UnitOfWork, refund_id: str, rules: ProcessRules) -> None:
    """Nobody has approved it in time."""
    row = refund_row(uow, refund_id)
    if row is None or row.expires_at_ms is None or row.expires_at_ms > uow.now_ms:
        return
    purchase = known_purchase(uow, row.order_id)
    if decide_refund(uow, refund_id, RefundState.EXPIRED, None):
        purchase.tell("refund.expired", refund_id=refund_id)
        _give_up(purchase, row, rules)


def record_back(purchase: Purchase, recorded: Recorded, rules: ProcessRules, *, ask_anew: bool) -> None:
    """Record what became of a refund or payout. ``ask_anew``: it was lost and is asked for once more."""
    leg = None if recorded.leg_id is None else purchase.leg(recorded.leg_id)
    row = None if recorded.refund_id is None else refund_row(purchase.uow, recorded.refund_id)
    if recorded.state is OperationState.SUCCEEDED:
        _went_back(purchase, recorded, leg, row, rules)
    elif ask_anew:
        if recorded.kind is OperationKind.REFUND:
            assert leg is not None
            begin_refund(purchase, leg, recorded.amount, refund_id=recorded.refund_id)
        else:
            _begin_payout(purchase, row, recorded.amount, leg)
    elif row is None:
        intents.release_refund(purchase.uow, purchase.order_id, recorded.amount.amount_minor)
        purchase.tell("payment.stuck", task=calls.REFUND)
    elif gives_back(RefundWay(row.way)):
        intents.release_refund(purchase.uow, purchase.order_id, recorded.amount.amount_minor)
        _resume_returns(purchase, rules)
    if row is not None and recorded.state is not OperationState.UNKNOWN and not ask_anew:
        _end_if_answered(purchase, row, recorded)


def _went_back(
    purchase: Purchase, recorded: Recorded, leg: Leg | None, row: Any | None, rules: ProcessRules
) -> None:
    uow, amount = purchase.uow, recorded.amount
    if recorded.refund_id is not None:
        count_done(uow, recorded.refund_id, amount.amount_minor)
    if row is not None and not gives_back(RefundWay(row.way)):
        books.post_goodwill(purchase, amount, rules.provider)
        purchase.tell("payout.sent", refund_id=row.refund_id, amount=wire_money(amount))
        return
    assert leg is not None
    intents.add_refunded(uow, purchase.order_id, amount.amount_minor)
    before = leg_money_back(purchase, leg).done - amount.amount_minor
    elsewhere = recorded.kind is OperationKind.PAYOUT
    counted = collection_of(uow, recorded.operation_id)
    by_hand = counted is not None and counted.tendered_minor is not None
    account = _paid_into(purchase, leg, rules)
    if leg.is_earned:
        books.post_part_refunded(purchase, leg, amount, before, account, owed=elsewhere or by_hand)
    else:
        books.post_undelivered_refunded(purchase, amount, account, owed=elsewhere or by_hand)
    if counted is not None and by_hand:
        books.post_cash_given(purchase, amount, country=rules.cash_country, drawer=counted.drawer)
    if elsewhere:
        books.post_paid_out(purchase, amount, rules.provider)
        purchase.tell(
            "payout.sent", refund_id=recorded.refund_id, leg_id=leg.leg_id, amount=wire_money(amount)
        )
    more = {} if recorded.refund_id is None else {"refund_id": recorded.refund_id}
    purchase.tell("payment.refunded", leg_id=leg.leg_id, amount=wire_money(amount), **more)
    if leg.state is LegState.RETURNING and (row is None or goods_are_back(purchase, leg)):
        # The last of the leg's money, whoever asked for it, ends its return.
        process.pay_back(purchase, leg, rules)
    elif is_owed(leg.state) and before + amount.amount_minor == leg.amount_minor:
        # Nothing of it is paid for any more, so it is not delivered either, as far as that can be stopped.
        undo_leg(purchase, leg, reason="refunded")
        process.settle(purchase, rules)


def _paid_into(purchase: Purchase, leg: Leg, rules: ProcessRules) -> str:
    """Return the account that the leg's share came into."""
    capture = operation_row(purchase.uow, leg.capture_operation_id or "")
    assert capture is not None, "only what was captured goes back"
    provider = rules.provider_of(terms_of(purchase.intent()))
    return books.paid_into(purchase, capture.target_operation_id, provider)


def _end_if_answered(purchase: Purchase, row: Any, recorded: Recorded) -> None:
    """A request has ended when the provider has answered all of it."""
    uow = purchase.uow
    mine = [each for each in operations_of(uow, purchase.order_id) if each.refund_id == row.refund_id]
    if any(not operation_is_final(OperationState(each.state)) for each in mine):
        return
    now = refund_row(uow, row.refund_id)
    assert now is not None
    if now.done_minor == now.amount_minor:
        if end_refund(uow, row.refund_id, RefundState.DONE):
            purchase.tell("refund.done", refund_id=row.refund_id, amount=wire_money(_amount(now)))
        return
    result = recorded.result
    failure = result.refusal or (None if result.decline is None else result.decline.code) or "failed"
    if end_refund(uow, row.refund_id, RefundState.FAILED, failure):
        done = Money(now.done_minor, now.currency)
        purchase.tell("refund.failed", refund_id=row.refund_id, code=failure, done=wire_money(done))


def _refundable(purchase: Purchase, leg_id: str | None) -> list[tuple[Leg, int]]:
    """Return the captured legs with what is left of their shares, by position."""
    if leg_id is not None and not any(leg.leg_id == leg_id for leg in purchase.legs):
        raise NotFoundError("leg.not_found", "The order has no such leg.", param="$.leg_id")
    shares = []
    for leg in purchase.legs:
        if leg.state not in _WITH_MONEY or leg_id not in (None, leg.leg_id):
            continue
        if not is_paid(purchase, leg):
            continue
        back = leg_money_back(purchase, leg)
        rest = leg.amount_minor - back.done - back.under_way
        if rest:
            shares.append((leg, rest))
    return shares


def _wanted(purchase: Purchase, wish: RefundWish, most: int) -> Money:
    if not gives_back(wish.way):
        if wish.amount_minor is None or wish.leg_id is not None:
            raise InvalidError(
                "refund.amount", "A payout names its amount and no leg.", param="$.amount_minor"
            )
    elif not most:
        raise ConflictError(
            "order.not_refundable",
            "Nothing of this was captured and is not refunded.",
            data={"state": purchase.state.value},
        )
    amount = most if wish.amount_minor is None else wish.amount_minor
    if amount <= 0:
        raise InvalidError("refund.amount", "An amount above zero.", param="$.amount_minor")
    return Money(amount, purchase.currency)


def _check_target(
    uow: UnitOfWork, purchase: Purchase, wish: RefundWish, policy: PaymentPolicy, amount: Money
) -> None:
    caps = policy.refund_elsewhere if wish.way is RefundWay.METHOD else policy.payout
    cap = caps.get(amount.currency)
    if cap is None:
        raise ConflictError("refund.not_offered", "This merchant sends no money this way in this currency.")
    if amount > cap:
        raise ConflictError("refund.above_cap", "It is more than may be sent this way.", data=wire_money(cap))
    method = None
    if wish.payment_method_id is not None:
        method = method_of(uow, purchase.customer_id, wish.payment_method_id)
    if method is None or method.kind in _NO_TARGET:
        raise NotFoundError(
            "payment_method.not_found", "There is no such payment method.", param="$.payment_method_id"
        )
    ready_ms = method.created_at_ms + policy.payout_cooling_hours * _HOUR_MS
    if ready_ms > uow.now_ms:
        raise ConflictError(
            "refund.target_too_new",
            "The method was stored too recently to be sent money.",
            data={"ready_at": rfc3339(ready_ms)},
        )


def _check_velocity(uow: UnitOfWork, row: Any) -> None:
    """How often and how much one customer may be sent within a day."""
    policy = payment_policy_of(uow, row.merchant_id)
    times, sent = sent_since(
        uow,
        merchant_id=row.merchant_id,
        customer_id=row.customer_id,
        currency=row.currency,
        since_ms=uow.now_ms - _DAY_MS,
    )
    if times >= policy.payouts_per_day:
        raise ConflictError(
            "payout.too_many",
            "The customer was sent money as often as a day allows.",
            data={"limit": policy.payouts_per_day},
        )
    cap = policy.payout_per_day.get(row.currency)
    if cap is not None and sent + row.amount_minor > cap.amount_minor:
        raise ConflictError(
            "payout.above_daily_cap",
            "The customer would be sent more than a day allows.",
            data={"limit_minor": cap.amount_minor, "sent_minor": sent, "currency": row.currency},
        )


def _parts_to_pay_out(purchase: Purchase, row: Any) -> list[tuple[Leg | None, Money]]:
    if not gives_back(RefundWay(row.way)):
        return [(None, _amount(row))]
    shares = _refundable(purchase, row.leg_id)
    most = sum(rest for _, rest in shares)
    if row.amount_minor > most:
        raise _exceeds(most, purchase.currency)
    return [(leg, part) for leg, part in _spread(shares, _amount(row))]


def _spread(shares: list[tuple[Leg, int]], amount: Money) -> list[tuple[Leg, Money]]:
    """Share an amount out over legs in proportion to what is left of them; the parts sum exactly."""
    parts = amount.allocate([rest for _, rest in shares])
    return [(leg, part) for (leg, _), part in zip(shares, parts, strict=True) if part]


def _begin_payout(purchase: Purchase, row: Any, amount: Money, leg: Leg | None) -> None:
    operation_id = purchase.uow.new_id(OperationId)
    begin_operation(
        purchase.uow,
        operation_id,
        OperationKind.PAYOUT,
        order_id=purchase.order_id,
        amount=amount,
        leg_id=None if leg is None else leg.leg_id,
        refund_id=row.refund_id,
    )
    enqueue(
        purchase.uow,
        calls.PAYOUT,
        purchase.order_id,
        calls.payout_payload(
            operation_id,
            payment_method_id=row.payment_method_id,
            customer_id=row.customer_id,
            merchant_id=row.merchant_id,
            amount=amount,
        ),
    )


def _give_up(purchase: Purchase, row: Any, rules: ProcessRules) -> None:
    """Nothing will be sent: the amount can be refunded again. A return that waited for it goes on."""
    assert refund_is_open(RefundState(row.state))
    if not gives_back(RefundWay(row.way)):
        return
    intents.release_refund(purchase.uow, purchase.order_id, row.amount_minor)
    _resume_returns(purchase, rules)


def _resume_returns(purchase: Purchase, rules: ProcessRules) -> None:
    """A request keeps its amount no longer: returns that wait for nothing but their money ask for it.

    If that is refused too it is told as ``payment.stuck`` and not asked for again.
    """
    for leg in purchase.legs:
        if leg.state is LegState.RETURNING and goods_are_back(purchase, leg):
            process.pay_back(purchase, leg, rules)


def _exceeds(most: int, currency: str) -> ConflictError:
    return ConflictError(
        "refund.exceeds",
        "That is more than can be refunded.",
        data={"refundable_minor": max(most, 0), "currency": currency},
    )


def _amount(row: Any) -> Money:
    return Money(row.amount_minor, row.currency)
